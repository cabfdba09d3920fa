"""Engines by file: one backend a module, one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import BadArgumentError

if TYPE_CHECKING:
    from edge.engines.engine import Engine

DEVICES = ("auto", "cpu", "gpu")


# What they import may not be installed where engines are only named.
def _onnx(path: Path, *, device: str, **_: Any) -> Engine:
    from edge.engines.onnx import ON_CPU, ON_GPU, PROVIDERS, OnnxEngine

    return OnnxEngine(path, {"auto": PROVIDERS, "cpu": ON_CPU, "gpu": ON_GPU}[device])


def _tensorrt(path: Path, *, device: str, **options: Any) -> Engine:
    from edge.engines.tensorrt import TensorRtEngine

    if device == "cpu":
        raise BadArgumentError(f"{path}: a .trt engine needs a GPU; give an .onnx for the CPU")
    return TensorRtEngine(path, **options)


# By suffix.
BACKENDS: dict[str, Callable[..., Engine]] = {".onnx": _onnx, ".trt": _tensorrt}
WEIGHTS = Path(__file__).parent.parent / "weights"


def shipped() -> dict[str, Path]:
    """Engines that come with the package, by name."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.onnx"))}


def engine_path(name: str) -> Path:
    """The engine file at a path, or the shipped one of that name.

    Raises:
        BadArgumentError: there is no such file or name, or no backend for that kind of file.
    """
    path = shipped().get(name, Path(name))
    if not path.is_file():
        raise BadArgumentError(f"{name}: no such engine file, nor one of {', '.join(shipped())}")
    if path.suffix not in BACKENDS:
        raise BadArgumentError(
            f"{name}: no backend for {path.suffix or 'such'} files, only {' and '.join(BACKENDS)}"
        )
    return path


def open_engine(
    name: str, *, device: str = "auto", trust: bool = False, cuda: str | None = None
) -> Engine:
    """The engine at a path, or the shipped one of that name.

    Args:
        device: one of `DEVICES`.
        trust, cuda: of `TensorRtEngine`.

    Raises:
        BadArgumentError: there is no such file or name, or no backend for that kind of file.
        EdgeError: the file is damaged or not ours, its backend is not installed, or it was built
            for another machine.
    """
    path = engine_path(name)
    if device not in DEVICES:
        raise BadArgumentError(f"{device}: no such device; give one of {', '.join(DEVICES)}")
    return BACKENDS[path.suffix](path, device=device, trust=trust, cuda=cuda)
