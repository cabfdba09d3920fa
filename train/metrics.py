"""Scores of Eqs. (30)-(35): counts first, pure functions of the counts after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Of the bootstrap: enough for two digits of a 95% interval.
RESAMPLES = 2000


@dataclass(frozen=True)
class ConfusionCounts:
    """True positives, false positives and false negatives, of pixels or of objects."""

    tp: int
    fp: int
    fn: int

    def __add__(self: C, other: C) -> C:
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def precision(self) -> float:
        """Eq. (30); 0 where nothing was predicted."""
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    def recall(self) -> float:
        """Eq. (31); 0 where there was nothing to find."""
        return self.tp / (self.tp + self.fn) if self.tp else 0.0

    def f1(self) -> float:
        """Eq. (32)."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0


C = TypeVar("C", bound=ConfusionCounts)
T = TypeVar("T", bound="DataclassInstance")


@dataclass(frozen=True)
class Counts(ConfusionCounts):
    """True positive, false positive, false negative and true negative pixels."""

    tn: int

    @classmethod
    def of(cls, predicted: NDArray[Any], labels: NDArray[Any]) -> Counts:
        """Of two masks of the same shape, nonzero where a particle is."""
        pairs = 2 * (labels > 0).astype(np.int64) + (predicted > 0)
        tn, fp, fn, tp = np.bincount(pairs.ravel(), minlength=4).tolist()
        return cls(tp, fp, fn, tn)

    @property
    def constant(self) -> bool:
        """Whether every pixel was taken for the same class."""
        return not (self.tp + self.fp and self.fn + self.tn)

    def iou(self) -> float:
        """Eq. (33), of the particle class."""
        return self.tp / (self.tp + self.fp + self.fn) if self.tp else 0.0

    def weighted_f1(self) -> float:
        """Recall-weighted F1, Eq. (34)."""
        return self.f1() * self.recall()

    def weighted_iou(self) -> float:
        """Recall-weighted mIoU, Eq. (35)."""
        return self.iou() * self.recall()

    def scores(self) -> dict[str, float]:
        """Every score by name, rounded to four digits as in Tables 1-3."""
        return {key: round(score(self), 4) for key, score in SCORES.items()}


ZERO_COUNTS = Counts(0, 0, 0, 0)
SCORES: dict[str, Callable[[Counts], float]] = {
    "precision": Counts.precision,
    "recall": Counts.recall,
    "f1": Counts.f1,
    "miou": Counts.iou,
    "rw_f1": Counts.weighted_f1,
    "rw_miou": Counts.weighted_iou,
}
LABELS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "miou": "mIoU",
    "rw_f1": "r.w. F1",
    "rw_miou": "r.w. mIoU",
}


def mask_iou(mask: NDArray[Any], other: NDArray[Any]) -> float:
    """Overlap of two masks (H,W), 0..1 (Eq. 33); 1 where neither holds any pixel."""
    counts = Counts.of(mask, other)
    return counts.iou() if counts.tp + counts.fp + counts.fn else 1.0


@dataclass(eq=False)
class ProbabilityHistogram:
    """How often each uint8 probability fell on a particle and on background.

    Holds the counts of every threshold at once, in constant memory.
    """

    particle: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    background: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))

    def add(self, probability: NDArray[np.uint8], target: NDArray[Any]) -> None:
        """Count one map of probabilities 0..255 against a target of 0 and 1, same shape."""
        joint = np.bincount(
            probability.ravel().astype(np.int64) + 256 * target.ravel().astype(np.int64),
            minlength=512,
        )
        self.background += joint[:256]
        self.particle += joint[256:]

    def at(self, level: int) -> Counts:
        """Counts where a uint8 probability of `level` and above is positive."""
        tp, fp = int(self.particle[level:].sum()), int(self.background[level:].sum())
        fn, tn = int(self.particle[:level].sum()), int(self.background[:level].sum())
        return Counts(tp, fp, fn, tn)

    def best_threshold_u8(self, score: Callable[[Counts], float] = Counts.weighted_f1) -> int:
        """Lowest uint8 threshold with the best score."""
        return max(range(1, 256), key=lambda level: (score(self.at(level)), -level))


@dataclass(frozen=True)
class ObjectCounts(ConfusionCounts):
    """True positive, false positive and false negative objects of one photo."""

    @property
    def true(self) -> int:
        """Labelled objects, TP + FN."""
        return self.tp + self.fn


@dataclass(frozen=True, eq=False)
class ObjectMatch:
    """The 8-connected objects of two masks, numbered from 1, and which of them agree.

    Attributes:
        labels, predicted: number of the object at each pixel, int32 (H,W); 0 is background.
        found: numbers of the labelled objects that are true positives.
        matched: numbers of the predicted objects that are no false positives.
    """

    labels: NDArray[np.int32]
    predicted: NDArray[np.int32]
    found: NDArray[np.int32]
    matched: NDArray[np.int32]

    @property
    def counts(self) -> ObjectCounts:
        """TP and FN of the labelled objects, FP of the predicted ones."""
        tp = len(self.found)
        return ObjectCounts(
            tp=tp,
            fp=int(self.predicted.max(initial=0)) - len(self.matched),
            fn=int(self.labels.max(initial=0)) - tp,
        )


def match_objects(
    predicted: NDArray[np.uint8],
    labels: NDArray[Any],
    tolerance: int = 0,
    doubtful: NDArray[np.bool_] | None = None,
) -> ObjectMatch:
    """Compare the 8-connected objects of two masks (H,W), nonzero where a particle is.

    `labels` of more than 8 bits number the objects from 1, so that touching ones are apart.

    A labelled object is a true positive when a predicted pixel lies on it, or at most `tolerance`
    px beside it; a predicted object is a false positive when no labelled object is as near, and no
    pixel that is `doubtful`, bool (H,W). Labels that keep only a particle's core need a tolerance.
    """
    if labels.dtype == np.uint8:
        true_objects = np.asarray(cv2.connectedComponents(labels)[1], np.int32)
    else:
        there = np.bincount(labels.ravel()) > 0
        there[0] = True
        true_objects = (np.cumsum(there, dtype=np.int32) - 1)[labels]
    predicted_objects = np.asarray(cv2.connectedComponents(predicted)[1], np.int32)
    right = labels > 0 if doubtful is None else (labels > 0) | doubtful
    return ObjectMatch(
        true_objects,
        predicted_objects,
        found=_objects_on(true_objects, _grown(predicted, tolerance)),
        matched=_objects_on(predicted_objects, _grown(right.astype(np.uint8), tolerance)),
    )


def object_counts(
    predicted: NDArray[np.uint8],
    labels: NDArray[Any],
    tolerance: int = 0,
    doubtful: NDArray[np.bool_] | None = None,
) -> ObjectCounts:
    """Of `match_objects`."""
    return match_objects(predicted, labels, tolerance, doubtful).counts


def _objects_on(objects: NDArray[np.int32], mask: MatLike) -> NDArray[np.int32]:
    """The numbered `objects` that have a pixel in `mask`."""
    return np.unique(objects[(objects > 0) & (mask > 0)])


def _grown(mask: NDArray[np.uint8], radius: int) -> MatLike:
    if not radius:
        return mask
    side = 2 * radius + 1
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def confidence_interval(
    folds: Sequence[Sequence[T]], score: Callable[[T], float]
) -> tuple[float, float]:
    """95% percentile bootstrap of the average over `folds` of a `score`.

    Each fold holds the counts of its photos, a dataclass of numbers each, which are scored
    together. Photos, not pixels, are drawn anew, within their fold: the pixels of one photo are
    alike.
    """
    rng = np.random.default_rng(0)
    averages = np.zeros(RESAMPLES)
    for photos in folds:
        table = np.array([astuple(photo) for photo in photos])
        draws = table[rng.integers(len(table), size=(RESAMPLES, len(table)))].sum(axis=1)
        averages += [score(type(photos[0])(*draw)) for draw in draws.tolist()]
    low, high = np.quantile(averages / len(folds), [0.025, 0.975])
    return float(low), float(high)
