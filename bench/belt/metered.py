"""How many pixels a network computes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge.engines.engine import Engine, Session
from edge.stage_timer import StageTimer
from edge.tiling import TileGrid


class MeteredEngine:
    """Another engine, whose computed `pixels` and `frames` are counted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.info, self.device = engine.info, engine.device
        self.max_in_flight = engine.max_in_flight
        self.pixels = self.frames = 0

    def close(self) -> None:
        """As `Engine.close`."""
        self._engine.close()

    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `Engine.run`."""
        return self._engine.run(tiles)

    def tile_grid(self, frame_hw: tuple[int, int]) -> TileGrid:
        """As `Engine.tile_grid`."""
        return self._engine.tile_grid(frame_hw)

    @contextlib.contextmanager
    def session(
        self, frame_hw: tuple[int, int], max_in_flight: int, timer: StageTimer
    ) -> Iterator[Session]:
        """As `Engine.session`."""
        grid = self.tile_grid(frame_hw)
        with self._engine.session(frame_hw, max_in_flight, timer) as session:
            yield _Metered(self, session, grid.pixels)


class _Metered:
    def __init__(self, meter: MeteredEngine, session: Session, pixels: int) -> None:
        self._meter, self._session, self._pixels = meter, session, pixels

    def submit(self, image: NDArray[np.uint8]) -> None:
        self._meter.pixels += self._pixels
        self._meter.frames += 1
        self._session.submit(image)

    def result(self) -> NDArray[np.uint8]:
        return self._session.result()
