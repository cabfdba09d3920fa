"""Scores of detectors on a labelled set, as shipped and at their best, with intervals.

What a detector reports depends on a threshold and on the smallest diameter that counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.detectors import Found, find
from bench.filters import FILTERS, Filter
from bench.real_sets import Window
from edge.particles import ParticleFilter
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
# Counts of each sample by what is reported.
CountsAt = Mapping[ParticleFilter, Sequence[ObjectCounts]]
# The paper's particles are 3-10 px.
DIAMETERS_PX = (None, 3.0)


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
        min_diameter_px: smaller objects are left out; None is no bound.
        tp, fp, fn: true positives, false positives and false negatives.
    """

    dataset: str
    detector: str
    choice: str
    threshold_u8: int | None
    min_diameter_px: float | None
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
    """Objects predicted in photos that hold none; `choice`: where the threshold and the smallest
    diameter come from."""

    detector: str
    choice: str
    threshold_u8: int
    min_diameter_px: float | None
    false_positives: int
    megapixels: float
    per_megapixel: Estimate


def counts_at(found: Found, counters: Sequence[Counter]) -> CountsAt:
    """Counts as shipped, and at `THRESHOLDS_U8` with that smallest diameter and `DIAMETERS_PX`."""
    every = dict.fromkeys(found.shipped)
    for diameter_px in (*DIAMETERS_PX, *(one.min_diameter_px for one in found.shipped[:1])):
        every |= dict.fromkeys(thresholds(ParticleFilter(1.0, diameter_px)))
    return {
        one: [counter(one.mask(map_)) for map_, counter in zip(found.maps, counters, strict=True)]
        for one in every
    }


def thresholds(particle_filter: ParticleFilter) -> list[ParticleFilter]:
    """The same at its own threshold and `THRESHOLDS_U8`, the lowest first."""
    levels = {level: particle_filter.at(level) for level in THRESHOLDS_U8}
    levels[particle_filter.threshold_u8] = particle_filter
    return [levels[level] for level in sorted(levels)]


def best(objects: CountsAt) -> ParticleFilter:
    """With the best F1, at the lowest threshold."""
    return max(objects, key=lambda one: (total(objects[one]).f1(), -one.threshold_u8))


def total(counts: Sequence[C]) -> C:
    """Of one or more."""
    return sum(counts[1:], counts[0])


def object_rows(dataset: str, found: Found, objects: CountsAt) -> list[ObjectRow]:
    """As shipped, where that is known, and at its best."""

    def row(
        choice: str, chosen: ParticleFilter | None, counts: Sequence[ObjectCounts]
    ) -> ObjectRow:
        summed = total(counts)
        recall, precision, f1 = (_estimate(counts, score) for score in OBJECT_SCORES)
        return ObjectRow(
            dataset, found.detector, choice,
            chosen.threshold_u8 if chosen else None, chosen.min_diameter_px if chosen else None,
            summed.tp, summed.fp, summed.fn, recall, precision, f1,
        )  # fmt: skip

    rows = []
    if found.shipped:
        counts = [objects[one][index] for index, one in enumerate(found.shipped)]
        rows.append(row(SHIPPED, _one(found.shipped), counts))
    chosen = best(objects)
    return [*rows, row(BEST_HERE, chosen, objects[chosen])]


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
    """As shipped, where that is known, and at the best threshold; masks of 0 and 1."""
    histograms = probability_histograms(found, masks)

    def row(choice: str, threshold_u8: int | None, counts: Sequence[Counts]) -> PixelRow:
        scores = (Counts.recall, Counts.precision, Counts.weighted_f1)
        recall, precision, rw_f1 = (_estimate(counts, score) for score in scores)
        return PixelRow(dataset, found.detector, choice, threshold_u8, recall, precision, rw_f1)

    rows = []
    if found.shipped:
        counts = [
            Counts.of(one.mask(map_), mask)
            for one, map_, mask in zip(found.shipped, found.maps, masks, strict=True)
        ]
        shared = _one(found.shipped)
        rows.append(row(SHIPPED, shared.threshold_u8 if shared else None, counts))
    level, _ = best_pixel_threshold(histograms)
    return [*rows, row(BEST_HERE, level, [one.at(level) for one in histograms])]


@dataclass(frozen=True)
class BestFilter:
    """The size of one kind that finds most, and what is reported where it does."""

    filter: Filter
    found: Found
    chosen: ParticleFilter
    objects: CountsAt


def best_filters(windows: Sequence[Window], counters: Sequence[Counter]) -> list[BestFilter]:
    """Of each kind, chosen by F1 of objects on these very windows."""
    kinds: dict[str, tuple[float, BestFilter]] = {}
    for one in FILTERS:
        found = find(one, windows)
        objects = counts_at(found, counters)
        chosen = best(objects)
        f1 = total(objects[chosen]).f1()
        if one.kind not in kinds or f1 > kinds[one.kind][0]:
            kinds[one.kind] = f1, BestFilter(one, found, chosen, objects)
    return [one for _, one in kinds.values()]


def best_pixel_filters(
    windows: Sequence[Window], masks: Sequence[NDArray[np.uint8]]
) -> list[Found]:
    """Maps of the best size of each kind, chosen by recall-weighted F1 on these very windows."""
    kinds: dict[str, tuple[float, Found]] = {}
    for one in FILTERS:
        found = find(one, windows)
        score = best_pixel_threshold(probability_histograms(found, masks))[1]
        if one.kind not in kinds or score > kinds[one.kind][0]:
            kinds[one.kind] = score, found
    return [found for _, found in kinds.values()]


def object_count(mask: NDArray[np.uint8]) -> int:
    """8-connected objects of a mask (H,W)."""
    return int(cv2.connectedComponents(mask)[0]) - 1


def clean_row(
    found: Found, windows: Sequence[Window], choice: str, chosen: ParticleFilter
) -> CleanRow:
    """False positives a megapixel: every object of these windows is one."""
    counts = np.array([object_count(chosen.mask(map_)) for map_ in found.maps])
    areas = np.array([window.height * window.width for window in windows]) / 1e6
    draws = np.random.default_rng(0).integers(len(counts), size=(RESAMPLES, len(counts)))
    rates = counts[draws].sum(axis=1) / areas[draws].sum(axis=1)
    low, high = np.quantile(rates, [0.025, 0.975])
    false, area = int(counts.sum()), float(areas.sum())
    rate = Estimate(round(false / area, 2), round(float(low), 2), round(float(high), 2))
    return CleanRow(
        found.detector, choice, chosen.threshold_u8, chosen.min_diameter_px,
        false, round(area, 4), rate,
    )  # fmt: skip


def clean_rates(
    found: Found, windows: Sequence[Window], filters: Sequence[ParticleFilter]
) -> dict[ParticleFilter, float]:
    """False positives a megapixel by what is reported."""
    area = sum(window.height * window.width for window in windows) / 1e6
    return {one: sum(object_count(one.mask(map_)) for map_ in found.maps) / area for one in filters}


def _estimate(counts: Sequence[C], score: Callable[[C], float]) -> Estimate:
    low, high = confidence_interval([counts], score)
    return Estimate(round(score(total(counts)), 4), round(low, 4), round(high, 4))


def _one(filters: Sequence[ParticleFilter]) -> ParticleFilter | None:
    """The one that all share, if they do."""
    return filters[0] if len(set(filters)) == 1 else None
