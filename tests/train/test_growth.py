"""A network with more residual units starts as the function of the one with fewer, and learns."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from train.models.growth import grow_units
from train.models.registry import MODELS, build
from train.models.spec import MultiResSpec

NONE = MultiResSpec("none", "N", 5, (7, 13), 19, (7, 13), 3, units=(0, 0))
ONE = MODELS["half_mrunet_lite"]


@pytest.mark.parametrize(("small", "units"), [(NONE, (2, 0)), (ONE, (4, 4)), (ONE, (1, 3))])
def test_more_units_start_as_the_same_function_and_learn(
    small: MultiResSpec, units: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    large = replace(small, key="large", title="Large", units=units)
    network, grown = build(small), build(large)
    weights_of_small = network.state_dict()
    grown.load_state_dict(grow_units(weights_of_small, small, large))
    x = torch.randn(1, 3, 32, 40)
    expected, found = network(x), grown(x)
    assert (found - expected).abs().max() < 1e-5

    found.square().sum().backward()
    for name, parameter in grown.named_parameters():
        if name not in weights_of_small and name.endswith("conv3.weight"):
            assert parameter.grad is not None
            assert parameter.grad.flatten(1).any(dim=1).all(), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"units": (4, 0), "residual": (32, 33)}, "differ in more than their units"),
        ({"step": 2}, "differ in more than their units"),
        ({"units": (2, 3)}, r"units\[0\] of large is 2, that of half_mrunet 4"),
    ],
)
def test_only_units_can_be_added(changes: dict[str, Any], words: str) -> None:
    small = MODELS["half_mrunet"]
    with pytest.raises(ValueError, match=words):
        grow_units({}, small, replace(small, key="large", **changes))
