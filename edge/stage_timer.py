"""How long each stage of a frame takes."""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

# What a run of weeks remembers of a stage, at least; its memory must not grow with the frames.
NEWEST = 10_000
# Upper bounds of the classes of a histogram, s; the last class has none.
BOUNDS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


@dataclass(frozen=True)
class Histogram:
    """Of all durations ever.

    Attributes:
        counts: durations in each class; bounds belong to the class below.
        sum_s: of all durations, s.
    """

    counts: tuple[int, ...]
    sum_s: float


@dataclass
class _Durations:
    newest: array[float] = field(default_factory=lambda: array("d"))
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0


class StageTimer:
    """The newest `NEWEST` durations of each stage at least, and a histogram of all; stages in the
    order they first ran.

    May be used and read from any thread.
    """

    def __init__(self) -> None:
        self._stages: dict[str, _Durations] = {}
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Count one run of stage `name`."""
        with self._lock:
            durations = self._stages.setdefault(name, _Durations())
            durations.newest.append(seconds)
            if len(durations.newest) == 2 * NEWEST:
                del durations.newest[:NEWEST]
            durations.counts[bisect_left(BOUNDS_S, seconds)] += 1
            durations.sum_s += seconds

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one run of stage `name`; a block that raises is not counted."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Median, 99th percentile and maximum of each stage: p50, p99 and max, ms."""
        with self._lock:
            names = list(self._stages)
        return {name: self._percentiles_ms(name) for name in names}

    def _percentiles_ms(self, name: str) -> dict[str, float]:
        # One stage at a time: each thread that asks keeps the memory of its largest question.
        with self._lock:
            durations = np.array(self._stages[name].newest)
        percentiles = np.percentile(durations, (50, 99, 100), overwrite_input=True)
        return {
            key: round(float(seconds) * 1e3, 3)
            for key, seconds in zip(("p50", "p99", "max"), percentiles, strict=True)
        }

    def histograms(self) -> dict[str, Histogram]:
        """Of each stage."""
        with self._lock:
            return {
                name: Histogram(tuple(stage.counts), stage.sum_s)
                for name, stage in self._stages.items()
            }


def format_latency(latency_ms: Mapping[str, Mapping[str, float]]) -> str:
    """What `StageTimer.milliseconds` returned, as a table for a terminal."""
    head = f"{'ms/frame':<20}{'p50':>10}{'p99':>10}"
    rows = (f"{name:<20}{ms['p50']:>10.2f}{ms['p99']:>10.2f}" for name, ms in latency_ms.items())
    return "\n".join((head, *rows))
