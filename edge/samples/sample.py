"""Samples and their repeats, counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge import colour, shape_class
from edge.errors import BadArgumentError
from edge.samples.accuracy import Accuracy
from edge.samples.estimate import Draws, Estimate, Estimator, detection_limit, estimate
from edge.samples.results import Photo, Results
from edge.samples.size_classes import SizeClasses
from edge.samples.table import AMOUNTS, Entry

CUT = "cut by the edge"
UNKNOWN = "not known"
# Particles per unit: the amount of a repeat in that unit.
UNITS: dict[str, Callable[[Repeat], float | None]] = {
    "per_m2": lambda repeat: repeat.area_mm2 / 1e6,
    "per_kg": lambda repeat: None if repeat.entry.mass_g is None else repeat.entry.mass_g / 1e3,
    "per_l": lambda repeat: repeat.entry.volume_l,
}


@dataclass(frozen=True, eq=False)
class Repeat:
    """Photos that together show a repeat once."""

    name: str
    entry: Entry
    photos: list[Photo]

    @property
    def particles(self) -> list[dict[str, Any]]:
        """Of all its photos."""
        return [particle for photo in self.photos for particle in photo.particles]

    @property
    def area_mm2(self) -> float:
        """That was looked at: as given, or of the pictures."""
        if self.entry.area_cm2 is not None:
            return self.entry.area_cm2 * 100
        return sum(photo.area_mm2 for photo in self.photos)


@dataclass(frozen=True, eq=False)
class Sample:
    """What was sampled, or a blank."""

    name: str
    blank: str
    repeats: list[Repeat]

    @property
    def counts(self) -> list[int]:
        """Particles of each repeat."""
        return [len(repeat.particles) for repeat in self.repeats]

    @property
    def particles(self) -> list[dict[str, Any]]:
        """Of all repeats."""
        return [particle for repeat in self.repeats for particle in repeat.particles]


@dataclass(frozen=True)
class ClassCount:
    """Particles in a repeat of one class; `area_mm2` is their area, the mean of the repeats."""

    kind: str
    name: str
    count: Estimate
    fraction: float
    area_mm2: float


@dataclass(frozen=True, eq=False)
class SampleSummary:
    """A sample as a report shows it.

    Attributes:
        count: particles in a repeat, as found.
        net: without the mean of the blanks; None without blanks.
        corrected: for recall, and precision or a matrix blank; None where these are not known.
        per_unit, corrected_per_unit: by `UNITS`.
        detection_limit: count that a repeat of a sample needs to differ from the blanks.
    """

    sample: Sample
    count: Estimate
    net: Estimate | None
    corrected: Estimate | None
    per_unit: dict[str, Estimate]
    corrected_per_unit: dict[str, Estimate]
    detection_limit: float | None
    classes: list[ClassCount]

    def row(self) -> dict[str, Any]:
        """Flat, for tables; what is not known is None."""
        sizes = [p["feret_max_mm"] for p in self.sample.particles if not p["touches_edge"]]
        row: dict[str, Any] = {
            "sample": self.sample.name,
            "blank": self.sample.blank or None,
            "repeats": len(self.sample.repeats),
            "photos": sum(len(repeat.photos) for repeat in self.sample.repeats),
            **_columns("count", self.count),
            **_columns("net", self.net),
            "detection_limit": _rounded(self.detection_limit),
            **_columns("corrected", self.corrected),
        }
        for unit in UNITS:
            row |= _columns(unit, self.per_unit.get(unit))
            row |= _columns(f"corrected_{unit}", self.corrected_per_unit.get(unit))
        repeats = len(self.sample.repeats)
        row |= {
            "size_mean_mm": _rounded(float(np.mean(sizes)) if sizes else None),
            "size_median_mm": _rounded(float(np.median(sizes)) if sizes else None),
            "size_max_mm": _rounded(max(sizes, default=None)),
        }
        for column in ("area_mm2", "volume_mm3"):
            total = sum(particle[column] for particle in self.sample.particles)
            row[f"particle_{column}_mean"] = _rounded(total / repeats)
        return row


def group(
    results: Sequence[Results], entries: Mapping[Photo, Entry], belts: Mapping[str, Results]
) -> list[Sample]:
    """Samples of photos, blanks last.

    Args:
        belts: by name of the folder; a belt is one repeat, of the area of its segments.

    Raises:
        BadArgumentError: the photos of a repeat have different amounts, or a sample is both a
            sample and a blank.
    """
    repeats: dict[tuple[str, str, str], Repeat] = {}
    for photo in (photo for result in results for photo in result.photos):
        entry = entries.get(photo)
        if entry is None:
            continue
        if photo.folder in belts:
            area_cm2 = entry.area_cm2 or _belt_area_cm2(belts[photo.folder])
            entry = replace(entry, repeat=photo.folder, area_cm2=area_cm2)
        key = entry.sample, entry.blank, entry.repeat
        known = repeats.setdefault(key, Repeat(entry.repeat, entry, []))
        if known.entry != entry:
            raise BadArgumentError(
                f"sample {entry.sample}, repeat {entry.repeat}: its photos have different "
                f"{', '.join(AMOUNTS)}; these are of the whole repeat"
            )
        known.photos.append(photo)
    kinds: dict[str, set[str]] = {}
    for name, blank, _ in repeats:
        kinds.setdefault(name, set()).add(blank)
    samples = []
    for name, found in kinds.items():
        if len(found) > 1:
            raise BadArgumentError(f"sample {name}: some photos are of a blank and some are not")
        (blank,) = found
        of_sample = [repeat for (owner, _, _), repeat in repeats.items() if owner == name]
        samples.append(Sample(name, blank, of_sample))
    return sorted(samples, key=lambda sample: bool(sample.blank))


def used_blanks(samples: Sequence[Sample]) -> list[Sample]:
    """Those that are subtracted: matrix blanks where there are any, as they hold the contamination
    that procedural blanks tell, too."""
    blanks = [sample for sample in samples if sample.blank]
    return [sample for sample in blanks if sample.blank == "matrix"] or blanks


def summarise(
    samples: Sequence[Sample], accuracy: Accuracy | None, sizes: SizeClasses
) -> list[SampleSummary]:
    """Each sample, the same in each report of the same results."""
    estimator = Estimator()
    used = used_blanks(samples)
    blanks = [count for sample in used for count in sample.counts]
    matrix = any(sample.blank == "matrix" for sample in used)
    blank_draws = estimator.mean_count(blanks) if blanks else None
    factor: tuple[float, Draws] | None = None
    if accuracy:
        factor = 1 / accuracy.recall.value, 1 / estimator.score(accuracy.recall)
        if not matrix:
            draws = factor[1] * estimator.score(accuracy.precision)
            factor = factor[0] * accuracy.precision.value, draws
    return [_summary(sample, estimator, sizes, factor, (blanks, blank_draws)) for sample in samples]


def _summary(
    sample: Sample,
    estimator: Estimator,
    sizes: SizeClasses,
    factor: tuple[float, Draws] | None,
    blank: tuple[Sequence[int], Draws | None],
) -> SampleSummary:
    counts = sample.counts
    amounts = {
        unit: [amount(repeat) for repeat in sample.repeats] for unit, amount in UNITS.items()
    }
    known = {
        unit: [value for value in values if value is not None]
        for unit, values in amounts.items()
        if None not in values
    }
    # What a repeat is large by: the mass or volume where given, else the area.
    size = known.get("per_kg") or known.get("per_l") or known["per_m2"]
    draws = estimator.mean_count(counts, size)
    net = corrected = limit = None
    net_values, net_draws = [float(count) for count in counts], draws
    blank_counts, blank_draws = blank
    if blank_draws is not None and not sample.blank:
        mean = float(np.mean(blank_counts))
        # Of each repeat's own value no less than 0 would make the mean too large.
        net_values = [count - mean for count in counts]
        net_draws = np.maximum(draws - blank_draws, 0)
        net = _at_least_0(estimate(net_values, net_draws))
        limit = detection_limit(blank_counts)
    if factor and not sample.blank:
        corrected_draws = net_draws * factor[1]
        corrected = _at_least_0(
            estimate([value * factor[0] for value in net_values], corrected_draws)
        )
    per_unit, corrected_per_unit = {}, {}
    for unit, values in known.items():
        middle = float(np.mean(values))
        ratios = [count / value for count, value in zip(counts, values, strict=True)]
        per_unit[unit] = estimate(ratios, draws / middle)
        if factor and corrected:
            ratios = [a * factor[0] / b for a, b in zip(net_values, values, strict=True)]
            corrected_per_unit[unit] = _at_least_0(estimate(ratios, corrected_draws / middle))
    return SampleSummary(
        sample, estimate(counts, draws), net, corrected, per_unit, corrected_per_unit, limit,
        [
            *_classes(sample, "size", sizes.names, _size_class(sizes), estimator, size),
            *_classes(sample, "shape", shape_class.NAMES, _text("shape"), estimator, size),
            *_classes(sample, "colour", colour.NAMES, _text("colour"), estimator, size),
        ],
    )  # fmt: skip


def _classes(
    sample: Sample,
    kind: str,
    names: Iterable[str],
    name_of: Callable[[dict[str, Any]], str],
    estimator: Estimator,
    amounts: Sequence[float],
) -> list[ClassCount]:
    counted = [Counter(map(name_of, repeat.particles)) for repeat in sample.repeats]
    area: Counter[str] = Counter()
    for particle in sample.particles:
        area[name_of(particle)] += particle["area_mm2"]
    total = sum(sample.counts)
    found = []
    for name in (*names, *(extra for extra in (CUT, UNKNOWN) if any(c[extra] for c in counted))):
        counts = [one[name] for one in counted]
        count = estimate(counts, estimator.mean_count(counts, amounts))
        fraction = sum(counts) / total if total else 0.0
        found.append(ClassCount(kind, name, count, fraction, area[name] / len(sample.repeats)))
    return found


def _size_class(sizes: SizeClasses) -> Callable[[dict[str, Any]], str]:
    return lambda p: CUT if p["touches_edge"] else sizes.name(p["feret_max_mm"])


def _text(column: str) -> Callable[[dict[str, Any]], str]:
    return lambda particle: particle[column] or UNKNOWN


def _at_least_0(found: Estimate) -> Estimate:
    return replace(found, mean=max(found.mean, 0.0))


def _columns(name: str, found: Estimate | None) -> dict[str, float | None]:
    """Of a table."""
    parts = ("mean", "sd", "low", "high")
    return {f"{name}_{part}": _rounded(getattr(found, part) if found else None) for part in parts}


def _rounded(value: float | None) -> float | None:
    """To four digits, which no count of particles deserves more of."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.4g}")


def _belt_area_cm2(belt: Results) -> float:
    rows = sum((s["end_px"] - s["begin_px"]) * s["width_px"] for s in belt.segments)
    return rows * belt.mm_per_pixel**2 / 100
