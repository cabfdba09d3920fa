"""Weights of a network with more residual units, which starts as the same function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from train.models.catalogue import build
from train.models.spec import MultiResSpec

# What an added unit adds to its input: enough for its 3x3 convolution to pass a gradient.
NUDGE = 1e-6


def grow_units(
    weights: Mapping[str, Tensor], small: MultiResSpec, large: MultiResSpec
) -> dict[str, Tensor]:
    """Weights for `large`, of which `small` is the same network with fewer residual units.

    A unit ReLU(conv1x1(x)) + ReLU(conv3x3(x)) of equal widths (Eqs. 15-16) hands on its input,
    which is never negative, where the 1x1 kernel is the identity and the 3x3 kernel zero. At
    exactly 0 a ReLU passes no gradient and the 3x3 kernel would stay zero, so its bias is 1e-6: the
    logits move by about as much, and every added 3x3 kernel learns from the first step on.

    Args:
        weights: of `small`, a state dict of `catalogue.build(small)`.

    Returns:
        A state dict for `catalogue.build(large)`, float32; the tensors of `weights` are shared.

    Raises:
        ValueError: the two differ in more than their units (key and title aside), or a level of
            `large` has fewer units than in `small`.
    """
    if replace(large, key=small.key, title=small.title, units=small.units) != small:
        raise ValueError(
            f"{small.key} and {large.key} differ in more than their units; "
            f"only residual units can be added"
        )
    for level, (few, many) in enumerate(zip(small.units, large.units, strict=True)):
        if many < few:
            raise ValueError(
                f"units[{level}] of {large.key} is {many}, that of {small.key} {few}; "
                f"residual units can be added, not removed"
            )
    grown = dict(weights)
    for name, parameter in build(large).state_dict().items():
        if name in grown:
            continue
        match name.split(".")[-2:]:
            case ["conv1", "weight"]:
                grown[name] = torch.eye(len(parameter))[..., None, None]
            case ["conv3", "bias"]:
                grown[name] = torch.full_like(parameter, NUDGE)
            case _:
                grown[name] = torch.zeros_like(parameter)
    return grown
