"""Infrared small targets, NUAA-SIRST v1: a public benchmark of objects of a few pixels.

DATA/images, DATA/masks     photos of the same names
DATA/train_v1.txt           names of the photos that train, one a line
DATA/val_v1.txt             of those that choose the epoch, and are scored
OUT/result.json             scores; besides it a run of `train.fit`

IoU, Pd and Fa are counted as in BasicIRSTD (github XinyiYing/BasicIRSTD), whose table compares
networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import write_json
from edge.particles import particle_mask, threshold_u8
from train.checkpoint import Checkpoint, load
from train.crossval import RESULT, load_samples
from train.data.folds import chosen
from train.data.samples import Sample
from train.evaluate import probability_maps
from train.fit import BEST, Settings, fit
from train.metrics import Counts, ProbabilityHistogram, confidence_interval
from train.models.spec import ModelSpec
from train.provenance import Origin
from train.recipe import Recipe

TRAINING, VALIDATION = "train_v1.txt", "val_v1.txt"
# A target is found by a predicted object whose centroid is nearer than this, px.
DISTANCE = 3.0


@dataclass(frozen=True)
class SirstCounts:
    """Counts of one photo, or of all.

    `intersection`, `union`: pixels of both masks, of either; `false_pixels`: of predicted objects
    that found no target.
    """

    intersection: int
    union: int
    targets: int
    found: int
    false_pixels: int
    pixels: int

    @classmethod
    def of(cls, predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> SirstCounts:
        """Of two masks (H,W), nonzero on targets, by their 8-connected objects.

        Each target takes the first predicted object, top to bottom, whose centroid is less than
        3 px from its own; an object is taken once.
        """
        _, _, areas, centroids = cv2.connectedComponentsWithStats(predicted)
        left = {
            number: (int(areas[number, cv2.CC_STAT_AREA]), centroids[number])
            for number in range(1, len(areas))
        }
        targets = cv2.connectedComponentsWithStats(labels)[3][1:]
        found = 0
        for target in targets:
            for number, (_, centroid) in left.items():
                if np.linalg.norm(centroid - target) < DISTANCE:
                    found += 1
                    del left[number]
                    break
        return cls(
            intersection=int(np.count_nonzero((predicted > 0) & (labels > 0))),
            union=int(np.count_nonzero(predicted | labels)),
            targets=len(targets),
            found=found,
            false_pixels=sum(area for area, _ in left.values()),
            pixels=labels.size,
        )

    def iou(self) -> float:
        """Total intersection over total union; 0 where there is nothing."""
        return self.intersection / self.union if self.union else 0.0

    def pd(self) -> float:
        """Probability of detection: fraction of the targets found."""
        return self.found / self.targets if self.targets else 0.0

    def fa(self) -> float:
        """False-alarm rate: pixels of false objects, per million pixels."""
        return 1e6 * self.false_pixels / self.pixels


SCORES: dict[str, Callable[[SirstCounts], float]] = {
    "iou": SirstCounts.iou,
    "pd": SirstCounts.pd,
    "fa_per_million": SirstCounts.fa,
}


@dataclass(frozen=True)
class SirstScores:
    """Scores of the validation photos at a threshold 0..1, each with its 95% bootstrap interval."""

    threshold: float
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, threshold: float, photos: Sequence[SirstCounts]) -> SirstScores:
        """From the counts of each photo."""
        total = SirstCounts(*np.array([astuple(photo) for photo in photos]).sum(axis=0).tolist())
        return cls(
            threshold,
            {key: round(score(total), 4) for key, score in SCORES.items()},
            {key: confidence_interval([photos], score) for key, score in SCORES.items()},
        )


@dataclass(frozen=True)
class SirstResult:
    """The network at probability 0.5, as in the benchmark, and where its IoU is best.

    With its loss weighted for recall (Eq. 29), a network marks too much at 0.5.
    """

    model: str
    photos: int
    at_0_5: SirstScores
    at_best_iou: SirstScores

    def describe(self) -> str:
        """For a terminal."""
        lines = [f"{self.model}, {self.photos} photos".ljust(34)]
        lines[0] += "".join(f"{title:>28}" for title in ("IoU", "Pd", "Fa, per million pixels"))
        for rule in (self.at_0_5, self.at_best_iou):
            line = f"probability {rule.threshold:g} and above".ljust(34)
            for key, digits in (("iou", 4), ("pd", 4), ("fa_per_million", 1)):
                low, high = rule.intervals[key]
                cell = f"{rule.scores[key]:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"
                line += f"{cell:>28}"
            lines.append(line)
        return "\n".join(lines)


def read_split(data: Path) -> tuple[list[Sample], list[Sample]]:
    """(training, validation) photos of the official split.

    Raises:
        EdgeError: a list is missing, names no photo, or one that is not there.
    """
    lists = []
    for file in (TRAINING, VALIDATION):
        path = data / file
        if not path.is_file():
            raise EdgeError(f"{path}: no such file; it lists photos of NUAA-SIRST v1, one a line")
        names = path.read_text(encoding="utf-8", errors="replace").split()
        if not names:
            raise EdgeError(f"{path}: names no photo; it lists them one a line")
        lists.append(names)
    photos = load_samples(data)
    training, validation = (chosen(photos, names, data) for names in lists)
    return training, validation


def train_and_score(
    spec: ModelSpec,
    recipe: Recipe,
    data: Path,
    out: Path,
    settings: Settings,
    init: Checkpoint | None = None,
) -> SirstResult:
    """Train on the training photos, choose the epoch and threshold on the validation photos, and
    score these. A run that stopped resumes.

    Raises:
        EdgeError: as `read_split` and `fit`.
    """
    training, validation = read_split(data)
    origin = Origin.of_this_process(data)
    fit(spec, recipe, training, validation, out, settings, init, origin)
    return score(load(out / BEST), validation, out)


def score(checkpoint: Checkpoint, photos: Sequence[Sample], out: Path) -> SirstResult:
    """Score a checkpoint at both thresholds and write `out`/result.json."""
    maps = list(probability_maps(checkpoint, (photo.image for photo in photos)))
    pixels = ProbabilityHistogram()
    for photo, probability in zip(photos, maps, strict=True):
        pixels.add(probability, photo.mask > 0)
    thresholds = (0.5, round(pixels.best_threshold_u8(Counts.iou) / 255, 4))
    at_0_5, at_best_iou = (
        SirstScores.of(
            threshold,
            [
                SirstCounts.of(particle_mask(probability, threshold_u8(threshold)), photo.mask)
                for photo, probability in zip(photos, maps, strict=True)
            ],
        )
        for threshold in thresholds
    )
    result = SirstResult(checkpoint.spec.key, len(photos), at_0_5, at_best_iou)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RESULT, asdict(result))
    return result
