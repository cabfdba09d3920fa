"""Outlines and run-length codes drawn as numbers of objects.

Coordinates are px from the top left corner of the photo, so that the first pixel's centre is at
(0.5, 0.5), as labelling tools count. pycocotools is imported here only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Objects = NDArray[np.int32]
Ring = NDArray[np.float64]
# Sides of the polygon that an ellipse is drawn as.
ELLIPSE_SIDES = 64


class Canvas:
    """Objects (H,W) int32, 0 on background; what is drawn later lies on top."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        # Column by column, as the codes run.
        self._flat: Objects = np.zeros(shape[0] * shape[1], np.int32)
        self.count = 0

    @property
    def objects(self) -> Objects:
        """What is drawn, (H,W)."""
        height, width = self.shape
        return np.ascontiguousarray(self._flat.reshape(width, height).T)

    def draw(
        self, rings: Sequence[Ring] = (), runs: Sequence[int] = (), *, holes: bool = False
    ) -> bool:
        """One object: the area of all `rings` (n,2) and of `runs`; False where it has no pixel.

        Args:
            runs: lengths of alternating 0 and 1, column by column, H * W together.
            holes: whether a ring inside another one is cut out of it.
        """
        covered = [_spans(_runs_of(ring, self.shape)) for ring in rings]
        if runs:
            covered.append(_spans(runs))
        if holes and len(covered) > 1:
            covered = [_odd(covered)]
        number, drawn = self.count + 1, False
        for spans in covered:
            for start, end in spans:
                self._flat[start:end] = number
                drawn = True
        self.count += drawn
        return drawn


def ellipse(x: float, y: float, rx: float, ry: float, degrees: float = 0.0) -> Ring:
    """An ellipse as a ring (n,2), turned clockwise on the screen."""
    angle = np.linspace(0, 2 * np.pi, ELLIPSE_SIDES, endpoint=False)
    turn = np.deg2rad(degrees)
    along, across = rx * np.cos(angle), ry * np.sin(angle)
    return np.stack(
        [
            x + along * np.cos(turn) - across * np.sin(turn),
            y + along * np.sin(turn) + across * np.cos(turn),
        ],
        axis=1,
    )


def decode_runs(code: str) -> list[int]:
    """Compressed COCO counts: 5 bits a character, the lowest first, in two's complement.

    From the fourth on each is the difference to the last but one.
    """
    runs: list[int] = []
    value = bits = 0
    for character in code.encode("ascii"):
        digit = character - 48
        value |= (digit & 31) << bits
        bits += 5
        if not digit & 32:  # the last character of this count
            if digit & 16:
                value -= 1 << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs


def runs_of_mask(mask: NDArray[np.bool_]) -> list[int]:
    """The runs of a mask (H,W), column by column."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs: list[int] = np.diff(edges, prepend=0, append=mask.size).tolist()
    return runs


def _runs_of(ring: Ring, shape: tuple[int, int]) -> list[int]:
    (code,) = coco.frPyObjects([ring.ravel().tolist()], *shape)
    return decode_runs(code["counts"].decode())


def _spans(runs: Sequence[int]) -> list[tuple[int, int]]:
    """(start, end) of the runs of 1."""
    ends = np.cumsum(runs)
    return [(int(a), int(b)) for a, b in zip(ends[::2], ends[1::2], strict=False) if b > a]


def _odd(covered: Sequence[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """What an odd number of areas covers."""
    edges = sorted(edge for spans in covered for span in spans for edge in span)
    return [(a, b) for i, (a, b) in enumerate(pairwise(edges)) if i % 2 == 0 and b > a]
