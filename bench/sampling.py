"""Times of several tasks, interleaved until the median of each is precise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

# A warm-up ends with the first run that takes at least this part of the fastest before it.
STABLE = 0.95
# Half of the confidence interval of the median, as a part of the median, that is exact enough.
PRECISE = 0.02
MIN_RUNS, MAX_RUNS = 3, 200
# Times its limit that a slow task may take for `MIN_RUNS`.
OVERRUN = 3


@dataclass(frozen=True)
class Samples:
    """Times of one task in s, in the order they were taken."""

    seconds: tuple[float, ...]

    def percentile(self, percent: float) -> float:
        """Seconds that `percent` of the runs did not exceed."""
        return float(np.percentile(self.seconds, percent))

    @property
    def median(self) -> float:
        return self.percentile(50)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% confidence interval of the median, s; None of fewer than six runs, which have none.

        By order statistics: the k-th smallest and the k-th largest.
        """
        k = _rank(len(self.seconds))
        if k == 0:
            return None
        ordered = sorted(self.seconds)
        return ordered[k - 1], ordered[-k]

    @property
    def precise(self) -> bool:
        """Whether the median is known to `PRECISE`."""
        if self.interval is None:
            return False
        low, high = self.interval
        return (high - low) / 2 <= PRECISE * self.median

    def as_json(self) -> dict[str, Any]:
        """Milliseconds: p50, p90, p99, the interval of the median, all runs in their order."""
        interval = self.interval and [round(s * 1e3, 4) for s in self.interval]
        return {
            **{f"p{p}": round(self.percentile(p) * 1e3, 4) for p in (50, 90, 99)},
            "interval": interval,
            "runs": [round(seconds * 1e3, 4) for seconds in self.seconds],
        }


def interleaved(
    tasks: Mapping[str, Callable[[], object]],
    limit_s: float,
    warm: Mapping[str, float] | None = None,
) -> dict[str, Samples]:
    """Time every task, their runs interleaved, so that drift of the machine affects all alike.

    A task is warmed up until its runs get no faster. It is done when the confidence interval of
    its median is within `PRECISE`, or after `limit_s` seconds of runs, but not before `MIN_RUNS`,
    unless these would take `OVERRUN` times as long.

    Args:
        warm: tasks that ran before, and how long they took, s.
    """
    for name, task in tasks.items():
        _warm_up(task, limit_s, (warm or {}).get(name))
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    open_tasks = dict(tasks)
    while open_tasks:
        for name, task in list(open_tasks.items()):
            times = taken[name]
            times.append(seconds_of(task))
            if _is_done(times, limit_s):
                del open_tasks[name]
    return {name: Samples(tuple(times)) for name, times in taken.items()}


def seconds_of(task: Callable[[], object]) -> float:
    """Run `task` once."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def _is_done(times: list[float], limit_s: float) -> bool:
    spent = sum(times)
    if len(times) < MIN_RUNS:
        return spent >= OVERRUN * limit_s
    return spent >= limit_s or len(times) >= MAX_RUNS or Samples(tuple(times)).precise


def _warm_up(task: Callable[[], object], limit_s: float, before_s: float | None) -> None:
    best, spent = before_s or math.inf, before_s or 0.0
    while spent < limit_s:
        seconds = seconds_of(task)
        if seconds >= STABLE * best:
            return
        best, spent = min(best, seconds), spent + seconds


@cache
def _rank(count: int) -> int:
    """The largest k for which half of `count` coins are k to count - k heads 95% of the time."""
    outside, k = 0.0, 0
    while (outside := outside + math.comb(count, k) / 2**count) <= 0.025:
        k += 1
    return k
