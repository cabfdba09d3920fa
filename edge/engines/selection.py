"""Which backend runs an .onnx file, and in which precision."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.engines.onnx import ON_GPU
from edge.engines.sidecar import Sidecar, read_sidecar
from edge.errors import BadArgumentError, EdgeError

_log = logging.getLogger(__name__)

# Where OpenVINO was measured to be faster than ONNX Runtime, see docs/performance.md.
OPENVINO_IS_FASTER = platform.machine().lower() in ("x86_64", "amd64")
# Only Q/DQ graphs have such nodes; DequantizeLinear is spelt with a small q.
_QUANTISED = b"QuantizeLinear"


@dataclass(frozen=True)
class Selection:
    """A backend, "onnxruntime" or "openvino", and the precision that it computes in."""

    backend: str
    precision: str


@dataclass(frozen=True)
class Installed:
    """What there is to run an .onnx file with.

    Attributes:
        onnxruntime_on_gpu: whether ONNX Runtime has a provider for a GPU.
    """

    onnxruntime: bool
    openvino: bool
    onnxruntime_on_gpu: Callable[[], bool]

    @classmethod
    def find(cls) -> Installed:
        """In this Python."""
        return cls(_is_installed("onnxruntime"), _is_installed("openvino"), _onnxruntime_on_gpu)


def select(
    path: Path, *, backend: str, device: str, precision: str | None, installed: Installed
) -> Selection:
    """What runs the .onnx file `path`.

    Left to choose ("auto", None), it is the fastest that is installed, in the precision that the
    file has or, by its sidecar, was exported for. OpenVINO runs an INT8 file unasked only where the
    sidecar says that its accuracy there is within what the export allowed.

    Raises:
        BadArgumentError: the backend does not run such files, or not on that device or in that
            precision.
    """
    if backend == "tensorrt":
        raise BadArgumentError(
            f"{path}: TensorRT runs a .trt; write one with export-trt, or leave out "
            f"--backend tensorrt"
        )
    sidecar = _sidecar(path)
    chosen = _precision(path, sidecar, precision, on_cpu=device != "gpu", backend=backend)
    if backend == "openvino" and device == "gpu":
        raise BadArgumentError("OpenVINO runs on the CPU here; leave out --device gpu")
    if chosen == "bf16":
        backend = "openvino"
    elif backend == "auto":
        on_gpu = device == "gpu" or (device == "auto" and installed.onnxruntime_on_gpu())
        backend = "onnxruntime" if on_gpu else _on_cpu(path, chosen, sidecar, installed)
        _log.info("%s: runs in %s, in %s, as the fastest that is installed", path, backend, chosen)
    return Selection(backend, chosen)


def _on_cpu(path: Path, precision: str, sidecar: Sidecar | None, installed: Installed) -> str:
    """The backend for the CPU."""
    if not installed.openvino:
        if precision == "int8" and OPENVINO_IS_FASTER:
            _log.warning(
                "%s: on this CPU OpenVINO runs INT8 much faster than ONNX Runtime: "
                "pip install '.[openvino]'",
                path,
            )
        return "onnxruntime"
    if not installed.onnxruntime:
        return "openvino"
    if not OPENVINO_IS_FASTER:
        return "onnxruntime"
    if precision == "int8" and not _verified(sidecar):
        _log.warning(
            "%s: OpenVINO, much faster on this CPU, is not used, as the file was not verified in "
            "it; export it again where OpenVINO is installed, or give --backend openvino",
            path,
        )
        return "onnxruntime"
    return "openvino"


def _verified(sidecar: Sidecar | None) -> bool:
    """Whether the file was compared with FP32 in OpenVINO, and lost no more than was allowed."""
    verification = sidecar.verification if sidecar else {}
    comparisons = verification.get("comparisons", [])
    drops = [found["drop"] for found in comparisons if "OpenVINO" in found["name"]]
    return bool(drops) and max(drops) <= verification["max_drop"]


def _precision(
    path: Path, sidecar: Sidecar | None, asked: str | None, *, on_cpu: bool, backend: str
) -> str:
    """The precision asked for, or else that of the file."""
    in_file = _precision_of(path, sidecar)
    for_bf16 = sidecar is not None and sidecar.precision == "bf16"
    bf16_runs = in_file == "fp32" and on_cpu and backend in ("auto", "openvino")
    if asked == "bf16" and not bf16_runs:
        raise BadArgumentError(
            f"{path}: bf16 is computed by OpenVINO, on the CPU, from an fp32 .onnx; leave out "
            f"--precision bf16"
        )
    if asked == "bf16" and not for_bf16:
        _log.warning(
            "%s: its accuracy in bf16 was not verified; export-trt --precision bf16 does", path
        )
    if asked is None:
        return "bf16" if for_bf16 and bf16_runs else in_file
    if asked not in ("bf16", in_file):
        raise BadArgumentError(
            f"{path}: is {in_file}, not {asked}; write an .onnx in {asked} with "
            f"export-trt --precision {asked}, or leave out --precision"
        )
    return asked


def _precision_of(path: Path, sidecar: Sidecar | None) -> str:
    """Of the graph in the file; FP16 by its sidecar only."""
    if _QUANTISED in path.read_bytes():
        return "int8"
    return "fp16" if sidecar and sidecar.precision == "fp16" else "fp32"


def _sidecar(path: Path) -> Sidecar | None:
    """The sidecar, where there is one and it is of this very file."""
    try:
        return read_sidecar(path)
    except EdgeError as error:
        _log.debug("without a sidecar: %s", error)
        return None


def _is_installed(package: str) -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return importlib.util.find_spec(package) is not None
    return False


def _onnxruntime_on_gpu() -> bool:
    if not _is_installed("onnxruntime"):
        return False
    import onnxruntime

    return any(provider in onnxruntime.get_available_providers() for provider in ON_GPU)
