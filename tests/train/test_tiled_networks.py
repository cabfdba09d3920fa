"""The promise of `edge.tiling`, kept by the networks."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge.tiling import TileGrid, fixed_tile_grid, split, stitch, tile_grid
from tests.specs import NETWORKS, THIN
from train.models.registry import PAPER_MODELS, build
from train.models.segnet import SegNet
from train.models.spec import ModelSpec


def network(spec: ModelSpec, seed: int) -> nn.Module:
    """Random weights, with the scale of activations kept so that far pixels still matter."""
    torch.manual_seed(seed)
    net = build(spec).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    if isinstance(net, SegNet):
        for stage in net.decoder:
            stage[0].weight.data *= 2  # unpooling leaves three in four of its inputs zero
        # Rounding can swap two all but equal values of a pooling window, and then one jumps a
        # pixel; in double precision no two are that close.
        net = net.double()
    return net


def probabilities(net: nn.Module, images: np.ndarray) -> np.ndarray:
    """(N,1,H,W) in the network's precision of uint8 (N,H,W,3), tile by tile."""
    dtype = next(net.parameters()).dtype
    x: Tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(dtype) / 255
    with torch.inference_mode():
        # Scaled down, so that the sigmoid does not hide differences by saturating.
        return torch.cat([torch.sigmoid(net(tile[None]) / 8) for tile in x]).numpy()


def difference(spec: ModelSpec, grid: TileGrid, seed: int) -> float:
    """Largest difference between the stitched map and the whole frame's."""
    frame = np.random.default_rng(seed).integers(0, 256, (*grid.frame_hw, 3), np.uint8)
    height, width = grid.frame_hw
    canvas = np.pad(
        frame,
        ((0, grid.padded_hw[0] - height), (0, grid.padded_hw[1] - width), (0, 0)),
        mode="edge",
    )
    net = network(spec, seed)
    whole = probabilities(net, canvas[None])[0, 0, :height, :width]
    stitched = stitch(probabilities(net, split(frame, grid)), grid)
    return float(np.abs(stitched - whole).max())


# Frame heights and widths drawn at random for each network: small enough for two cores, large
# enough that the halo leaves something of a tile. The first `quick` seeds are not slow.
CASES = [
    pytest.param(key, seed, low, high, side, marks=[pytest.mark.slow] if seed >= quick else [])
    for key, low, high, side, seeds, quick in (
        ("unet", 280, 330, 272, 1, 0),
        ("thin_unet", 280, 330, 272, 1, 1),
        ("half_unet", 100, 260, 88, 3, 1),
        ("mrunet", 370, 400, 352, 1, 0),
        ("thin_mrunet", 370, 400, 352, 1, 1),
        ("half_mrunet", 100, 300, 112, 4, 2),
        ("quarter_mrunet", 60, 300, 64, 4, 4),
        ("quarter_mrunet_x4", 66, 90, 64, 1, 1),
        ("strided", 300, 400, 240, 2, 2),
        ("thin_segnet", 482, 490, 480, 1, 1),
        ("thin_segnet_minus2", 120, 300, 128, 2, 2),
    )
    for seed in range(seeds)
]


@pytest.mark.parametrize(("key", "seed", "low", "high", "side"), CASES)
def test_stitched_is_the_whole_frame(key: str, seed: int, low: int, high: int, side: int) -> None:
    spec = NETWORKS[key]
    rng = np.random.default_rng(seed)
    height, width = (int(v) | 1 for v in rng.integers(low, high, 2))  # odd: never on the grid
    halo = spec.receptive_field_radius()
    grid = tile_grid(
        (height, width), multiple=spec.multiple, halo=halo, max_tile_pixels=side * side
    )
    assert grid.count > 1
    assert difference(spec, grid, seed) <= 1e-5


@pytest.mark.parametrize(
    "key",
    [pytest.param(key, marks=[pytest.mark.slow] if key in THIN else []) for key in PAPER_MODELS]
    + [f"thin_{key}" for key in THIN]
    + ["strided"],
)
def test_a_frame_smaller_than_a_tile(key: str) -> None:
    spec = NETWORKS[key]
    halo = spec.receptive_field_radius()
    assert difference(spec, tile_grid((21, 43), multiple=spec.multiple, halo=halo), 5) == 0.0
    grid = fixed_tile_grid((21, 43), (64, 64), multiple=spec.multiple, halo=halo)
    assert grid.count == 1
    assert difference(spec, grid, 5) == 0.0


@pytest.mark.parametrize(
    "key", ["half_unet", "half_mrunet", "quarter_mrunet", "strided", "thin_segnet_minus2"]
)
def test_a_smaller_halo_is_not_enough(key: str) -> None:
    """The other side of the promise: the test above can fail."""
    spec = NETWORKS[key]
    grid = tile_grid((120, 120), multiple=spec.multiple, halo=2, max_tile_pixels=64 * 64)
    assert difference(spec, grid, 0) > 1e-5
