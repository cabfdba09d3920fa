"""U-net and Half U-net (Eqs. 4-9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.spec import UNetSpec


def _pair(cin: int, widths: tuple[int, int], conv: type[nn.Conv2d]) -> nn.Sequential:
    return nn.Sequential(
        conv(cin, widths[0], 3, padding=1),
        conv(widths[0], widths[1], 3, padding=1),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """float32 (N,3,H,W) -> logits (N,1,H,W); H and W multiples of `spec.multiple`.

    `conv` makes every convolution but the head.
    """

    def __init__(self, spec: UNetSpec, conv: type[nn.Conv2d]) -> None:
        super().__init__()
        inputs = (3, *(pair[1] for pair in spec.encoder))
        self.encoder = nn.ModuleList(
            _pair(cin, widths, conv) for cin, widths in zip(inputs, spec.encoder, strict=False)
        )
        self.bottom = _pair(inputs[-1], spec.bottom, conv)
        self.decoder = nn.ModuleList(
            _pair(cin, widths, conv)
            for cin, widths in zip(spec.decoder_inputs(), spec.decoder, strict=True)
        )
        self.head = nn.Conv2d(spec.decoder[0][1], 1, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottom(x)
        for stage, skip in zip(reversed(self.decoder), reversed(skips), strict=True):
            up = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = stage(torch.cat([skip, up], dim=1))
        logits: Tensor = self.head(x)
        return logits
