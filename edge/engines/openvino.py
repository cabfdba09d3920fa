"""Engines in OpenVINO, on the CPU."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.engines.cache import cache_file, read_cache, warn_ignored, write_cache
from edge.engines.engine import INPUT, OUTPUT, EngineInfo
from edge.engines.sidecar import sha256
from edge.engines.tiled import TiledEngine
from edge.errors import EdgeError, describe, out_of_memory, require_extra

# OpenVINO's names of the arithmetic between floats; what is in INT8, the graph itself says.
ARITHMETIC = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}
DIGEST_BYTES = hashlib.sha256().digest_size


class OpenVinoEngine(TiledEngine):
    """An .onnx file of ours in OpenVINO, compiled once for tiles of any size.

    What was compiled is kept in the user's cache folder, where that can be written.

    Args:
        precision: "fp32", "bf16", or that of the file, "fp16" (computed in FP32) or "int8".

    Raises:
        MissingExtraError: OpenVINO is not installed.
        EdgeError: the file is no ONNX model, or not one that `export-trt` wrote; or the CPU has no
            bfloat16.
    """

    # A batch only takes memory: the cores share the work of one tile.
    batch = 1

    def __init__(self, path: Path, precision: str = "fp32") -> None:
        with require_extra("openvino"):
            import openvino
        core = _core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in capabilities:
            raise EdgeError("this CPU does not compute in bfloat16; give --precision fp32")
        settings = {
            "INFERENCE_PRECISION_HINT": ARITHMETIC[precision],
            # Bound to a core, a thread would wait there for another stage of the run.
            "ENABLE_CPU_PINNING": False,
            # Kernels kept for sizes seen before: without a bound, 2 MB more for each.
            "CPU_RUNTIME_CACHE_CAPACITY": 100,
        }
        try:
            network = _read(path)
            self.info = EngineInfo.from_metadata(_metadata(network), str(path))
            cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
            key = (openvino.__version__, cpu, *sorted(capabilities), *map(str, settings.items()))
            cached = cache_file(path.stem, "openvino", sha256(path), *key)
            compiled = _compile(core, network, settings, cached)
            self._request, self._lock = compiled.create_infer_request(), threading.Lock()
        except EdgeError:
            raise
        # OpenVINO's exceptions share no base class of their own.
        except Exception as error:
            raise EdgeError(
                f"{path}: OpenVINO cannot load it ({_last_line(error)}); write the engine again "
                f"with export-trt"
            ) from error
        version = openvino.__version__.partition("-")[0]
        self.device = f"OpenVINO {version}, CPU, {precision}"

    def close(self) -> None:
        """As `Engine.close`."""
        del self._request

    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        try:
            # Other runs may share the engine; a request of their own would take as much memory.
            with self._lock:
                found = self._request.infer({INPUT: tiles}, share_inputs=True, share_outputs=True)
                return np.array(found[OUTPUT], np.uint8)
        except Exception as error:
            reason = describe(error) if out_of_memory(error) else _last_line(error)
            raise EdgeError(f"the engine failed in OpenVINO: {reason}") from error


@functools.cache
def _core() -> Any:
    """The one of this process.

    OpenVINO gives the thread that loads its CPU plugin a stack for signals, and takes it back with
    the plugin. Of several, in the main thread, it gives back one that is gone: Ctrl-C would be a
    segmentation fault.
    """
    import openvino

    core = openvino.Core()
    with ThreadPoolExecutor(1) as other_thread:
        other_thread.submit(core.get_property, "CPU", "FULL_DEVICE_NAME").result()
    return core


def _read(path: Path) -> Any:
    """The network of an .onnx file; `Core.read_model` would try a damaged one as any format."""
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("onnx")
    return frontend.convert(frontend.load(str(path)))


def _metadata(network: Any) -> dict[str, str]:
    """The metadata of an .onnx file that `EngineInfo` has, by name."""
    found = {}
    for field in fields(EngineInfo):
        with contextlib.suppress(RuntimeError):  # there is no such entry
            found[field.name] = str(network.get_rt_info(["framework", field.name]).value)
    return found


def _compile(core: Any, network: Any, settings: dict[str, Any], cached: Path) -> Any:
    """The network, compiled; from the file `cached`, or it is put there.

    Not by OpenVINO's own cache, which computes something else from a file that was damaged.
    """
    content = read_cache(cached)
    digest, compiled = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
    if hashlib.sha256(compiled).digest() == digest:
        with contextlib.suppress(RuntimeError):
            return core.import_model(compiled, "CPU", settings)
    if content:
        warn_ignored(cached, "OpenVINO")
    result = core.compile_model(network, "CPU", settings)
    compiled = result.export_model().getvalue()
    write_cache(cached, hashlib.sha256(compiled).digest() + compiled)
    return result


def _last_line(error: Exception) -> str:
    """The lines before say where in OpenVINO's source it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
