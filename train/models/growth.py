"""More residual units for a trained network, which goes on from what it has learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from train.models.spec import MultiResSpec

# Of the new 3x3 kernels, so that they learn; zero ones behind a ReLU at zero would not.
STANDARD_DEVIATION = 1e-3


def grown(
    weights: Mapping[str, Tensor], small: MultiResSpec, large: MultiResSpec
) -> dict[str, Tensor]:
    """Weights of `large` that compute nearly what `weights` compute in `small`.

    A unit ReLU(conv1x1(x)) + ReLU(conv3x3(x)) hands on what it reads, which is never negative,
    where the first kernel is the identity and the second one zero; here it is small noise.

    Args:
        weights: state dict of `small`, without normalisation layers.

    Raises:
        ValueError: the specs differ in more than their units, or `large` has fewer.
    """
    alike = replace(large, key=small.key, title=small.title, units=small.units) == small
    pairs = list(zip(small.units, large.units, strict=True)) if alike else [(1, 0)]
    if any(before > after for before, after in pairs):
        raise ValueError(f"{large.key} is not {small.key} with more residual units")
    found = dict(weights)
    generator = torch.Generator().manual_seed(0)
    for level, (before, after) in enumerate(pairs):
        width = large.residual[level]
        for unit in range(before, after):
            name = f"residual.{level}.{unit}"
            kernel = torch.empty(width, width, 3, 3)
            nn.init.normal_(kernel, std=STANDARD_DEVIATION, generator=generator)
            found |= {
                f"{name}.conv1.weight": torch.eye(width)[..., None, None],
                f"{name}.conv1.bias": torch.zeros(width),
                f"{name}.conv3.weight": kernel,
                f"{name}.conv3.bias": torch.zeros(width),
            }
    return found
