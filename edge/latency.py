"""How long each stage of a frame takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

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
