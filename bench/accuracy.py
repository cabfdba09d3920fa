"""Scores of networks and filters on real photos: labelled patches, clean sand, beads and stained
microplastics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.detectors import Detector, Found, Model, find, find_by_fold, opened
from bench.objects import TrueObjects, TruePoints
from bench.real_sets import BEADS, CLEAN, MPNET, SAND, clean, labelled_patches, masked, whole
from bench.sampling import interleaved
from bench.scores import (
    BEST_HERE,
    SHIPPED,
    BestFilter,
    CleanRow,
    Counter,
    CountsAt,
    ObjectRow,
    PixelRow,
    best_filters,
    best_pixel_filters,
    clean_rates,
    clean_row,
    counts_at,
    object_rows,
    pixel_rows,
    thresholds,
    total,
)
from bench.tables import table
from edge.errors import BadArgumentError
from edge.particles import ParticleFilter

SETS = (SAND, CLEAN, BEADS, MPNET)
MASKED = (BEADS, MPNET)
# How far apart a predicted and a true object may be, px.
TOLERANCE = 3
FRAME_HW = (1440, 1440)
# Seconds that the timed runs of one model may take.
LIMIT_S = 20.0


@dataclass(frozen=True)
class CurvePoint:
    """A detector at one threshold, on a labelled set and on clean sand, where that was run."""

    threshold_u8: int
    recall: float
    precision: float
    f1: float
    false_positives_per_megapixel: float | None


@dataclass(frozen=True)
class ModelRow:
    """A model as shipped; `frame_ms`, of `Samples.as_json`, is of a 1440x1440 frame; None: not
    measured."""

    name: str
    device: str
    threshold_u8: int
    min_diameter_px: float | None
    flops: int | None
    frame_ms: dict[str, Any] | None


@dataclass(frozen=True)
class AccuracyResult:
    """Everything scored.

    Attributes:
        curves: by set and detector.
        skipped: why a set was left out.
    """

    models: list[ModelRow]
    objects: list[ObjectRow]
    pixels: list[PixelRow]
    clean: list[CleanRow]
    curves: dict[str, dict[str, list[CurvePoint]]]
    skipped: dict[str, str]

    def describe(self) -> str:
        """Tables and remarks, for a terminal."""
        parts = [f"{name} skipped: {why}" for name, why in self.skipped.items()]
        head = ("detector", "choice", "threshold (0-255)", "smallest, px")
        cells: list[tuple[object, ...]] = [
            (
                m.name,
                m.threshold_u8,
                m.min_diameter_px or "",
                "" if m.flops is None else f"{m.flops / 1e9:.1f}",
                "" if m.frame_ms is None else f"{m.frame_ms['p50']:.0f}",
            )
            for m in self.models
        ]
        columns = [
            "model", "threshold (0-255)", "smallest, px", "GFLOPs, 512x512", "ms/frame, 1440x1440",
        ]  # fmt: skip
        parts.append(_table("models", columns, cells))
        for name in dict.fromkeys(row.dataset for row in self.objects):
            cells = [
                (
                    r.detector,
                    r.choice,
                    r.threshold_u8,
                    r.min_diameter_px or "",
                    r.recall,
                    r.precision,
                    r.f1,
                    r.tp,
                    r.fp,
                    r.fn,
                )
                for r in self.objects
                if r.dataset == name
            ]
            columns = [*head, "recall", "precision", "F1", "TP", "FP", "FN"]
            parts.append(_table(f"{name}, objects", columns, cells))
            cells = [
                (r.detector, r.choice, r.threshold_u8, r.recall, r.precision, r.rw_f1)
                for r in self.pixels
                if r.dataset == name
            ]
            if cells:
                columns = [*head[:3], "recall", "precision", "r.w. F1"]
                parts.append(_table(f"{name}, pixels", columns, cells))
        if self.clean:
            cells = [
                (
                    r.detector,
                    r.choice,
                    r.threshold_u8,
                    r.min_diameter_px or "",
                    r.per_megapixel,
                    r.false_positives,
                )
                for r in self.clean
            ]
            title = f"{CLEAN}, false positives in {self.clean[0].megapixels:.1f} megapixels"
            parts.append(_table(title, (*head, "FP/megapixel", "FP"), cells))
        parts.append(
            "In brackets: 95% intervals, by bootstrap over patches or photos. Objects are matched "
            f"one to one, at most {TOLERANCE} px apart; objects below the smallest diameter do not "
            f"count. {BEST_HERE!r}: threshold and smallest diameter (of a filter, its size too) "
            "were chosen on the very set that it is scored on, in its favour."
        )
        return "\n\n".join(parts)


def measure(
    data: Path,
    models: Sequence[str],
    crossvals: Mapping[str, Path],
    timed: bool,
    progress: Callable[[str], None] = lambda _: None,
) -> AccuracyResult:
    """Score models and filters on the sets under `data` that are there.

    Args:
        models: engine files, checkpoints (.pt), or names of shipped models.
        crossvals: folders of `train crossval` on "beads" or "mpnet", by set.
        timed: whether to time a frame in each model that is an engine file.
        progress: called with each step as it begins.

    Raises:
        BadArgumentError: a model is not there or two have one name, or `data` holds no set.
        EdgeError: a model, a photo or a label is damaged, or a comparison is not finished.
    """
    skipped = {name: f"{data / name} is no folder" for name in SETS if not (data / name).is_dir()}
    if len(skipped) == len(SETS):
        raise BadArgumentError(f"{data}: holds none of the folders {', '.join(SETS)}")
    for name in crossvals:
        if name not in MASKED:
            raise BadArgumentError(f"--crossval {name}: must be one of {', '.join(MASKED)}")
    with contextlib.ExitStack() as stack:
        networks = [stack.enter_context(opened(name)) for name in models]
        names = [network.name for network in networks]
        for name in names:
            if names.count(name) > 1:
                raise BadArgumentError(f"{name}: two models have that name; rename one file")
        result = AccuracyResult([], [], [], [], {}, skipped)
        sand: dict[str, CountsAt] = {}
        filters: list[BestFilter] = []
        if SAND not in skipped:
            windows, pellets = labelled_patches(data)
            counters = [TruePoints(labels, TOLERANCE).counts for labels in pellets]
            progress(f"{SAND}: {len(windows)} labelled patches")
            filters = best_filters(windows, counters)
            found = [find(network, windows) for network in networks]
            used = _used(found, filters)
            sand = _score_objects(result, SAND, found, filters, counters)
        rates: dict[str, dict[ParticleFilter, float]] = {}
        if CLEAN not in skipped:
            progress(CLEAN)
            rates = _score_clean(result, data, networks, filters)
        if sand:
            result.curves[SAND] = {
                name: _points(objects, used[name], rates.get(name, {}))
                for name, objects in sand.items()
            }
        for name in (name for name in MASKED if name not in skipped):
            progress(name)
            _score_masked(result, data, name, networks, crossvals.get(name))
        times = _frame_times(networks, progress) if timed else {}
        result.models.extend(
            ModelRow(
                n.name,
                n.engine.device,
                n.particle_filter.threshold_u8,
                n.particle_filter.min_diameter_px,
                n.flops,
                times.get(n.name),
            )
            for n in networks
        )
    return result


def _score_objects(
    result: AccuracyResult,
    dataset: str,
    found: Sequence[Found],
    filters: Sequence[BestFilter],
    counters: Sequence[Counter],
) -> dict[str, CountsAt]:
    """Add the rows of every detector; their counts by name."""
    scored = [(one, counts_at(one, counters)) for one in found]
    scored += [(best.found, best.objects) for best in filters]
    for one, objects in scored:
        result.objects.extend(object_rows(dataset, one, objects))
    return {one.detector: objects for one, objects in scored}


def _score_clean(
    result: AccuracyResult, data: Path, networks: Sequence[Model], filters: Sequence[BestFilter]
) -> dict[str, dict[ParticleFilter, float]]:
    """Add the rows; false positives per megapixel by detector and what is reported."""
    windows = clean(data)
    detectors: list[tuple[Detector, str, ParticleFilter]] = [
        (network, SHIPPED, network.particle_filter) for network in networks
    ]
    detectors += [(best.filter, f"best on {SAND}", best.chosen) for best in filters]
    rates = {}
    for detector, choice, chosen in detectors:
        found = find(detector, windows)
        result.clean.append(clean_row(found, windows, choice, chosen))
        rates[detector.name] = clean_rates(found, windows, thresholds(chosen))
    return rates


def _score_masked(
    result: AccuracyResult,
    data: Path,
    dataset: str,
    networks: Sequence[Model],
    crossval: Path | None,
) -> None:
    """Add the rows and curves of a set with masks."""
    photos = masked(data, dataset)
    windows = [whole(photo.name, photo.image) for photo in photos]
    masks = [photo.mask for photo in photos]
    counters = [TrueObjects(mask, TOLERANCE).counts for mask in masks]
    found = [find(network, windows) for network in networks]
    if crossval:
        found += find_by_fold(crossval, photos)
    filters = best_filters(windows, counters)
    used = _used(found, filters)
    curves = _score_objects(result, dataset, found, filters, counters)
    result.curves[dataset] = {
        name: _points(objects, used[name], {}) for name, objects in curves.items()
    }
    for one in (*found, *best_pixel_filters(windows, masks)):
        result.pixels.extend(pixel_rows(dataset, one, masks))


def _used(found: Sequence[Found], filters: Sequence[BestFilter]) -> dict[str, ParticleFilter]:
    """What each detector reports: as shipped, or as its filter was chosen."""
    return {one.detector: one.shipped[0] for one in found if one.shipped} | {
        best.found.detector: best.chosen for best in filters
    }


def _points(
    objects: CountsAt, used: ParticleFilter, rates: Mapping[ParticleFilter, float]
) -> list[CurvePoint]:
    """Over thresholds, at the smallest diameter that is `used`."""
    points = []
    for one in thresholds(used):
        summed = total(objects[one])
        rate = round(rates[one], 2) if one in rates else None
        recall, precision, f1 = (
            round(score, 4) for score in (summed.recall(), summed.precision(), summed.f1())
        )
        points.append(CurvePoint(one.threshold_u8, recall, precision, f1, rate))
    return points


def _frame_times(
    networks: Sequence[Model], progress: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Of each model from an engine file on one frame, interleaved."""
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3), np.uint8)
    tasks = {n.name: lambda n=n: n(frame) for n in networks if n.exported}
    progress(f"a frame of {FRAME_HW[1]}x{FRAME_HW[0]} in {len(tasks)} models")
    return {name: samples.as_json() for name, samples in interleaved(tasks, LIMIT_S).items()}


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [["by fold" if cell is None else str(cell) for cell in row] for row in rows]
    return f"{title}\n\n{table(head, cells, left=2 if 'choice' in head else 1)}"
