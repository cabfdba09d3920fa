"""edge-run with sources and engines that do what the tests of a service need, run as a program."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cli import edge_run
from edge.engines import BACKENDS
from edge.engines.engine import EngineInfo
from edge.engines.tiled import TiledEngine
from edge.frame import Frame, SkippedFrame
from edge.sources import SOURCES
from edge.sources.source import Source, SourceStatus, State

HANGS_AFTER = 5


class Steady(Source):
    """A frame each 20 ms until it is closed."""

    live = True
    state = State.LIVE

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.closed = threading.Event()

    def statuses(self) -> tuple[SourceStatus, ...]:
        return (SourceStatus(self.uri, self.state, 0.0),)

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        index = 0
        while not self.closed.wait(0.02):
            yield Frame(np.full((64, 64, 3), index % 256, np.uint8), index, "steady", time.time())
            index += 1

    def close(self) -> None:
        self.closed.set()


class Hanging(Steady):
    """Gives a few frames and then hangs in a read."""

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        for frame in super().__iter__():
            yield frame
            if frame.index == HANGS_AFTER:
                threading.Event().wait()


class Waiting(Steady):
    """A camera that is not there yet."""

    state = State.CONNECTING

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        self.closed.wait()
        yield from ()


class Engine(TiledEngine):
    """Finds nothing; as hanging.fake, not even that after a few frames."""

    batch = 1
    device = "none"
    info = EngineInfo("fake", 1, 1, 0.5, (0.0,) * 3, (1.0,) * 3, {}, "")

    def __init__(self, path: Path) -> None:
        self._hangs_after = HANGS_AFTER if path.stem == "hanging" else 10**9
        self._runs = 0

    def close(self) -> None:
        pass

    def _run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self._runs += 1
        if self._runs > self._hangs_after:
            threading.Event().wait()
        return np.zeros((len(tiles), 1, *tiles.shape[1:3]), np.uint8)


SOURCES |= {"steady": Steady, "hanging": Hanging, "waiting": Waiting}
BACKENDS[".fake"] = lambda path, **_: Engine(path)

if __name__ == "__main__":
    edge_run()
