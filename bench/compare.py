"""Significant changes between two reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.models import BackendRow
from bench.report import Report
from bench.sampling import MIN_RUNS
from bench.tables import table
from edge.errors import EdgeError


@dataclass(frozen=True)
class Change:
    """One number of one row in both reports; more is worse.

    Attributes:
        ratio: after over before; of times, the medians.
        significant: the confidence intervals of the medians do not overlap, even if one report
            drifted by the whole `drift`. Sizes, which have no interval, differ by more than in
            `SIZES`.
    """

    row: str
    metric: str
    before: float
    after: float
    significant: bool

    @property
    def ratio(self) -> float:
        return self.after / self.before


@dataclass(frozen=True)
class ReportComparison:
    """All that both reports hold, `changes`, and the names of rows that only one holds."""

    changes: Sequence[Change]
    only_before: Sequence[str]
    only_after: Sequence[str]
    machines_differ: Sequence[str]

    def worse(self, percent: float) -> list[Change]:
        """Significant changes for the worse by more than `percent`."""
        return [c for c in self.changes if c.significant and c.ratio > 1 + percent / 100]

    def describe(self) -> str:
        """A table of significant changes, and what cannot be compared."""
        changed = sorted(
            (c for c in self.changes if c.significant), key=lambda c: c.ratio, reverse=True
        )
        lines = [f"{len(self.changes)} numbers compared, {len(changed)} changed significantly"]
        if changed:
            cells = [
                (c.row, c.metric, f"{c.before:,.2f}", f"{c.after:,.2f}", f"{c.ratio - 1:+.1%}")
                for c in changed
            ]
            lines.append(table(("", "", "before", "after", "change"), cells, left=2))
        for where, rows in (("first", self.only_before), ("second", self.only_after)):
            if rows:
                lines.append(f"only in the {where}: {'; '.join(rows)}")
        if self.machines_differ:
            lines.append(f"the machines differ: {'; '.join(self.machines_differ)}")
        return "\n\n".join(lines)


# Readings of the moment, which do not identify a machine.
MOMENTARY = {"load", "cpu_mhz", "gpu_mhz", "gpu_memory_mhz"}
TIMES = {"tile_ms": "tile, ms", "frame_ms": "frame, ms"}
# A size that changes by a smaller part is the same. The memory of a process of torch differs by up
# to 15% from run to run.
SIZES = {
    "peak_memory_mb": ("memory, MB", 0.2),
    "gpu_memory_mb": ("GPU memory, MB", 0.01),
    "engine_mb": ("file, MB", 0.01),
}


def compare(before: Report, after: Report) -> ReportComparison:
    """BackendRow by row.

    Raises:
        EdgeError: they have no row in common, or are of frames of different size.
    """
    if before.result.frame_hw != after.result.frame_hw:
        raise EdgeError("the two reports are of frames of different size: measure one again")
    rows = [{", ".join(row.key): row for row in report.result.rows} for report in (before, after)]
    common = [name for name in rows[0] if name in rows[1]]
    if not common:
        raise EdgeError("the two reports have no network, backend and precision in common")
    drift = max(before.result.drift, after.result.drift)
    changes = [
        change for name in common for change in _changes(name, rows[0][name], rows[1][name], drift)
    ]
    keys = sorted((before.machine.keys() | after.machine.keys()) - MOMENTARY)
    differ = [
        f"{key} {before.machine.get(key, 'unknown')} and {after.machine.get(key, 'unknown')}"
        for key in keys
        if before.machine.get(key) != after.machine.get(key)
    ]
    return ReportComparison(
        changes,
        only_before=[name for name in rows[0] if name not in rows[1]],
        only_after=[name for name in rows[1] if name not in rows[0]],
        machines_differ=differ,
    )


def _changes(name: str, one: BackendRow, other: BackendRow, drift: float) -> Iterator[Change]:
    """Of the row of that name, before and after."""
    for key, metric in TIMES.items():
        a, b = getattr(one, key), getattr(other, key)
        low, high = zip(_range(a), _range(b), strict=True)
        apart = high[0] * drift < low[1] or high[1] * drift < low[0]
        yield Change(name, metric, a["p50"], b["p50"], apart)
    for key, (metric, same) in SIZES.items():
        a, b = getattr(one, key), getattr(other, key)
        if a and b:
            yield Change(name, metric, a, b, abs(b / a - 1) > same)


def _range(times: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of the median; of all runs where these are too few to have one.

    One run or two could be anything.
    """
    if len(times["runs"]) < MIN_RUNS:
        return 0, math.inf
    low, high = times["interval"] or (min(times["runs"]), max(times["runs"]))
    return low, high
