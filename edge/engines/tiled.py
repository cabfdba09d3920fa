"""Engines that take tiles in host memory: frames are cut, run and stitched, one at a time."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.engines.engine import EngineInfo
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


class TiledEngine(ABC):
    """What an engine that takes tiles of any size needs besides to be an `Engine`.

    Attributes:
        batch: tiles at a time.
    """

    info: EngineInfo
    device: str
    batch: int
    depth = 1

    @abstractmethod
    def close(self) -> None:
        """As `Engine.close`."""

    @abstractmethod
    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Engine.run`, of no more tiles than `batch`."""

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Engine.run`."""
        count, height, width, _ = tiles.shape
        probability = np.empty((count, 1, height, width), np.uint8)
        for start in range(0, count, self.batch):
            chosen = slice(start, start + self.batch)
            probability[chosen] = self._run(tiles[chosen])
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
