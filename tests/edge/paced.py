"""A source that gives frames at a pace, until it is closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame
from edge.sources.source import Source


class PacedSource(Source):
    """A camera that shows `images` in turn, one every `every_s` seconds."""

    live = True

    def __init__(self, images: Sequence[NDArray[np.uint8]], every_s: float) -> None:
        super().__init__("belt")
        self._images, self._every_s = images, every_s
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._closed.wait(self._every_s):
            yield Frame(self._images[index % len(self._images)], index, "belt", time.time())
            index += 1

    def close(self) -> None:
        self._closed.set()
