"""Checkpoints: weights and what a later step must know about them; no pickled code."""

from __future__ import annotations

import contextlib
import hashlib
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge.engines import WEIGHTS
from edge.errors import BadArgumentError, EdgeError
from edge.files import atomic_write
from train.foreign import foreign_content, foreign_file
from train.models.growth import grow_units
from train.models.registry import build, parse
from train.models.spec import ModelSpec, MultiResSpec

OTHER_TOOLS = (
    "this toolkit runs its own networks: train one with 'train fit', or fine-tune a shipped one "
    "with 'train fit --init half_mrunet'"
)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the training photos per RGB channel, in grey levels 0..255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def prior_corrected_probability(logits: Tensor, prior: float) -> Tensor:
    """Probability of a particle, 0..1, same shape, from logits trained with `prior`.

    The loss of the paper multiplies the odds of a particle by w_T / w_F = (1 - prior) / prior
    (Eqs. 25-29). Undone, the decision falls in the middle of 0..255, not in its last grey level.
    """
    return torch.sigmoid(logits + math.log(prior / (1 - prior)))


def probability(logits: Tensor, prior: float) -> Tensor:
    """`prior_corrected_probability` in uint8 grey levels, 0..255."""
    return (prior_corrected_probability(logits, prior) * 255).round().to(torch.uint8)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and what a later step must know about them.

    Attributes:
        spec: the network, which need not be in the registry.
        prior: fraction of particle pixels where the loss weighs both classes alike, as
            `weighted_bce` does; `probability` corrects for it. One half: nothing to correct.
        threshold: probability from which on a pixel is a particle.
        training: what was done, and how well it scored.
        min_diameter_px: of the smallest objects that are particles; 0 is no bound.
    """

    spec: ModelSpec
    normalisation: Normalisation
    prior: float
    threshold: float
    training: dict[str, Any]
    weights: dict[str, Tensor]
    min_diameter_px: float = 0.0

    def content_hash(self) -> str:
        """SHA-256 of the weights, in hexadecimal."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.weights.items()):
            digest.update(name.encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def weights_for(self, spec: ModelSpec) -> dict[str, Tensor]:
        """The weights for `spec`: the same network, or one with more residual units.

        Raises:
            BadArgumentError: it is another network.
        """
        if replace(spec, key=self.spec.key, title=self.spec.title) == self.spec:
            return self.weights
        if isinstance(spec, MultiResSpec) and isinstance(self.spec, MultiResSpec):
            with contextlib.suppress(ValueError):
                return grow_units(self.weights, self.spec, spec)
        raise BadArgumentError(
            f"weights of {self.spec.key} do not fit {spec.key}; start from the same network, or "
            f"from one with fewer residual units"
        )

    def module(self) -> nn.Module:
        """The network with these weights, in evaluation mode."""
        network = build(self.spec)
        network.load_state_dict(self.weights)
        return network.eval()


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write `checkpoint`; an earlier file stays whole until the new one is.

    Raises:
        OSError: the file cannot be written.
    """
    content = {
        "spec": checkpoint.spec.describe(),
        "normalisation": vars(checkpoint.normalisation),
        "prior": checkpoint.prior,
        "threshold": checkpoint.threshold,
        "training": checkpoint.training,
        "weights": checkpoint.weights,
        "min_diameter_px": checkpoint.min_diameter_px,
    }
    # Unlike torch's own writer, a plain file handle reports a full disk as an OSError.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def open_checkpoint(name: str) -> Checkpoint:
    """The checkpoint at a path, or the shipped one of that name.

    Raises:
        EdgeError: as `load`.
    """
    shipped_path = WEIGHTS / f"{name}.pt"
    return load(shipped_path if shipped_path.is_file() else Path(name))


def load(path: Path) -> Checkpoint:
    """Read a checkpoint of `train fit`; code in the file is never run.

    Raises:
        EdgeError: the file is missing, is no checkpoint, or its weights do not fit its model.
    """
    advice = "give a .pt file written by 'train fit'"
    if not path.is_file():
        raise EdgeError(f"{path}: no such file; {advice}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of bytes that are no pickle, the unpickler raises nearly anything
        if what := foreign_file(path):
            raise EdgeError(f"{path}: is {what}; {OTHER_TOOLS}") from None
        raise EdgeError(f"{path}: not a checkpoint that is safe to load; {advice}") from error
    try:
        if not isinstance(content, dict):
            raise TypeError
        content["spec"] = parse(content["spec"], str(path))
        content["normalisation"] = Normalisation(**content["normalisation"])
        checkpoint = Checkpoint(**content)
        if not _is_whole(checkpoint):
            raise TypeError
    except (TypeError, KeyError):
        if what := foreign_content(content):
            raise EdgeError(f"{path}: is {what}; {OTHER_TOOLS}") from None
        raise EdgeError(f"{path}: not one of our checkpoints; {advice}") from None
    expected = {name: tensor.shape for name, tensor in build(checkpoint.spec).state_dict().items()}
    found = {name: tensor.shape for name, tensor in checkpoint.weights.items()}
    for name in expected | found:
        if expected.get(name) != found.get(name):
            raise EdgeError(
                f"{path}: does not fit {checkpoint.spec.key}: {name} should be "
                f"{_shape(expected.get(name))}, is {_shape(found.get(name))}"
            )
    return checkpoint


def _is_whole(checkpoint: Checkpoint) -> bool:
    """Whether everything but the spec, which `parse` checks, is of its kind."""
    numbers = checkpoint.prior, checkpoint.threshold, checkpoint.min_diameter_px
    weights = checkpoint.weights
    return (
        all(isinstance(number, float | int) for number in numbers)
        and 0 < checkpoint.prior < 1
        and 0 <= checkpoint.threshold <= 1
        and 0 <= checkpoint.min_diameter_px < math.inf
        and isinstance(checkpoint.training, dict)
        and isinstance(weights, dict)
        and all(isinstance(tensor, Tensor) for tensor in weights.values())
    )


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else "x".join(map(str, shape))
