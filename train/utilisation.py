"""How much of each layer training has used (Sections 4.5, 4.6).

The paper looks at histograms: where the weights of later stages approach zero, these stages are not
used. Here the same is a number for each convolution, relative to what PyTorch initialised it with:
uniform in +-1/sqrt(fan in). Recipes with batch norm fuse it into the kernels, filter by filter;
relative std, near-zero fraction and rank then reflect its scales, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Weights this far inside the bounds of the initialisation count as near zero.
NEAR_ZERO = 0.05


@dataclass(frozen=True)
class LayerUtilisation:
    """One convolution, or those of a stage or of a residual unit together.

    Attributes:
        name: as in the module, encoder.0.convs.1 for example.
        weights: how many there are, biases left out.
        filters: output channels.
        relative_std: standard deviation of the weights over that of the initialisation; 1 means
            untouched.
        near_zero: fraction of weights near zero, above the fraction that the initialisation gives.
        dead: fraction of filters with a constant output, behind the ReLU where one follows, over
            all pixels of the photos.
        rank: effective rank of the filters (exponential of the entropy of the normalised singular
            values) over the largest it could be; 1: all filters equally strong and unlike.
    """

    name: str
    weights: int
    filters: int
    relative_std: float
    near_zero: float
    dead: float
    rank: float

    @property
    def stage(self) -> str:
        """The part of the network that it belongs to, encoder.0 for example."""
        return stage_of(self.name)


def stage_of(name: str) -> str:
    """The stage of a module's name: encoder.0 of encoder.0.convs.1, head of head."""
    part, *rest = name.split(".")
    return f"{part}.{rest[0]}" if part in ("encoder", "decoder", "residual") else part


def kernels(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels (Cout,Cin,k,k) of a checkpoint's convolutions, by the name of the layer."""
    return {
        name.removesuffix(".weight"): tensor
        for name, tensor in weights.items()
        if name.endswith(".weight")
    }


def layer_utilisation(name: str, kernel: Tensor, dead: float) -> LayerUtilisation:
    """The numbers of one convolution's kernel (Cout,Cin,k,k); `dead` is seen on photos only."""
    filters = kernel.flatten(1).double()
    bound = filters.shape[1] ** -0.5
    singular = torch.linalg.svdvals(filters)
    fraction = singular / singular.sum().clamp(min=1e-12)
    entropy = torch.special.entr(fraction).sum()
    return LayerUtilisation(
        name=name,
        weights=filters.numel(),
        filters=len(filters),
        # Of weights uniform in +-bound the standard deviation is bound / sqrt(3).
        relative_std=float(filters.std(correction=0) / (bound / 3**0.5)),
        near_zero=float((filters.abs() < NEAR_ZERO * bound).double().mean()) - NEAR_ZERO,
        dead=dead,
        rank=float(entropy.exp()) / len(singular),
    )


def of_checkpoints(layers: Sequence[LayerUtilisation]) -> LayerUtilisation:
    """One layer, averaged over checkpoints."""
    first = layers[0]
    return LayerUtilisation(first.name, first.weights, first.filters, **_averages(layers))


def of_part(name: str, layers: Sequence[LayerUtilisation]) -> LayerUtilisation:
    """Those of `layers` that belong to the stage or residual unit `name`, together.

    Each counts by its weights, for `dead` by its filters.
    """
    own = [layer for layer in layers if f"{layer.name}.".startswith(f"{name}.")]
    weights, filters = (sum(getattr(layer, of) for layer in own) for of in ("weights", "filters"))
    return LayerUtilisation(name, weights, filters, **_averages(own))


def _averages(layers: Sequence[LayerUtilisation]) -> dict[str, float]:
    by = {"relative_std": "weights", "near_zero": "weights", "dead": "filters", "rank": "weights"}
    return {
        key: float(
            np.average(
                [getattr(layer, key) for layer in layers],
                weights=[getattr(layer, count) for layer in layers],
            )
        )
        for key, count in by.items()
    }
