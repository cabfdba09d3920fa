"""How long each stage of a frame takes."""

from __future__ import annotations

import contextlib
import threading
import time
from array import array
from collections.abc import Iterator, Mapping

import numpy as np

# What a run of weeks remembers of a stage, at least; its memory must not grow with the frames.
NEWEST = 10_000


class StageTimer:
    """The newest `NEWEST` durations of each stage at least, stages in the order they first ran.

    May be used and read from any thread.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, array[float]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Count one run of stage `name`."""
        with self._lock:
            durations = self._seconds.setdefault(name, array("d"))
            durations.append(seconds)
            if len(durations) == 2 * NEWEST:
                del durations[:NEWEST]

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one run of stage `name`; a block that raises is not counted."""
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Median, 99th percentile and maximum of each stage: p50, p99 and max, ms."""
        with self._lock:
            copied = {name: np.array(durations) for name, durations in self._seconds.items()}
        return {
            name: {
                key: round(float(seconds) * 1e3, 3)
                for key, seconds in zip(
                    ("p50", "p99", "max"), np.percentile(durations, (50, 99, 100)), strict=True
                )
            }
            for name, durations in copied.items()
        }


def format_latency(latency_ms: Mapping[str, Mapping[str, float]]) -> str:
    """What `StageTimer.milliseconds` returned, as a table for a terminal."""
    head = f"{'ms/frame':<20}{'p50':>10}{'p99':>10}"
    rows = (f"{name:<20}{ms['p50']:>10.2f}{ms['p99']:>10.2f}" for name, ms in latency_ms.items())
    return "\n".join((head, *rows))
