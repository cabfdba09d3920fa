"""Engines in ONNX Runtime: its TensorRT, CUDA or CPU provider, whichever is there first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.engines.cache import tensorrt_provider_options
from edge.engines.engine import INPUT, OUTPUT, EngineInfo
from edge.engines.tiled import TiledEngine
from edge.errors import EdgeError, describe, out_of_memory, require_extra

PROVIDERS = (
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "CPUExecutionProvider",
)
ON_GPU, ON_CPU = PROVIDERS[:2], PROVIDERS[-1:]


class OnnxEngine(TiledEngine):
    """An .onnx file of ours in ONNX Runtime.

    Args:
        providers: ONNX Runtime's names of what may run it, the first that is there.

    Attributes:
        ort_session: ONNX Runtime's own.
        on_gpu: whether that runs it on a GPU.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        EdgeError: the file is no ONNX model, or not one that `export-trt` wrote.
    """

    def __init__(self, path: Path, providers: Sequence[str] = PROVIDERS) -> None:
        with require_extra("cpu"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # a provider that cannot start is told by `device`
        # A pattern would hold all tensors of a run a second time, beside those of the first run.
        # Threads that spin between layers are faster; between runs the other stages have the cores.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.force_spinning_stop", "1")
        available = onnxruntime.get_available_providers()
        if not any(provider in available for provider in providers):
            raise EdgeError(
                f"ONNX Runtime {onnxruntime.__version__} has none of {', '.join(providers)}; "
                f"it has {', '.join(available)}"
            )
        try:
            self.ort_session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=[
                    (p, tensorrt_provider_options(path)) if p == PROVIDERS[0] else p
                    for p in providers
                    if p in available
                ],
            )
        # ONNX Runtime's exceptions share no base class of their own.
        except Exception as error:
            raise EdgeError(
                f"{path}: ONNX Runtime cannot load it ({_first_line(error)}); "
                f"write the engine again with export-trt"
            ) from error
        metadata = self.ort_session.get_modelmeta().custom_metadata_map
        self.info = EngineInfo.from_metadata(metadata, str(path))
        provider = self.ort_session.get_providers()[0]
        self.device = f"ONNX Runtime {onnxruntime.__version__}, {provider}"
        self.on_gpu = provider in ON_GPU
        # On a CPU a batch only takes memory: its tiles are computed one after the other anyway.
        self.batch = 16 if self.on_gpu else 1

    def close(self) -> None:
        """As `Engine.close`."""
        del self.ort_session

    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        try:
            probability: NDArray[np.uint8] = self.ort_session.run([OUTPUT], {INPUT: tiles})[0]
        except Exception as error:
            reason = describe(error) if out_of_memory(error) else _first_line(error)
            raise EdgeError(f"the engine failed in ONNX Runtime: {reason}") from error
        return probability


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
