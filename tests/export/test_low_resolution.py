"""Convolutions at half the size: fewer pixels, the same function."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from export.graph import ActivationHook, probability_tensor
from export.low_resolution import FACTOR, _four_kernels, at_low_resolution
from export.trace import EngineGraph


def test_four_kernels_are_the_one_on_a_doubled_map() -> None:
    rng = torch.Generator().manual_seed(3)
    image = torch.randn(2, 5, 7, 6, generator=rng)
    kernel = torch.randn(4, 5, 3, 3, generator=rng)
    doubled = functional.interpolate(image, scale_factor=FACTOR, mode="nearest")
    expected = functional.conv2d(doubled, kernel, padding=1)
    kernels = torch.from_numpy(_four_kernels(kernel.numpy()))
    found = functional.pixel_shuffle(functional.conv2d(image, kernels, padding=1), FACTOR)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "fewer"),
    [("half_mrunet", 2), ("quarter_mrunet", 1), ("thin_unet", 1), ("thin_mrunet", 3)],
)
def test_a_decoder_concatenates_no_doubled_map(traced, name: str, fewer: int) -> None:
    """As far as that pays: the large networks' convolutions are wide."""
    model, _, checkpoint = traced(name)
    assert sum(node.op_type == "DepthToSpace" for node in model.graph.node) == fewer
    tiles = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    tensor = probability_tensor(model)
    found = ActivationHook(model, [tensor]).run(tiles)[tensor]
    with torch.inference_mode():
        expected = EngineGraph(checkpoint).eval().logits(torch.from_numpy(tiles)).sigmoid()
    assert np.abs(found - expected.numpy()).max() < 1e-4


class Decoder(nn.Module):
    """Two maps, of which the second has half the size, to one."""

    def __init__(self, channels: int, *, mode: str = "nearest", stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(9, channels, 3, stride, padding=1)
        self.mode = mode

    def forward(self, skip: Tensor, low: Tensor) -> Tensor:
        enlarged = functional.interpolate(low, scale_factor=2, mode=self.mode)
        return self.conv(torch.cat([skip, enlarged], dim=1))


@pytest.mark.parametrize(
    ("decoder", "changed"),
    [
        (Decoder(3), True),
        (Decoder(17), False),
        (Decoder(3, mode="bilinear"), False),
        (Decoder(3, stride=2), False),
    ],
)
def test_what_would_not_be_the_same_or_not_gain_stays(decoder: Decoder, changed: bool) -> None:
    example = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 8, 8)
    program = torch.onnx.export(decoder.eval(), example, opset_version=18, dynamo=True,
                                verbose=False)  # fmt: skip
    assert program
    model = program.model_proto
    rewritten = at_low_resolution(model)
    onnx.checker.check_model(rewritten, full_check=True)
    assert (rewritten != model) == changed
