"""Files of other tools that end in .pt as ours do: what they are, without running code in them."""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

ULTRALYTICS = "a YOLO checkpoint of ultralytics"
SMP = "a network of segmentation_models_pytorch"
TORCHSCRIPT = "a TorchScript file, which holds a program"
WHOLE_MODULE = "a whole PyTorch module, saved with its code"
STATE_DICT = "a bare state_dict, without its network and normalisation"
LIGHTNING = "a checkpoint of Lightning"

# Packages whose classes a pickle names, and what it then is.
_BY_PACKAGE = {
    "ultralytics": ULTRALYTICS,
    "segmentation_models_pytorch": SMP,
    "torch.nn": WHOLE_MODULE,
}
# Every weight of segmentation_models_pytorch begins so.
_SMP_PARTS = {"encoder", "decoder", "segmentation_head"}


def foreign_file(path: Path) -> str | None:
    """What a file is that cannot be loaded without running its code; None where that is unknown."""
    with contextlib.suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("/constants.pkl") for name in names):
            return TORCHSCRIPT
        for name in names:
            if name.endswith("/data.pkl"):
                modules = set(_modules(archive.read(name)))
                for package, what in _BY_PACKAGE.items():
                    if any(f"{module}.".startswith(f"{package}.") for module in modules):
                        return what
    return None


def foreign_content(content: Any) -> str | None:
    """What the content of a file is that loaded, but is no checkpoint of ours."""
    if not isinstance(content, Mapping):
        return None
    if "pytorch-lightning_version" in content:
        return LIGHTNING
    weights = content.get("state_dict", content)
    if not isinstance(weights, Mapping) or not weights:
        return None
    if not all(isinstance(value, Tensor) for value in weights.values()):
        return None
    parts = {str(name).partition(".")[0] for name in weights}
    return SMP if {"encoder", "decoder"} <= parts <= _SMP_PARTS else STATE_DICT


def _modules(pickled: bytes) -> Iterator[str]:
    """Modules whose classes a pickle names."""
    strings: list[str] = []
    with contextlib.suppress(ValueError, pickle.UnpicklingError):
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL":
                yield str(argument).partition(" ")[0]
            elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                yield strings[-2]
            elif isinstance(argument, str):
                strings.append(argument)
