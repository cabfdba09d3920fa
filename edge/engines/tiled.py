"""Engines that take tiles in host memory: frames are split, run and stitched, one at a time."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edge import tiling
from edge.engines.engine import EngineInfo
from edge.stage_timer import StageTimer

ENGINE_STAGE = "engine"


class TiledSession:
    """`run` maps tiles uint8 (N,h,w,3) to probabilities uint8 (N,1,h,w)."""

    def __init__(
        self,
        grid: tiling.TileGrid,
        run: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
        timer: StageTimer,
    ) -> None:
        self._grid, self._run, self._timer = grid, run, timer
        self._done: deque[NDArray[np.uint8]] = deque()

    def submit(self, image: NDArray[np.uint8]) -> None:
        with self._timer.stage("split"):
            tiles = tiling.split(image, self._grid)
        with self._timer.stage(ENGINE_STAGE):
            maps = self._run(tiles)
        with self._timer.stage("stitch"):
            self._done.append(tiling.stitch(maps, self._grid))

    def result(self) -> NDArray[np.uint8]:
        return self._done.popleft()


class TiledEngine(ABC):
    """What an engine that takes tiles of any size needs besides to be an `Engine`.

    Attributes:
        batch: tiles at a time.
    """

    info: EngineInfo
    device: str
    batch: int
    max_in_flight = 1

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

    def tile_grid(self, frame_hw: tuple[int, int]) -> tiling.TileGrid:
        """As `Engine.tile_grid`: the tiles of the fewest pixels."""
        return tiling.tile_grid(frame_hw, multiple=self.info.multiple, halo=self.info.halo)

    @contextlib.contextmanager
    def session(
        self, frame_hw: tuple[int, int], max_in_flight: int, timer: StageTimer
    ) -> Iterator[TiledSession]:
        """As `Engine.session`, one frame at a time."""
        yield TiledSession(self.tile_grid(frame_hw), self.run, timer)
