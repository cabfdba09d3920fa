"""The promise of `edge.tiling`, kept by the five networks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge.tiling import Plan, cut, plan, plan_fixed, stitch
from train.models.catalogue import MODELS, build


def network(key: str, seed: int) -> nn.Module:
    """Random weights, with the scale of activations kept so that far pixels still matter."""
    torch.manual_seed(seed)
    net = build(MODELS[key]).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return net


def probabilities(net: nn.Module, images: np.ndarray) -> np.ndarray:
    """float32 (N,1,H,W) of uint8 (N,H,W,3), tile by tile."""
    x: Tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        # Scaled down, so that the sigmoid does not hide differences by saturating.
        return torch.cat([torch.sigmoid(net(tile[None]) / 8) for tile in x]).numpy()


def difference(key: str, layout: Plan, seed: int) -> float:
    """Largest difference between the stitched map and the whole frame's."""
    frame = np.random.default_rng(seed).integers(0, 256, (*layout.frame_hw, 3), np.uint8)
    height, width = layout.frame_hw
    canvas = np.pad(
        frame,
        ((0, layout.canvas_hw[0] - height), (0, layout.canvas_hw[1] - width), (0, 0)),
        mode="edge",
    )
    net = network(key, seed)
    whole = probabilities(net, canvas[None])[0, 0, :height, :width]
    stitched = stitch(probabilities(net, cut(frame, layout)), layout)
    return float(np.abs(stitched - whole).max())


# Frame heights and widths drawn at random for each network: small enough for two cores, large
# enough that the halo leaves something of a tile.
CASES = [
    (key, seed, low, high, side)
    for key, low, high, side, seeds in (
        ("unet", 280, 330, 272, (0,)),
        ("half_unet", 100, 260, 88, (0, 1, 2)),
        ("mrunet", 370, 400, 352, (0,)),
        ("half_mrunet", 100, 300, 112, (0, 1, 2, 3)),
        ("quarter_mrunet", 60, 300, 64, (0, 1, 2, 3)),
    )
    for seed in seeds
]


@pytest.mark.parametrize(("key", "seed", "low", "high", "side"), CASES)
def test_stitched_is_the_whole_frame(key: str, seed: int, low: int, high: int, side: int) -> None:
    spec = MODELS[key]
    rng = np.random.default_rng(seed)
    height, width = (int(v) | 1 for v in rng.integers(low, high, 2))  # odd: never on the grid
    halo = spec.receptive_field_radius()
    layout = plan((height, width), multiple=spec.multiple, halo=halo, max_tile_pixels=side * side)
    assert layout.count > 1
    assert difference(key, layout, seed) <= 1e-5


@pytest.mark.parametrize("key", MODELS)
def test_a_frame_smaller_than_a_tile(key: str) -> None:
    spec = MODELS[key]
    halo = spec.receptive_field_radius()
    assert difference(key, plan((21, 43), multiple=spec.multiple, halo=halo), 5) == 0.0
    layout = plan_fixed((21, 43), (64, 64), multiple=spec.multiple, halo=halo)
    assert layout.count == 1
    assert difference(key, layout, 5) == 0.0


@pytest.mark.parametrize("key", ["half_unet", "half_mrunet", "quarter_mrunet"])
def test_a_smaller_halo_is_not_enough(key: str) -> None:
    """The other side of the promise: the test above can fail."""
    spec = MODELS[key]
    layout = plan((200, 200), multiple=spec.multiple, halo=2, max_tile_pixels=64 * 64)
    assert difference(key, layout, 0) > 1e-5
