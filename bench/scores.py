"""Scores of detectors on a labelled set, at the shipped and the best threshold, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.detectors import Found, find
from bench.filters import FILTERS, Filter
from bench.real_sets import Window
from edge.particles import particle_mask
from train.metrics import (
    RESAMPLES,
    C,
    Counts,
    ObjectCounts,
    ProbabilityHistogram,
    confidence_interval,
)
from train.precision_recall import THRESHOLDS_U8

OBJECT_SCORES = (ObjectCounts.recall, ObjectCounts.precision, ObjectCounts.f1)
SHIPPED, BEST_HERE = "shipped", "best here"

# From a mask uint8 (H,W) to the counts of its objects.
Counter = Callable[[NDArray[np.uint8]], ObjectCounts]
# Counts of each sample by threshold, 1..255.
CountsAt = Mapping[int, Sequence[ObjectCounts]]


@dataclass(frozen=True)
class Estimate:
    """A score and its 95% interval, by bootstrap over the photos or patches."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 3 if self.high < 10 else 0
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


@dataclass(frozen=True)
class ObjectRow:
    """Objects of a set, at one threshold of one detector.

    Attributes:
        choice: "shipped", or "best here": chosen on this very set by F1.
        threshold_u8: None where the maps come with thresholds of their own.
        tp, fp, fn: true positives, false positives and false negatives.
    """

    dataset: str
    detector: str
    choice: str
    threshold_u8: int | None
    tp: int
    fp: int
    fn: int
    recall: Estimate
    precision: Estimate
    f1: Estimate


@dataclass(frozen=True)
class PixelRow:
    """Pixels of a set, as `ObjectRow`; "best here" is chosen by recall-weighted F1, Eq. (34)."""

    dataset: str
    detector: str
    choice: str
    threshold_u8: int | None
    recall: Estimate
    precision: Estimate
    rw_f1: Estimate


@dataclass(frozen=True)
class CleanRow:
    """Objects predicted in photos that hold none; `choice`: where the threshold comes from."""

    detector: str
    choice: str
    threshold_u8: int
    false_positives: int
    megapixels: float
    per_megapixel: Estimate


def counts_at(found: Found, counters: Sequence[Counter]) -> CountsAt:
    """Counts at `THRESHOLDS_U8` and at the shipped thresholds."""
    return {
        threshold_u8: [
            counter(particle_mask(map_, threshold_u8))
            for map_, counter in zip(found.maps, counters, strict=True)
        ]
        for threshold_u8 in sorted({*THRESHOLDS_U8, *found.shipped_u8})
    }


def best_threshold(objects: CountsAt) -> int:
    """The lowest threshold with the best F1."""
    return max(objects, key=lambda threshold_u8: (total(objects[threshold_u8]).f1(), -threshold_u8))


def total(counts: Sequence[C]) -> C:
    """Of one or more."""
    return sum(counts[1:], counts[0])


def object_rows(dataset: str, found: Found, objects: CountsAt) -> list[ObjectRow]:
    """At the shipped threshold, where there is one, and the best."""

    def row(choice: str, threshold_u8: int | None, counts: Sequence[ObjectCounts]) -> ObjectRow:
        summed = total(counts)
        recall, precision, f1 = (_estimate(counts, score) for score in OBJECT_SCORES)
        return ObjectRow(
            dataset, found.detector, choice, threshold_u8,
            summed.tp, summed.fp, summed.fn, recall, precision, f1,
        )  # fmt: skip

    rows = []
    if found.shipped_u8:
        counts = [
            objects[threshold_u8][index] for index, threshold_u8 in enumerate(found.shipped_u8)
        ]
        rows.append(row(SHIPPED, _one(found.shipped_u8), counts))
    best = best_threshold(objects)
    return [*rows, row(BEST_HERE, best, objects[best])]


def probability_histograms(
    found: Found, masks: Sequence[NDArray[np.uint8]]
) -> list[ProbabilityHistogram]:
    """Of each map against its mask of 0 and 1."""
    histograms = []
    for map_, mask in zip(found.maps, masks, strict=True):
        histograms.append(ProbabilityHistogram())
        histograms[-1].add(map_, mask)
    return histograms


def best_pixel_threshold(histograms: Sequence[ProbabilityHistogram]) -> tuple[int, float]:
    """The lowest threshold with the best recall-weighted F1 of all maps together, and that."""
    together = ProbabilityHistogram(
        sum((one.particle for one in histograms), np.zeros(256, np.int64)),
        sum((one.background for one in histograms), np.zeros(256, np.int64)),
    )
    best = together.best_threshold_u8()
    return best, together.at(best).weighted_f1()


def pixel_rows(dataset: str, found: Found, masks: Sequence[NDArray[np.uint8]]) -> list[PixelRow]:
    """At the shipped threshold, where there is one, and the best; masks of 0 and 1."""
    histograms = probability_histograms(found, masks)

    def row(choice: str, threshold_u8: int | None, counts: Sequence[Counts]) -> PixelRow:
        scores = (Counts.recall, Counts.precision, Counts.weighted_f1)
        recall, precision, rw_f1 = (_estimate(counts, score) for score in scores)
        return PixelRow(dataset, found.detector, choice, threshold_u8, recall, precision, rw_f1)

    rows = []
    if found.shipped_u8:
        counts = [
            one.at(threshold_u8)
            for one, threshold_u8 in zip(histograms, found.shipped_u8, strict=True)
        ]
        rows.append(row(SHIPPED, _one(found.shipped_u8), counts))
    best, _ = best_pixel_threshold(histograms)
    return [*rows, row(BEST_HERE, best, [one.at(best) for one in histograms])]


@dataclass(frozen=True)
class BestFilter:
    """The size of one kind that finds most, and the threshold at which it does."""

    filter: Filter
    found: Found
    threshold_u8: int
    objects: CountsAt


def best_filters(windows: Sequence[Window], counters: Sequence[Counter]) -> list[BestFilter]:
    """Of each kind, chosen by F1 of objects on these very windows."""
    best: dict[str, tuple[float, BestFilter]] = {}
    for one in FILTERS:
        found = find(one, windows)
        objects = counts_at(found, counters)
        threshold_u8 = best_threshold(objects)
        f1 = total(objects[threshold_u8]).f1()
        if one.kind not in best or f1 > best[one.kind][0]:
            best[one.kind] = f1, BestFilter(one, found, threshold_u8, objects)
    return [chosen for _, chosen in best.values()]


def best_pixel_filters(
    windows: Sequence[Window], masks: Sequence[NDArray[np.uint8]]
) -> list[Found]:
    """Maps of the best size of each kind, chosen by recall-weighted F1 on these very windows."""
    best: dict[str, tuple[float, Found]] = {}
    for one in FILTERS:
        found = find(one, windows)
        score = best_pixel_threshold(probability_histograms(found, masks))[1]
        if one.kind not in best or score > best[one.kind][0]:
            best[one.kind] = score, found
    return [found for _, found in best.values()]


def object_count(mask: NDArray[np.uint8]) -> int:
    """8-connected objects of a mask (H,W)."""
    return int(cv2.connectedComponents(mask)[0]) - 1


def clean_row(found: Found, windows: Sequence[Window], choice: str, threshold_u8: int) -> CleanRow:
    """False positives a megapixel: every object of these windows is one."""
    counts = np.array([object_count(particle_mask(map_, threshold_u8)) for map_ in found.maps])
    areas = np.array([window.height * window.width for window in windows]) / 1e6
    draws = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    rates = counts[draws].sum(axis=1) / areas[draws].sum(axis=1)
    low, high = np.quantile(rates, [0.025, 0.975])
    false, area = int(counts.sum()), float(areas.sum())
    rate = Estimate(round(false / area, 2), round(float(low), 2), round(float(high), 2))
    return CleanRow(found.detector, choice, threshold_u8, false, round(area, 4), rate)


def clean_rates(
    found: Found, windows: Sequence[Window], thresholds_u8: Sequence[int]
) -> dict[int, float]:
    """False positives a megapixel by threshold."""
    area = sum(window.height * window.width for window in windows) / 1e6
    return {
        threshold_u8: sum(object_count(particle_mask(map_, threshold_u8)) for map_ in found.maps)
        / area
        for threshold_u8 in thresholds_u8
    }


def _estimate(counts: Sequence[C], score: Callable[[C], float]) -> Estimate:
    low, high = confidence_interval([counts], score)
    return Estimate(round(score(total(counts)), 4), round(low, 4), round(high, 4))


def _one(thresholds_u8: Sequence[int]) -> int | None:
    """The threshold that all share, if they do."""
    return thresholds_u8[0] if len(set(thresholds_u8)) == 1 else None
