"""Frames through an engine that takes tiles in host memory: cut, run, stitch, one at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.latency import Stopwatch

ENGINE_STAGE = "engine"


class TiledFrames:
    """`run` maps tiles uint8 (N,h,w,3) to probabilities uint8 (N,1,h,w)."""

    def __init__(
        self,
        plan: tiling.Plan,
        run: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        clock: Stopwatch,
    ) -> None:
        self._plan, self._run, self._clock = plan, run, clock
        self._done: deque[NDArray[np.uint8]] = deque()

    def start(self, image: NDArray[np.uint8]) -> None:
        with self._clock.stage("cut"):
            tiles = tiling.cut(image, self._plan)
        with self._clock.stage(ENGINE_STAGE):
            maps = self._run(tiles)
        with self._clock.stage("stitch"):
            self._done.append(tiling.stitch(maps, self._plan))

    def finish(self) -> NDArray[np.uint8]:
        return self._done.popleft()
