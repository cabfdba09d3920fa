"""Engines in ONNX Runtime: TensorRT, CUDA, OpenVINO or CPU, whichever is there first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.engines.engine import INPUT, OUTPUT, EngineInfo
from edge.engines.tiled import TiledFrames
from edge.errors import ToolError, needs
from edge.latency import Stopwatch

PROVIDERS = (
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "OpenVINOExecutionProvider",
    "CPUExecutionProvider",
)
ON_GPU = PROVIDERS[:2]


class OnnxEngine:
    """An .onnx file of ours in ONNX Runtime.

    Args:
        providers: ONNX Runtime's names of what may run it, the first that is there.

    Attributes:
        batch: tiles at a time.
        session: ONNX Runtime's own.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ToolError: the file is no ONNX model, or not one that `export-trt` wrote.
    """

    info: EngineInfo
    device: str
    depth = 1

    def __init__(self, path: Path, providers: Sequence[str] = PROVIDERS) -> None:
        with needs("cpu"):
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # a provider that cannot start is told by `device`
        # A pattern would hold all tensors of a run a second time, beside those of the first run.
        # Threads that spin between layers are faster; between runs the other stages have the cores.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.force_spinning_stop", "1")
        available = onnxruntime.get_available_providers()
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=[p for p in providers if p in available]
            )
        # ONNX Runtime's exceptions share no base class of their own.
        except Exception as error:
            raise ToolError(
                f"{path}: ONNX Runtime cannot load it ({_first_line(error)}); "
                f"write the engine again with export-trt"
            ) from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.info = EngineInfo.from_metadata(metadata, str(path))
        provider = self.session.get_providers()[0]
        self.device = f"ONNX Runtime {onnxruntime.__version__}, {provider}"
        # On a CPU a batch only takes memory: its tiles are computed one after the other anyway.
        self.batch = 16 if provider in ON_GPU else 1

    def close(self) -> None:
        """As `Engine.close`."""
        del self.session

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Probabilities uint8 (N,1,H,W) of tiles uint8 (N,H,W,3) RGB.

        Raises:
            ToolError: ONNX Runtime fails, out of memory for example.
        """
        count, height, width, _ = tiles.shape
        probability = np.empty((count, 1, height, width), np.uint8)
        for start in range(0, count, self.batch):
            chosen = slice(start, start + self.batch)
            try:
                (probability[chosen],) = self.session.run([OUTPUT], {INPUT: tiles[chosen]})
            except Exception as error:
                raise ToolError(
                    f"the engine failed in ONNX Runtime: {_first_line(error)}"
                ) from error
        return probability

    def layout(self, frame_hw: tuple[int, int]) -> tiling.Plan:
        """As `Engine.layout`: the tiles of the fewest pixels."""
        return tiling.plan(frame_hw, multiple=self.info.multiple, halo=self.info.halo)

    @contextlib.contextmanager
    def frames(
        self, frame_hw: tuple[int, int], depth: int, clock: Stopwatch
    ) -> Iterator[TiledFrames]:
        """As `Engine.frames`, one frame at a time."""
        yield TiledFrames(self.layout(frame_hw), self.run, clock)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
