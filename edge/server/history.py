"""A run over time, in bounded memory."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

# Spans of time kept; 1 s each at first, and twice as long whenever all are used.
SPANS = 300
_SUMS = ("frames", "particles", "dropped", "failed", "latency_s")


class History:
    """Frames, particles, drops and latencies, summed over equal spans of time since the start."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._span_s = 1.0
        self._sums = np.zeros((SPANS, len(_SUMS)))

    def add(self, **values: float) -> None:
        """Count in what happened now: any of frames, particles, dropped, failed, latency_s."""
        row = self._sums[self._now()]
        for name, value in values.items():
            row[_SUMS.index(name)] += value

    def as_json(self) -> dict[str, Any]:
        """`span_s`, `elapsed_s`, and lists with a number for each span up to now: the sums, and
        the mean `latency_ms`, None where there was no frame."""
        used = self._sums[: self._now() + 1]
        columns = {name: used[:, i] for i, name in enumerate(_SUMS)}
        seconds, frames = columns.pop("latency_s"), columns["frames"]
        latency_ms = [
            round(1e3 * total / count, 2) if count else None
            for total, count in zip(seconds.tolist(), frames.tolist(), strict=True)
        ]
        return {
            "span_s": self._span_s,
            "elapsed_s": round(time.monotonic() - self._start_s, 2),
            "latency_ms": latency_ms,
            **{name: column.astype(int).tolist() for name, column in columns.items()},
        }

    def _now(self) -> int:
        """The span that is now; makes room for it."""
        elapsed_s = time.monotonic() - self._start_s
        while elapsed_s >= SPANS * self._span_s:
            self._sums[: SPANS // 2] = self._sums[0::2] + self._sums[1::2]
            self._sums[SPANS // 2 :] = 0
            self._span_s *= 2
        return int(elapsed_s / self._span_s)
