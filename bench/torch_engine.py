"""A network in torch as an engine, to be measured beside the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch._dynamo.config as dynamo
from numpy.typing import NDArray

from edge.engines.tiled import TiledEngine
from edge.errors import EdgeError
from export.trace import EngineGraph, info_of
from train.checkpoint import load

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class TorchEngine(TiledEngine):
    """A checkpoint in torch, on the first GPU or else the CPU.

    Args:
        compiled: by `torch.compile`, anew for each shape.
        precision: "fp32" or "fp16", by autocasting.

    Raises:
        EdgeError: the file is no checkpoint.
    """

    def __init__(self, path: Path, *, compiled: bool, precision: str) -> None:
        checkpoint = load(path)
        on_gpu = torch.cuda.is_available()
        self._where = torch.device("cuda" if on_gpu else "cpu")
        graph = EngineGraph(checkpoint).eval().to(self._where)
        self._graph: Any = _compiled(graph) if compiled else graph
        self._dtype = DTYPES[precision]
        self.batch = 16 if on_gpu else 1
        self.info = info_of(checkpoint, "")
        self.device = f"torch {torch.__version__}, {self._where.type}"

    def close(self) -> None:
        """As `Engine.close`."""
        del self._graph

    @torch.inference_mode()
    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        half = self._dtype != torch.float32
        try:
            with torch.autocast(self._where.type, self._dtype, enabled=half):
                found = self._graph(torch.from_numpy(tiles).to(self._where))
            probability: NDArray[np.uint8] = found.cpu().numpy()
        except Exception as error:  # torch.compile raises whatever its back end does
            raise EdgeError(f"{self.device} failed: {str(error).partition(chr(10))[0]}") from error
        return probability


def _compiled(graph: torch.nn.Module) -> Any:
    # Every shape of every network counts, and beyond the limit torch runs eagerly without an error.
    dynamo.recompile_limit = 64
    dynamo.fail_on_recompile_limit_hit = True
    return torch.compile(graph, dynamic=False)
