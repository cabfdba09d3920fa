"""Engines in ONNX Runtime: TensorRT, CUDA or CPU, whichever is there first."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.engines.engine import INPUT, OUTPUT, EngineInfo
from edge.engines.tiled import TiledFrames
from edge.errors import ToolError, needs
from edge.latency import Stopwatch

# glibc's mallopt: from this size on, blocks come from the system and go back to it.
M_MMAP_THRESHOLD, LARGE_BLOCK = -3, 16 << 20
PROVIDERS = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxEngine:
    """An .onnx file of ours in ONNX Runtime.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ToolError: the file is no ONNX model, or not one that `export-trt` wrote.
    """

    info: EngineInfo
    device: str
    depth = 1

    def __init__(self, path: Path) -> None:
        with needs("cpu"):
            import onnxruntime
        _give_large_blocks_back()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # a provider that cannot start is told by `device`
        # Without its arena it gives memory back, a third less; without spinning the other stages
        # have the cores to themselves between runs.
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[p for p in PROVIDERS if p in available]
            )
        # ONNX Runtime's exceptions share no base class of their own.
        except Exception as error:
            raise ToolError(
                f"{path}: ONNX Runtime cannot load it ({_first_line(error)}); "
                f"write the engine again with export-trt"
            ) from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.info = EngineInfo.from_metadata(metadata, str(path))
        provider = self._session.get_providers()[0]
        self.device = f"ONNX Runtime {onnxruntime.__version__}, {provider}"
        # On a CPU a batch only takes memory: its tiles are computed one after the other anyway.
        self._batch = 1 if provider == "CPUExecutionProvider" else 16

    def close(self) -> None:
        """As `Engine.close`."""
        del self._session

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Probabilities uint8 (N,1,H,W) of tiles uint8 (N,H,W,3) RGB.

        Raises:
            ToolError: ONNX Runtime fails, out of memory for example.
        """
        count, height, width, _ = tiles.shape
        probability = np.empty((count, 1, height, width), np.uint8)
        for start in range(0, count, self._batch):
            chosen = slice(start, start + self._batch)
            try:
                (probability[chosen],) = self._session.run([OUTPUT], {INPUT: tiles[chosen]})
            except Exception as error:
                raise ToolError(
                    f"the engine failed in ONNX Runtime: {_first_line(error)}"
                ) from error
        return probability

    @contextlib.contextmanager
    def frames(
        self, frame_hw: tuple[int, int], depth: int, clock: Stopwatch
    ) -> Iterator[TiledFrames]:
        """As `Engine.frames`, with the tiles of the fewest pixels; one frame at a time."""
        info = self.info
        plan = tiling.plan(frame_hw, multiple=info.multiple, halo=info.halo)
        yield TiledFrames(plan, self.run, clock)


def _give_large_blocks_back() -> None:
    """Stop glibc from keeping blocks of up to 32 MB, as large as what lies between two layers.

    It would hoard them, thread by thread: half the peak memory of a run.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
