"""SegNet, which the paper names (Section 2); `SegNetSpec` says what of it is ours."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.spec import SegNetSpec


def unpool(x: Tensor, pooled_from: Tensor) -> Tensor:
    """What torch's `max_unpool2d` gives, of operations that ONNX and TensorRT have.

    Args:
        x: (N,C,H,W).
        pooled_from: (N,C,2H,2W), what 2x2 max pooling read on the way down.

    Returns:
        (N,C,2H,2W): each value of `x` where its 2x2 window of `pooled_from` is largest (the first
        of equals, row by row), zero elsewhere.
    """
    # Comparisons, not argmax (a TopK in TensorRT): after a ReLU whole windows are equal, and which
    # of equals is first must not be left to the engine.
    top_left, top_right, bottom_left, bottom_right = (
        pooled_from[..., row::2, column::2] for row in (0, 1) for column in (0, 1)
    )
    bottom = torch.maximum(bottom_left, bottom_right) > torch.maximum(top_left, top_right)
    right_of_top, right_of_bottom = top_right > top_left, bottom_right > bottom_left
    places = (
        ~bottom & ~right_of_top,
        ~bottom & right_of_top,
        bottom & ~right_of_bottom,
        bottom & right_of_bottom,
    )
    placed = torch.stack([torch.where(place, x, 0.0) for place in places], dim=2)
    return functional.pixel_shuffle(placed.flatten(1, 2), 2)


def _stage(cin: int, widths: tuple[int, ...], conv: type[nn.Conv2d]) -> nn.Sequential:
    stage = nn.Sequential()
    for cout in widths:
        stage.extend((conv(cin, cout, 3, padding=1), nn.ReLU()))
        cin = cout
    return stage


class SegNet(nn.Module):
    """float32 (N,3,H,W) -> logits (N,1,H,W); H and W multiples of `spec.multiple`.

    `conv` makes every convolution but the head.
    """

    def __init__(self, spec: SegNetSpec, conv: type[nn.Conv2d]) -> None:
        super().__init__()
        inputs = (3, *spec.pooled_channels())
        self.encoder = nn.ModuleList(
            _stage(cin, widths, conv) for cin, widths in zip(inputs, spec.encoder, strict=False)
        )
        self.decoder = nn.ModuleList(
            _stage(cin, widths, conv)
            for cin, widths in zip(spec.pooled_channels(), spec.decoder, strict=True)
        )
        self.head = nn.Conv2d(spec.encoder[0][0], 1, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        features = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
            x = self.pool(x)
        for stage, feature in zip(reversed(self.decoder), reversed(features), strict=True):
            x = stage(unpool(x, feature))
        logits: Tensor = self.head(x)
        return logits
