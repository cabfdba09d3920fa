"""What a labelling tool says of photos, before it is drawn."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.sources.images import is_system_file
from train.data.outline import Ring

BOX = "a box has no outline; draw polygons, or paint with a brush"
LINE = "a line has no area; draw polygons, or paint with a brush"
NO_RING = "an outline of fewer than three points, or of points that are no numbers"


@dataclass(frozen=True, eq=False)
class Shape:
    """One labelled object: outlines, pixels or a point.

    Coordinates are px from the photo's top left corner; the first pixel's centre is (0.5, 0.5).

    Attributes:
        rings: outlines (n,2) as (x, y), whose areas together are the object; see `Canvas.draw`.
        runs: lengths of alternating 0 and 1 over the photo, column by column.
        mask, corner: pixels (h,w) bool, and where they lie: (left, top).
        point: (x, y) of an object that is only marked.
        ignored: whether it is doubtful that a particle is there.
    """

    label: str = ""
    rings: tuple[Ring, ...] = ()
    runs: tuple[int, ...] = ()
    mask: NDArray[np.bool_] | None = None
    corner: tuple[int, int] = (0, 0)
    point: tuple[float, float] | None = None
    ignored: bool = False


@dataclass(eq=False)
class PhotoLabels:
    """The labels of one photo.

    Attributes:
        names: the photo's file name as the tool gives it, or several that it may have.
        shapes: in the order in which they are drawn.
        size_hw: of the photo as the tool saw it, px, where the tool says.
        relative: whether coordinates are fractions of the photo's width and height.
        mask: file of a mask that has the labels, in place of `shapes`.
    """

    names: tuple[str, ...]
    shapes: list[Shape] = field(default_factory=list)
    size_hw: tuple[int, int] | None = None
    relative: bool = False
    mask: Path | None = None


class Skipped:
    """What was not read, by reason."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, where: str) -> None:
        """One more thing."""
        self._places[reason].append(where)

    def describe(self) -> list[str]:
        """One sentence for each reason."""
        return [
            f"{places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}: {reason}"
            for reason, places in self._places.items()
        ]


def files_in(source: Path, *suffixes: str) -> list[Path]:
    """`source`, or the files in it and in its folders, that end in one of `suffixes`."""
    files = [source] if source.is_file() else sorted(source.rglob("*"))
    return [
        path
        for path in files
        if path.suffix.lower() in suffixes and not is_system_file(path) and path.is_file()
    ]


def ring(points: object) -> Ring | None:
    """Pairs (x, y) as an outline; None where they are not at least three pairs of numbers."""
    try:
        found = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        return None
    if found.ndim != 2 or found.shape[1] != 2 or len(found) < 3 or not np.isfinite(found).all():
        return None
    return found
