"""MultiResUNet, Half and Quarter MultiResUNet (Eqs. 10-24)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.models.spec import MultiResSpec


class MultiResBlock(nn.Module):
    """Three 3x3 convolutions in a row, all kept, plus a 1x1 shortcut (Eqs. 10-14)."""

    def __init__(self, cin: int, widths: Sequence[int], conv: type[nn.Conv2d]) -> None:
        super().__init__()
        inputs = (cin, *widths)
        self.convs = nn.ModuleList(
            conv(a, b, 3, padding=1) for a, b in zip(inputs, widths, strict=False)
        )
        self.shortcut = conv(cin, sum(widths), 1)

    def forward(self, x: Tensor) -> Tensor:
        features = []
        y = x
        for conv in self.convs:
            y = functional.relu(conv(y))
            features.append(y)
        shortcut: Tensor = self.shortcut(x)
        return torch.cat(features, dim=1) + shortcut


class ResidualUnit(nn.Module):
    """ReLU(conv1x1(x)) + ReLU(conv3x3(x)) (Eqs. 15-16)."""

    def __init__(self, cin: int, width: int, conv: type[nn.Conv2d]) -> None:
        super().__init__()
        self.conv1 = conv(cin, width, 1)
        self.conv3 = conv(cin, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv1(x)) + functional.relu(self.conv3(x))


def _residual_path(cin: int, width: int, units: int, conv: type[nn.Conv2d]) -> nn.Sequential:
    inputs = (cin, *(width,) * units)[:units]
    return nn.Sequential(*(ResidualUnit(c, width, conv) for c in inputs))


class MultiResUNet(nn.Module):
    """float32 (N,3,H,W) -> logits (N,1,H,W); H and W multiples of `spec.multiple`.

    `conv` makes every convolution but the head.
    """

    def __init__(self, spec: MultiResSpec, conv: type[nn.Conv2d]) -> None:
        super().__init__()
        inputs = (spec.stem, *spec.encoder)
        self.stem = conv(3, spec.stem, 3, padding=1, stride=spec.early_stride)
        self.encoder = nn.ModuleList(
            MultiResBlock(cin, spec.block_widths(width), conv)
            for cin, width in zip(inputs, spec.encoder, strict=False)
        )
        self.bottom = MultiResBlock(inputs[-1], spec.block_widths(spec.bottom), conv)
        self.residual = nn.ModuleList(
            _residual_path(cin, width, units, conv)
            for cin, width, units in zip(spec.encoder, spec.residual, spec.units, strict=True)
        )
        self.decoder = nn.ModuleList(
            MultiResBlock(cin, spec.block_widths(width), conv)
            for cin, width in zip(spec.decoder_inputs(), spec.encoder, strict=True)
        )
        self.head = nn.Conv2d(
            spec.encoder[0], spec.early_stride**2, spec.head_kernel, padding=spec.head_kernel // 2
        )
        self.stride = spec.early_stride
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        skips = []
        for block in self.encoder:
            x = functional.relu(block(x))
            skips.append(x)
            x = self.pool(x)
        x = functional.relu(self.bottom(x))
        for level in reversed(range(len(skips))):
            up = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = torch.cat([self.residual[level](skips[level]), up], dim=1)
            x = functional.relu(self.decoder[level](x))
        logits: Tensor = self.head(x)
        return functional.pixel_shuffle(logits, self.stride) if self.stride > 1 else logits
