"""The networks by name: one entry a network, and the door to build its module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.models.spec import ModelSpec, MultiResSpec, UNetSpec

if TYPE_CHECKING:
    from torch import nn

MODELS: dict[str, ModelSpec] = {
    spec.key: spec
    for spec in (
        UNetSpec(
            key="unet",
            title="U-net",
            encoder=((64, 64), (128, 128), (256, 256), (512, 512)),
            bottom=(1024, 512),
            decoder=((64, 64), (128, 64), (256, 128), (512, 256)),
        ),
        UNetSpec(
            key="half_unet",
            title="Half U-net",
            encoder=((64, 64), (128, 128)),
            bottom=(256, 256),
            decoder=((64, 64), (128, 64)),
        ),
        MultiResSpec(
            key="mrunet",
            title="MultiResUNet",
            stem=58,
            encoder=(59, 117, 233, 468),
            bottom=1383,
            residual=(32, 64, 128, 256),
            head_kernel=1,
        ),
        MultiResSpec(
            key="half_mrunet",
            title="Half MultiResUNet",
            stem=16,
            encoder=(17, 33),
            bottom=65,
            residual=(32, 64),
            head_kernel=3,
        ),
        MultiResSpec(
            key="quarter_mrunet",
            title="Quarter MultiResUNet",
            stem=16,
            encoder=(17,),
            bottom=33,
            residual=(32,),
            head_kernel=3,
        ),
    )
}


def build(spec: ModelSpec) -> nn.Module:
    """The PyTorch module of `spec`: float32 (N,3,H,W) in, logits (N,1,H,W) out."""
    from train.models.multires import MultiResUNet
    from train.models.unet import UNet

    match spec:
        case UNetSpec():
            return UNet(spec)
        case MultiResSpec():
            return MultiResUNet(spec)
    raise TypeError(f"no module for a {type(spec).__name__}")
