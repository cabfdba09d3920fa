"""How long each stage of a frame takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

import numpy as np


class Stopwatch:
    """Durations by stage, in the order the stages first ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one run of stage `name`; a block that raises is not counted."""
        start = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)

    def milliseconds(self) -> dict[str, dict[str, float]]:
        """Median and 99th percentile of each stage, ms."""
        return {
            name: {
                "p50": round(float(np.percentile(seconds, 50)) * 1e3, 3),
                "p99": round(float(np.percentile(seconds, 99)) * 1e3, 3),
            }
            for name, seconds in self.seconds.items()
        }


def as_text(latency_ms: Mapping[str, Mapping[str, float]]) -> str:
    """What `Stopwatch.milliseconds` returned, as a table for a terminal."""
    head = f"{'ms a frame':<20}{'p50':>10}{'p99':>10}"
    rows = (f"{name:<20}{ms['p50']:>10.2f}{ms['p99']:>10.2f}" for name, ms in latency_ms.items())
    return "\n".join((head, *rows))
