"""Which particles of a photo a network finds, misses and invents, and of which size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from train.data.samples import Sample
from train.metrics import ObjectCounts, ObjectMatch, confidence_interval

# Bounds of the classes of diameters, px; the lower one belongs to its class.
BOUNDS_PX = (3, 5, 7, 10, 15)


@dataclass(frozen=True, eq=False)
class PhotoErrors:
    """Objects of one photo, as float64 (n,3): x and y of the centroid, and the diameter of the
    circle of the object's area, px.

    `tp` and `fn` are labelled objects, `fp` are detections.
    """

    sample: Sample
    tp: NDArray[np.float64]
    fn: NDArray[np.float64]
    fp: NDArray[np.float64]

    @classmethod
    def of(cls, sample: Sample, match: ObjectMatch) -> PhotoErrors:
        """From the match of its detections with its mask."""
        labels, found = _objects(match.labels), _among(match.labels, match.found)
        predicted, matched = _objects(match.predicted), _among(match.predicted, match.matched)
        return cls(sample, labels[found], labels[~found], predicted[~matched])

    @property
    def counts(self) -> ObjectCounts:
        return ObjectCounts(len(self.tp), len(self.fp), len(self.fn))

    @property
    def errors(self) -> int:
        """FP and FN together."""
        return len(self.fp) + len(self.fn)

    def window(self, side: int) -> tuple[int, int, int, int]:
        """(left, top, width, height), px, of a part of at most `side` around the error that has the
        most others near it."""
        height, width = self.sample.size_hw
        size = np.array([min(side, width), min(side, height)])
        places = np.concatenate([self.fp, self.fn])[:, :2]
        corners = np.clip(np.round(places - size / 2), 0, np.array([width, height]) - size)
        inside = [
            int(np.sum(np.all((places >= corner) & (places < corner + size), axis=1)))
            for corner in corners
        ]
        left, top = corners[int(np.argmax(inside))].astype(int) if inside else (0, 0)
        return int(left), int(top), int(size[0]), int(size[1])


@dataclass(frozen=True)
class SizeRecall:
    """Recall of the labelled objects of one class of diameters, with its 95% interval over photos;
    see `confidence_interval`."""

    name: str
    counts: ObjectCounts
    low: float
    high: float


def recall_by_size(photos: Sequence[PhotoErrors]) -> list[SizeRecall]:
    """Of each class that holds an object, the smallest first."""
    ends = (0.0, *BOUNDS_PX, math.inf)
    found = []
    for low, high in itertools.pairwise(ends):
        each = [
            ObjectCounts(_within(photo.tp, low, high), 0, _within(photo.fn, low, high))
            for photo in photos
        ]
        total = sum(each, ObjectCounts(0, 0, 0))
        if total.true:
            name = f"{low:g}-{high:g} px" if high < math.inf else f"≥ {low:g} px"
            interval = confidence_interval([each], ObjectCounts.recall)
            found.append(SizeRecall(name if low else f"< {high:g} px", total, *interval))
    return found


def _within(objects: NDArray[np.float64], low: float, high: float) -> int:
    return int(np.sum((objects[:, 2] >= low) & (objects[:, 2] < high)))


def _objects(numbered: NDArray[np.int32]) -> NDArray[np.float64]:
    """(n,3) of the objects of an image of their numbers, in their order."""
    y, x = np.nonzero(numbered)
    number = numbered[y, x]
    area = np.bincount(number)[1:]
    centre = [np.bincount(number, weights=at)[1:] / area for at in (x, y)]
    return np.column_stack([*centre, 2 * np.sqrt(area / math.pi)])


def _among(numbered: NDArray[np.int32], chosen: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(n,) whether each object of an image of numbers is `chosen`."""
    return np.isin(np.arange(1, int(numbered.max(initial=0)) + 1), chosen)
