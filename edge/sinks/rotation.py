"""When a file is full and the next one begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Rotation:
    """By size, by time, by both, or never.

    Attributes:
        max_mb: a file holds at most so many MB (10^6 bytes), unless one entry is larger.
        every: a file holds the entries of at most so many seconds; counted from midnight UTC, so
            that files of an hour begin on the hour.
    """

    max_mb: float | None = None
    every: float | None = None

    def due(self, begun_s: float, size: int, now_s: float) -> bool:
        """Whether a file begun at the Unix time `begun_s`, which would hold `size` bytes with the
        next entry, is to be followed by another."""
        if self.max_mb is not None and size > self.max_mb * 1e6:
            return True
        return self.every is not None and begun_s // self.every != now_s // self.every

    def path(self, path: Path, begun_s: float) -> Path:
        """Of the file begun at that Unix time: `path` where nothing rotates, else with the time in
        UTC, such as particles_20260131T140000Z.jsonl. No file is there yet."""
        if self == NEVER:
            return path
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(begun_s))
        return free(path.with_stem(f"{path.stem}_{stamp}"))


NEVER = Rotation()


def free(path: Path) -> Path:
    """`path`, or where that is taken, the first of NAME_2, NAME_3, ... that is not."""
    stem, number, one = path.stem, 1, path
    while one.exists() or part(one).exists():
        number += 1
        one = path.with_stem(f"{stem}_{number}")
    return one


def part(path: Path) -> Path:
    """The name of a file until it is finished."""
    return path.with_name(path.name + ".part")
