"""Precision and recall of objects over thresholds, from uint8 probability maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from edge.errors import EdgeError
from edge.files import atomic_write
from edge.particles import ParticleFilter
from train.data.points import PointLabels
from train.data.samples import Sample
from train.matching import centroids, match_points
from train.metrics import ObjectCounts, confidence_interval, object_counts

matplotlib.use("Agg")
from matplotlib import pyplot

# Dense near both ends, where the probabilities of networks crowd.
_LOW = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 26, 32, 40, 50, 64, 80, 96, 112, 128)
THRESHOLDS_U8 = tuple(sorted({*_LOW, *(256 - level for level in _LOW)}))

CountAt = Callable[[NDArray[np.uint8], int], ObjectCounts]


@dataclass(frozen=True)
class CurveRow:
    """All photos at one threshold, 0..1; a pixel of that probability is a particle.

    `counts`: objects of each photo; `megapixels`: of all photos together.
    """

    threshold_u8: int
    counts: tuple[ObjectCounts, ...]
    megapixels: float

    @property
    def threshold(self) -> float:
        return round(self.threshold_u8 / 255, 4)

    @property
    def total(self) -> ObjectCounts:
        """Objects of all photos."""
        return sum(self.counts, ObjectCounts(0, 0, 0))

    @property
    def precision(self) -> float:
        return self.total.precision()

    @property
    def recall(self) -> float:
        return self.total.recall()

    @property
    def f1(self) -> float:
        return self.total.f1()

    @property
    def fp_per_photo(self) -> float:
        return self.total.fp / len(self.counts)

    @property
    def fp_per_megapixel(self) -> float:
        return self.total.fp / self.megapixels

    def interval(self, score: Callable[[ObjectCounts], float]) -> tuple[float, float]:
        """95% bootstrap interval of a score over photos; see `confidence_interval`."""
        return confidence_interval([self.counts], score)

    def describe(self) -> str:
        """Recall, precision and F1 with their intervals, for a terminal."""
        total = self.total
        lines = [
            f"objects at threshold {self.threshold:.4g}: {total.tp} TP, {total.fn} FN, "
            f"{total.fp} FP ({self.fp_per_megapixel:.1f} per megapixel)"
        ]
        for name, score in (
            ("recall", ObjectCounts.recall),
            ("precision", ObjectCounts.precision),
            ("F1", ObjectCounts.f1),
        ):
            low, high = self.interval(score)
            lines.append(f"{name:<12}{score(total):.4f} ({low:.4f}-{high:.4f})")
        return "\n".join(lines)


@dataclass(frozen=True)
class Curve:
    """Objects over thresholds, the lowest threshold first; `operating_u8` is the one in use."""

    rows: tuple[CurveRow, ...]
    operating_u8: int

    @property
    def operating_row(self) -> CurveRow:
        """At the threshold in use."""
        return next(row for row in self.rows if row.threshold_u8 == self.operating_u8)

    def at_recall(self, target: float) -> CurveRow:
        """The highest threshold with a recall of at least `target`, 0..1.

        Raises:
            EdgeError: none has.
        """
        for row in reversed(self.rows):
            if row.recall >= target:
                return row
        best = max(self.rows, key=lambda row: row.recall)
        raise EdgeError(
            f"no threshold reaches a recall of {target:g}; the best is {best.recall:.4f}, at "
            f"threshold {best.threshold:.4g}"
        )

    def describe(self) -> str:
        """One row per threshold, for a terminal; a star marks the one in use."""
        return tabulate(
            [
                (
                    f"{row.threshold:.4f}{'*' if row.threshold_u8 == self.operating_u8 else ' '}",
                    row.recall,
                    row.precision,
                    row.f1,
                    f"{row.fp_per_photo:.1f}",
                    f"{row.fp_per_megapixel:.1f}",
                )
                for row in self.rows
            ],
            ("threshold", "recall", "precision", "F1", "FP/photo", "FP/megapixel"),
            floatfmt=".4f",
            stralign="right",
        )

    def plot(self, path: Path) -> None:
        """Write precision against recall as a PNG, the threshold in use marked.

        Raises:
            OSError: the file cannot be written.
        """
        figure, axis = pyplot.subplots(figsize=(5, 4.5), layout="constrained")
        # A threshold that nothing reaches has no precision.
        rows = [row for row in self.rows if row.total.tp + row.total.fp]
        axis.plot([r.recall for r in rows], [r.precision for r in rows], marker=".")
        used = self.operating_row
        axis.plot(
            used.recall, used.precision, "o", color="tab:red", label=f"threshold {used.threshold:g}"
        )
        axis.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
        axis.legend(loc="lower left", frameon=False)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=110, format="png")
        pyplot.close(figure)


def evaluate_points(
    maps: Iterable[NDArray[np.uint8]],
    labels: Sequence[PointLabels],
    tolerance: float,
    particle_filter: ParticleFilter,
) -> Curve:
    """The curve of probability maps uint8 (H,W) against the points of the same photos.

    Maps are taken one at a time, so they may come from a generator.

    Args:
        tolerance: px that a detection's centroid may lie from a point; see `match_points`.
        particle_filter: the threshold in use, and what counts at every other one.
    """

    def count(points: PointLabels, probability: NDArray[np.uint8], level: int) -> ObjectCounts:
        return match_points(
            centroids(particle_filter.at(level).mask(probability)), points, tolerance
        )

    return _curve(maps, [partial(count, points) for points in labels], particle_filter)


def evaluate_masks(
    maps: Iterable[NDArray[np.uint8]],
    photos: Sequence[Sample],
    tolerance: int,
    particle_filter: ParticleFilter,
) -> Curve:
    """The curve of probability maps uint8 (H,W) against the masks of the same photos; see
    `object_counts`.

    Args:
        tolerance: px that a detection may lie beside a labelled object; see `object_counts`.
        particle_filter: of `evaluate_points`.
    """

    def count(photo: Sample, probability: NDArray[np.uint8], level: int) -> ObjectCounts:
        mask = particle_filter.at(level).mask(probability)
        return object_counts(mask, photo.labels, tolerance, photo.doubtful)

    return _curve(maps, [partial(count, photo) for photo in photos], particle_filter)


def _curve(
    maps: Iterable[NDArray[np.uint8]], photos: Sequence[CountAt], particle_filter: ParticleFilter
) -> Curve:
    operating_u8 = particle_filter.threshold_u8
    levels = sorted({*THRESHOLDS_U8, operating_u8})
    counts: dict[int, list[ObjectCounts]] = {level: [] for level in levels}
    pixels = 0
    for probability, count in zip(maps, photos, strict=True):
        pixels += probability.size
        for level in levels:
            counts[level].append(count(probability, level))
    rows = (CurveRow(level, tuple(counts[level]), pixels / 1e6) for level in levels)
    return Curve(tuple(rows), operating_u8)
