"""Convolutions with batch normalisation, for training only: `fused` makes plain ones of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


class NormConv2d(nn.Conv2d):
    """A convolution and the `BatchNorm2d` behind it, in place of the plain one with a bias."""

    def __init__(self, cin: int, cout: int, kernel: int, padding: int = 0, stride: int = 1) -> None:
        # The norm takes a bias out again, and brings its own.
        super().__init__(cin, cout, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(super().forward(x))
        return normed


def fused(network: nn.Module) -> dict[str, Tensor]:
    """Weights with which the plain network computes what `network` does in evaluation mode.

    Args:
        network: of `registry.build`, with or without norm layers.

    Returns:
        A state dict for `build(spec)`: copies, float32 on the CPU, contiguous.
    """
    weights: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        match module:
            case NormConv2d(norm=norm):
                mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
                weight, bias = fuse_conv_bn_weights(
                    module.weight, None, mean, variance, norm.eps, norm.weight, norm.bias
                )
            case nn.Conv2d(weight=weight, bias=bias):
                pass
            case _:
                continue
        weights |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return {
        name: tensor.detach().to(
            "cpu", torch.float32, copy=True, memory_format=torch.contiguous_format
        )
        for name, tensor in weights.items()
    }
