"""A source for tests of sinks. As a program it runs until it is killed:

python endless.py PERIOD_S SINK_URI ...
"""

import sys
import time
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

import edge
from edge.frame import Frame, SkippedFrame
from edge.sources.source import Source
from train.data.synth import scene


@cache
def image() -> NDArray[np.uint8]:
    """A rendered scene of 96x129 px with some particles."""
    return scene(np.random.default_rng(29), 96, 129, particles=8).image


class EndlessSource(Source):
    """The same frame at least `period_s` apart, `total` times; times are 0.2 s apart."""

    def __init__(self, total: int = 10**9, period_s: float = 0.0) -> None:
        super().__init__("endless")
        self._total, self._period_s = total, period_s

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        for i in range(self._total):
            time.sleep(self._period_s)
            yield Frame(image(), i, "belt.png", 1e9 + i * 0.2)


def run(total: int, *uris: str, period_s: float = 0.0, mm_per_pixel: float | None = None):  # type: ignore[no-untyped-def]
    """A run of `total` frames that has ended, and its results."""
    sinks = [edge.open_sink(uri, mm_per_pixel) for uri in uris]
    done = edge.run(EndlessSource(total, period_s), "quarter_mrunet", sinks=sinks)
    return done, list(done)


if __name__ == "__main__":
    for result in edge.run(
        EndlessSource(period_s=float(sys.argv[1])),
        "quarter_mrunet",
        sinks=[edge.open_sink(uri) for uri in sys.argv[2:]],
    ):
        print(result.frame.index, flush=True)
