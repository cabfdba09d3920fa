"""Engines by file and backend: one backend a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edge.errors import BadArgumentError

if TYPE_CHECKING:
    from edge.engines.engine import Engine

Backend = Literal["auto", "tensorrt", "onnxruntime", "openvino"]
Device = Literal["auto", "cpu", "gpu"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]


# What they import may not be installed where engines are only named.
def _onnx(path: Path, *, backend: str, device: str, precision: str | None, **_: Any) -> Engine:
    from edge.engines.selection import Installed, select

    selected = select(
        path, backend=backend, device=device, precision=precision, installed=Installed.find()
    )
    if selected.backend == "openvino":
        from edge.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(path, selected.precision)
    from edge.engines.onnx import ON_CPU, ON_GPU, PROVIDERS, OnnxEngine

    return OnnxEngine(path, {"auto": PROVIDERS, "cpu": ON_CPU, "gpu": ON_GPU}[device])


def _tensorrt(
    path: Path, *, backend: str, device: str, precision: str | None, trust: bool, cuda: str | None
) -> Engine:
    from edge.engines.sidecar import read_sidecar
    from edge.engines.tensorrt import TensorRtEngine

    if device == "cpu" or backend not in ("auto", "tensorrt"):
        raise BadArgumentError(
            f"{path}: a .trt engine runs in TensorRT, on a GPU; give an .onnx for the CPU"
        )
    if precision and precision != (built := read_sidecar(path, trust=trust).precision):
        raise BadArgumentError(f"{path}: was built in {built}, not {precision}")
    return TensorRtEngine(path, trust=trust, cuda=cuda)


# By suffix.
BACKENDS: dict[str, Callable[..., Engine]] = {".onnx": _onnx, ".trt": _tensorrt}
WEIGHTS = Path(__file__).parent.parent / "weights"
# The shipped one that runs where none is named.
DEFAULT_MODEL = "mrunet_lite"


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
    name: str,
    *,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision | None = None,
    trust: bool = False,
    cuda: str | None = None,
) -> Engine:
    """The engine at a path, or the shipped one of that name.

    Args:
        backend, device: "auto" is the fastest that is there.
        precision: None is that of the file, which all but bf16 must agree with: OpenVINO computes
            an fp32 .onnx in bf16 where that is asked for.
        trust, cuda: of `TensorRtEngine`.

    Raises:
        BadArgumentError: there is no such file or name, or no backend for that kind of file or in
            that precision.
        EdgeError: the file is damaged or not ours, its backend is not installed, or it was built
            for another machine.
    """
    path = engine_path(name)
    for kind, given, known in (
        ("backend", backend, get_args(Backend)),
        ("device", device, get_args(Device)),
        ("precision", precision, (None, *get_args(Precision))),
    ):
        if given not in known:
            names = ", ".join(name for name in known if name)
            raise BadArgumentError(f"{given}: no such {kind}; give one of {names}")
    return BACKENDS[path.suffix](
        path, backend=backend, device=device, precision=precision, trust=trust, cuda=cuda
    )
