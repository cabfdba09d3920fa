"""Weights of a network with more residual units, which starts as the same function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from train.models.registry import build
from train.models.spec import MultiResSpec


def grow_units(
    weights: Mapping[str, Tensor], small: MultiResSpec, large: MultiResSpec
) -> dict[str, Tensor]:
    """Weights for `large`, of which `small` is the same network with fewer residual units.

    An added unit ReLU(conv1x1(x)) + ReLU(conv3x3(x)) (Eqs. 15-16) starts as the identity: its
    input is never negative, and either convolution passes half of it on. Were the 3x3 kernel zero,
    or all but zero, most of its filters would be dead after a few steps.

    Args:
        weights: of `small`, a state dict of `registry.build(small)`.

    Returns:
        A state dict for `registry.build(large)`, float32; the tensors of `weights` are shared.

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
        if parameter.dim() == 1:  # a bias
            grown[name] = torch.zeros_like(parameter)
        else:
            grown[name] = nn.init.dirac_(torch.empty_like(parameter)) / 2
    return grown
