"""A source that gives frames at a pace, until it is closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.frame import Frame
from edge.sources.source import Source, SourceStatus


class PacedSource(Source):
    """A camera that shows `images` in turn, one every `every_s` seconds.

    Args:
        names: of several cameras that give a frame each in turn.
    """

    live = True

    def __init__(
        self, images: Sequence[NDArray[np.uint8]], every_s: float, names: Sequence[str] = ("",)
    ) -> None:
        super().__init__("belt")
        self._images, self._every_s, self._names = images, every_s, names
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._closed.wait(self._every_s):
            image = self._images[index % len(self._images)]
            name = self._names[index % len(self._names)]
            yield Frame(image, index, name or "belt", time.time(), name)
            index += 1

    def statuses(self) -> tuple[SourceStatus, ...]:
        (status,) = super().statuses()
        return tuple(replace(status, name=name or status.name) for name in self._names)

    def close(self) -> None:
        self._closed.set()
