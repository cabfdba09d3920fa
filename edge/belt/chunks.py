"""A strip in chunks that overlap as tiles do, so that their maps together are that of the strip.

What `edge/tiling.py` says of tiles holds for chunks, whose neighbours are yet to come: each begins
on the network's pooling grid, counted from the first row, and only rows farther than the halo from
its ends are valid, but for the ends of the strip itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.engines.engine import Engine
from edge.errors import EdgeError

# Rows of chunks: the step between those that are tried, and the most.
STEP, MAX_ROWS = 32, 1024
# Network pixels per pixel of the strip that are good enough, and otherwise those of the cheapest
# chunk and a little more. Smaller chunks cost more, but come earlier.
GOOD_COST, MAX_RELATIVE_COST = 1.15, 1.01


@dataclass(frozen=True, eq=False)
class Chunk:
    """Of a strip.

    Attributes:
        pixels: uint8 (n,W,3) RGB.
        first: number of its first row in the strip.
        valid: numbers of the first valid row, and of the one after the last.
        ends: whether the strip ends with it.
    """

    pixels: NDArray[np.uint8]
    first: int
    valid: tuple[int, int]
    ends: bool


def chunk_rows(engine: Engine, width: int) -> int:
    """Rows of the smallest chunk that costs about as little as the cheapest.

    Raises:
        EdgeError: the engine cannot take strips of that width, px.
    """
    halo, multiple = engine.info.halo, engine.info.multiple
    step = -(-STEP // multiple) * multiple
    first = (overlap(halo, multiple) // step + 1) * step
    costs = {
        rows: engine.tile_grid((rows, width)).pixels / ((rows - overlap(halo, multiple)) * width)
        for rows in range(first, max(MAX_ROWS, first) + 1, step)
    }
    enough = max(GOOD_COST, MAX_RELATIVE_COST * min(costs.values()))
    return next(rows for rows, cost in costs.items() if cost <= enough)


def overlap(halo: int, multiple: int) -> int:
    """Rows that neighbouring chunks share, at most: a halo each, and the pooling grid."""
    return 2 * max(halo, 1) + multiple - 1


class Chunks:
    """Collects the rows of a strip of `width` px and gives chunks of `rows` rows.

    A chunk that is given early has half or a quarter as many where that is enough, and one at the
    end of the strip as many as are left. Memory is that of two chunks.

    Raises:
        EdgeError: the halo leaves nothing of a chunk.
    """

    def __init__(self, width: int, rows: int, *, halo: int, multiple: int, first: int = 0) -> None:
        rows = -(-rows // multiple) * multiple
        # The last row at least waits for the next, so that the end of a strip is always in a chunk.
        self._halo, self._multiple = max(halo, 1), multiple
        if rows < overlap(halo, multiple) + 1:
            raise EdgeError(
                f"a halo of {halo} px leaves nothing of a chunk of {rows} rows; "
                f"use at least {overlap(halo, multiple) + 1}"
            )
        self._sizes = sorted({-(-rows // part // multiple) * multiple for part in (4, 2, 1)})
        self._buffer = np.empty((2 * rows, width, 3), np.uint8)
        self._origin = first
        # In the buffer are rows base to end; those before `given` have been in a chunk.
        self._base = self._end = self._given = first

    @property
    def next(self) -> int:
        """Number of the row that comes next."""
        return self._end

    @property
    def pending(self) -> int:
        """Number of the first row that no chunk has given yet."""
        return self._given

    def add(self, pixels: NDArray[np.uint8]) -> Iterator[Chunk]:
        """Append rows (n,W,3); the chunks that they fill."""
        while len(pixels):
            start = self._start()
            room = start + self._sizes[-1] - self._end
            taken, pixels = pixels[:room], pixels[room:]
            self._append(taken)
            if self._end == start + self._sizes[-1]:
                yield self._chunk(start, self._end)

    def early(self) -> Chunk | None:
        """What can be given now; None where every row still lacks its halo."""
        end = self._end - (self._end - self._origin) % self._multiple
        if end - self._halo <= self._given:
            return None
        needed = end - self._start()
        size = next(size for size in self._sizes if size >= needed)
        # Full of rows that were given before, rather than of a size of its own.
        return self._chunk(max(end - size, self._earliest()), end)

    def finish(self) -> Chunk | None:
        """The last chunk; None where there was no row."""
        if self._end == self._origin:
            return None
        return self._chunk(self._start(), self._end, ends=True)

    def _start(self) -> int:
        """Of the next chunk: a halo before what it gives, on the grid."""
        before = max(self._given - self._halo - self._origin, 0)
        return self._origin + before - before % self._multiple

    def _earliest(self) -> int:
        """The first row in the buffer that is on the grid."""
        return self._base + (self._origin - self._base) % self._multiple

    def _chunk(self, first: int, end: int, *, ends: bool = False) -> Chunk:
        pixels = self._buffer[first - self._base : end - self._base].copy()
        valid = self._given, end if ends else end - self._halo
        self._given = valid[1]
        return Chunk(pixels, first, valid, ends)

    def _append(self, pixels: NDArray[np.uint8]) -> None:
        if self._end - self._base + len(pixels) > len(self._buffer):
            kept = self._end - self._sizes[-1]
            self._buffer[: self._sizes[-1]] = self._buffer[
                kept - self._base : self._end - self._base
            ]
            self._base = kept
        at = self._end - self._base
        self._buffer[at : at + len(pixels)] = pixels
        self._end += len(pixels)
