"""The registry of networks by name, descriptions of others, and how their modules are built."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from edge.errors import BadArgumentError, EdgeError
from edge.files import read_json
from train.models.spec import ModelSpec, MultiResSpec, SegNetSpec, UNetSpec

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
        # Channel-aligned variants of the two: all widths are multiples of 8, the nearest possible.
        MultiResSpec(
            key="half_mrunet8",
            title="Half MultiResUNet x8",
            stem=16,
            encoder=(24, 32),
            bottom=64,
            residual=(32, 64),
            head_kernel=3,
            step=8,
        ),
        MultiResSpec(
            key="quarter_mrunet8",
            title="Quarter MultiResUNet x8",
            stem=16,
            encoder=(24,),
            bottom=32,
            residual=(32,),
            head_kernel=3,
            step=8,
        ),
        # Half MultiResUNet with one residual unit at each level in place of four.
        MultiResSpec(
            key="half_mrunet_lite",
            title="Half MultiResUNet lite",
            stem=16,
            encoder=(17, 33),
            bottom=65,
            residual=(32, 64),
            head_kernel=3,
            units=(1, 1),
        ),
        # The cheapest of the family that finds as much (docs/networks.md): one level more than Half
        # MultiResUNet has, no residual units, and widths in multiples of 8.
        MultiResSpec(
            key="mrunet_lite",
            title="MultiResUNet lite",
            stem=16,
            encoder=(24, 32, 64),
            bottom=128,
            residual=(24, 32, 64),
            head_kernel=3,
            step=8,
            units=(0, 0, 0),
        ),
        # Section 4.6: four times the channels, which was no better.
        MultiResSpec(
            key="quarter_mrunet_x4",
            title="Quarter MultiResUNet, 4x channels",
            stem=64,
            encoder=(68,),
            bottom=132,
            residual=(128,),
            head_kernel=3,
        ),
        SegNetSpec(
            key="segnet",
            title="SegNet",
            encoder=((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
        ),
    )
}

# Those of Table 4, in its order.
PAPER_MODELS = ("unet", "half_unet", "mrunet", "half_mrunet", "quarter_mrunet")

FAMILIES: dict[str, type[ModelSpec]] = {
    spec.FAMILY: spec for spec in (UNetSpec, MultiResSpec, SegNetSpec)
}


def build(spec: ModelSpec, norm: bool = False) -> nn.Module:
    """The PyTorch module of `spec`: float32 (N,3,H,W) in, logits (N,1,H,W) out.

    With `norm`, batch normalisation follows every convolution but the head; `norm.fused` makes
    plain weights of it again.
    """
    from torch import nn

    from train.models.multires import MultiResUNet
    from train.models.norm import NormConv2d
    from train.models.segnet import SegNet
    from train.models.unet import UNet

    conv = NormConv2d if norm else nn.Conv2d
    match spec:
        case UNetSpec():
            return UNet(spec, conv)
        case MultiResSpec():
            return MultiResUNet(spec, conv)
        case SegNetSpec():
            return SegNet(spec, conv)
    raise TypeError(f"no module for a {type(spec).__name__}")


def open_model(name: str) -> ModelSpec:
    """The network of a registry key, or of a .json file that holds a description.

    Raises:
        BadArgumentError: `name` is neither.
        EdgeError: the file holds no JSON, or no description of a network.
    """
    if name in MODELS:
        return MODELS[name]
    path = Path(name)
    if path.suffix != ".json" or not path.is_file():
        raise BadArgumentError(
            f"{name}: neither a .json file with a description of a network nor one of "
            f"{', '.join(MODELS)}"
        )
    return parse(read_json(path), name)


def parse(description: Mapping[str, Any], where: str) -> ModelSpec:
    """The network that `ModelSpec.describe` described.

    Args:
        description: the family and its fields; lists or tuples.
        where: names the source in error messages.

    Raises:
        EdgeError: a field is missing, unknown or of the wrong type, or the numbers describe no
            network.
    """
    try:
        return _parsed(description)
    except ValueError as error:
        raise EdgeError(f"{where}: {error}") from None


def _parsed(description: Mapping[str, Any]) -> ModelSpec:
    if not isinstance(description, Mapping):
        raise ValueError("a description of a network must be a JSON object")
    family = description.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, is {reprlib.repr(family)}")
    kind = FAMILIES[family]
    expected = [field.name for field in fields(kind)]
    for field in fields(kind):
        if field.name not in description and field.default is MISSING:
            raise ValueError(f"lacks {field.name}")
    for name in description:
        if name not in ("family", *expected):
            raise ValueError(
                f"has an unknown field {reprlib.repr(name)}; {family} has {', '.join(expected)}"
            )
    types = get_type_hints(kind)
    given = [name for name in expected if name in description]
    return kind(**{name: _typed(description[name], types[name], name) for name in given})


def _typed(value: Any, expected: Any, name: str) -> Any:
    """`value` as a `str`, an `int`, or a tuple of what `expected` says.

    Raises:
        ValueError: it is something else.
    """
    if get_origin(expected) is not tuple:
        if type(value) is not expected:  # a bool is no number of channels
            what = "a text" if expected is str else "a whole number"
            raise ValueError(f"{name} must be {what}, is {reprlib.repr(value)}")
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} must be a list, is {reprlib.repr(value)}")
    inner = get_args(expected)
    if inner[-1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(value) != len(inner):
        raise ValueError(f"{name} must hold {len(inner)} numbers, holds {len(value)}")
    return tuple(
        _typed(item, what, f"{name}[{i}]")
        for i, (item, what) in enumerate(zip(value, inner, strict=True))
    )
