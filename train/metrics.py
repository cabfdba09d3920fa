"""Scores of Eqs. (30)-(35): counts first, pure functions of the counts after."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counts:
    """True positive, false positive and false negative pixels."""

    tp: int
    fp: int
    fn: int

    def precision(self) -> float:
        """Eq. (30); 0 where nothing was predicted."""
        return self.tp / (self.tp + self.fp) if self.tp else 0.0

    def recall(self) -> float:
        """Eq. (31); 0 where there was nothing to find."""
        return self.tp / (self.tp + self.fn) if self.tp else 0.0

    def f1(self) -> float:
        """Eq. (32)."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp else 0.0

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
        return {
            "precision": round(self.precision(), 4),
            "recall": round(self.recall(), 4),
            "f1": round(self.f1(), 4),
            "miou": round(self.iou(), 4),
            "rw_f1": round(self.weighted_f1(), 4),
            "rw_miou": round(self.weighted_iou(), 4),
        }


@dataclass
class GreyLevels:
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
        """Counts when a pixel is positive at grey level `level` and above."""
        tp = int(self.particle[level:].sum())
        return Counts(tp, int(self.background[level:].sum()), int(self.particle.sum()) - tp)

    def best_level(self) -> int:
        """Lowest grey level with the best recall-weighted F1."""
        return max(range(1, 256), key=lambda level: (self.at(level).weighted_f1(), -level))


@dataclass(frozen=True)
class ObjectCounts:
    """Objects of one photo: `found` and `missed` true ones, and `false` predicted ones."""

    found: int
    missed: int
    false: int

    @property
    def true(self) -> int:
        return self.found + self.missed


def object_counts(predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> ObjectCounts:
    """Compare the 8-connected objects of two masks (H,W), nonzero where a particle is.

    A true object is found when a predicted pixel lies on it; a predicted object is false when it
    lies on no true pixel.
    """
    true_count, true_labels = cv2.connectedComponents(truth)
    predicted_count, predicted_labels = cv2.connectedComponents(predicted)
    found = np.unique(true_labels[(predicted > 0) & (truth > 0)]).size
    right = np.unique(predicted_labels[(predicted > 0) & (truth > 0)]).size
    return ObjectCounts(found, true_count - 1 - found, predicted_count - 1 - right)
