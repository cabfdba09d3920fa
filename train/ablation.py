"""Ablation of stages and residual units: the network is scored again without them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from train.checkpoint import Checkpoint, probability
from train.data.samples import Sample
from train.evaluate import predict
from train.metrics import ZERO_COUNTS, Counts, ProbabilityHistogram
from train.models.multires import MultiResBlock, ResidualUnit
from train.models.spec import ModelSpec, SegNetSpec
from train.module import Validation

Hook = Callable[[nn.Module, Any, Tensor], Tensor | None]


def stages(network: nn.Module) -> dict[str, nn.Module]:
    """The stages that can be taken out, by name: encoder.0, ..., bottom, decoder.0, residual.0."""
    found: dict[str, nn.Module] = {}
    for part, module in network.named_children():
        if part == "bottom":
            found[part] = module
        elif isinstance(module, nn.ModuleList):
            found |= {f"{part}.{number}": stage for number, stage in enumerate(module)}
    return found


def residual_units(network: nn.Module) -> dict[str, ResidualUnit]:
    """The units of the residual paths by name: residual.0.0, residual.0.1, ..."""
    return {
        name: module for name, module in network.named_modules() if isinstance(module, ResidualUnit)
    }


def can_be_bypassed(part: nn.Module) -> bool:
    """Whether it is a residual unit whose output is as wide as its input."""
    return isinstance(part, ResidualUnit) and part.conv1.in_channels == part.conv1.out_channels


def stage_above(spec: ModelSpec, dropped: int) -> str:
    """The stage whose output is made constant to leave out the `dropped` deepest levels.

    It is the one that passes their output on, so that all below it are taken out with it. In a
    SegNet, whose skips carry places and no values, that takes more than would be dropped.
    """
    level = spec.levels - dropped
    if isinstance(spec, SegNetSpec):
        return f"decoder.{level}"
    return "bottom" if dropped == 1 else f"decoder.{level + 1}"


class Ablation:
    """One checkpoint on some photos, float32 throughout.

    Attributes:
        feature_fraction: of each MultiRes block, the energy (mean square) of the concatenated
            features over that of features and shortcut together.
        dead: of each convolution, the fraction of filters that are dead; see `LayerUtilisation`.
        whole: pixels with nothing taken out.
    """

    def __init__(self, checkpoint: Checkpoint, samples: Sequence[Sample]) -> None:
        self._checkpoint, self._samples = checkpoint, samples
        self._network = checkpoint.module()
        parts = stages(self._network) | residual_units(self._network)
        averages = {name: _Average() for name in parts}
        energies = {
            name: _Energy(part) for name, part in parts.items() if isinstance(part, MultiResBlock)
        }
        rectified = set(_rectified(self._network))
        ranges = {
            name: _Range(relu=module in rectified)
            for name, module in self._network.named_modules()
            if isinstance(module, nn.Conv2d)
        }
        with contextlib.ExitStack() as hooks:
            for watching in (averages, energies, ranges):
                for name, hook in watching.items():
                    hooks.enter_context(_hooked(self._network.get_submodule(name), hook))
            self.whole = self._score()
        self._means = {name: average.mean() for name, average in averages.items()}
        self.feature_fraction = {
            name: energy.feature_fraction() for name, energy in energies.items()
        }
        self.dead = {name: seen.constant() for name, seen in ranges.items()}

    def without(self, *names: str) -> Validation:
        """Pixels where stages and residual units of these names are taken out, all at once.

        A unit whose output is as wide as its input is bypassed. The output of anything else is
        its mean over the photos, channel by channel; the mean is that of tiles, margins and all.
        """
        with contextlib.ExitStack() as hooks:
            for name in names:
                module = self._network.get_submodule(name)
                hook = _bypass if can_be_bypassed(module) else _Constant(self._means[name])
                hooks.enter_context(_hooked(module, hook))
            return self._score()

    def _score(self) -> Validation:
        at_0_5, histogram = ZERO_COUNTS, ProbabilityHistogram()
        predicted = predict(self._checkpoint, self._samples, self._network)
        for logits, sample in zip(predicted, self._samples, strict=True):
            known = ~sample.doubtful
            labels = sample.mask[known]
            at_0_5 += Counts.of(logits.numpy()[known] > 0, labels)
            histogram.add(probability(logits, self._checkpoint.prior).numpy()[known], labels)
        return Validation(at_0_5, histogram)


def _bypass(_: nn.Module, inputs: tuple[Tensor], __: Tensor) -> Tensor:
    """Hook: a residual unit returns its input."""
    return inputs[0]


class _Constant:
    """Hook: a mean (1,C,1,1) in place of the output of a stage or residual unit."""

    def __init__(self, mean: Tensor) -> None:
        self._mean = mean

    def __call__(self, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        return self._mean.expand_as(output)


class _Average:
    """Hook: mean (1,C,1,1) of the output of a stage."""

    def __init__(self) -> None:
        self._sum: Tensor | float = 0.0
        self._count = 0

    def __call__(self, _: nn.Module, __: Any, output: Tensor) -> None:
        # The ReLU of a MultiRes block is outside of it; the other stages end with theirs.
        self._sum = self._sum + output.relu().sum(dim=(0, 2, 3), keepdim=True)
        self._count += output[:, 0].numel()

    def mean(self) -> Tensor:
        return torch.as_tensor(self._sum / self._count)


class _Energy:
    """Hook: how much of the output of a MultiRes block comes from its features."""

    def __init__(self, block: MultiResBlock) -> None:
        self._block = block
        self._features = self._shortcut = 0.0

    def __call__(self, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        shortcut = self._block.shortcut.forward(inputs[0])
        self._features += (output - shortcut).square().sum().item()
        self._shortcut += shortcut.square().sum().item()

    def feature_fraction(self) -> float:
        return self._features / max(self._features + self._shortcut, 1e-12)


class _Range:
    """Hook: lowest and highest value of each channel, behind the ReLU where one follows."""

    def __init__(self, relu: bool) -> None:
        self._relu = relu
        self._ends: tuple[Tensor, Tensor] | None = None

    def __call__(self, _: nn.Module, __: Any, output: Tensor) -> None:
        ends = torch.aminmax(output.transpose(0, 1).flatten(1), dim=1)
        low, high = (end.relu() if self._relu else end for end in ends)
        if self._ends:
            low, high = torch.minimum(low, self._ends[0]), torch.maximum(high, self._ends[1])
        self._ends = low, high

    def constant(self) -> float:
        """Fraction of channels that never change."""
        assert self._ends is not None
        low, high = self._ends
        return float((low == high).double().mean())


def _rectified(network: nn.Module) -> Iterator[nn.Module]:
    """Convolutions that a ReLU follows at once."""
    for module in network.modules():
        match module:
            case MultiResBlock():
                yield from module.convs
            case ResidualUnit():
                yield from (module.conv1, module.conv3)
            case nn.Sequential():
                for layer, after in pairwise(module):
                    if isinstance(after, nn.ReLU):
                        yield layer


@contextlib.contextmanager
def _hooked(module: nn.Module, hook: Hook) -> Iterator[None]:
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
