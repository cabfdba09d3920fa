"""What a folder of photos and masks holds, what is broken and what doubtful: `train check DATA`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from train.data.displacement import displacement
from train.data.duplicates import near_duplicates, perceptual_hash
from train.data.folds import Split
from train.data.mask import MaskSizeError, SoftMaskError
from train.data.samples import Notes, Sample, SamplePaths

SIZES_SHOWN = 4
NAMES_SHOWN = 5
QUANTILES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}

# Of photos that cannot be used, and of those that should be looked at.
BROKEN = ("soft mask", "mask size", "broken")
DOUBTFUL = ("leak", "duplicate", "inverted", "displaced", "no particle")


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        kind: one of `BROKEN` or `DOUBTFUL`.
        photos: names.
        text: one sentence.
    """

    kind: str
    photos: tuple[str, ...]
    text: str


@dataclass(frozen=True, eq=False)
class Report:
    """What the photos of whole pairs show.

    Attributes:
        sizes: photos by (width, height), px.
        clean: photos without a particle.
        foreground: fraction of particle pixels over all photos, 0..1.
        diameters_px: of the circle of each object's area; objects are 8-connected particle pixels,
            or what the labels number.
        lengths_px: the longer side of each object's box.
        broken: one per photo, mask or pair that cannot be used.
        doubtful: what can be used and may be wrong.
        notes: what was guessed, one sentence for each kind.
    """

    sizes: Mapping[tuple[int, int], int]
    clean: int
    foreground: float
    diameters_px: NDArray[np.float64]
    lengths_px: NDArray[np.int32]
    broken: Sequence[Finding]
    doubtful: Sequence[Finding] = ()
    notes: Sequence[str] = ()

    def facts(self) -> dict[str, str]:
        """What there is in all, by name."""
        photos = sum(self.sizes.values())
        most = Counter(self.sizes).most_common(SIZES_SHOWN)
        shown = [f"{width}x{height} ({count})" for (width, height), count in most]
        if len(self.sizes) > len(most):
            shown.append(f"{len(self.sizes) - len(most)} other sizes")
        return {
            "photos": f"{photos}, {self.clean} of them without a particle",
            "photo sizes, px": ", ".join(shown),
            "particle pixels": f"{self.foreground:.4%}",
            "objects": str(len(self.diameters_px)),
        }

    def describe(self) -> str:
        """All but `broken`, `doubtful` and `notes`, as a table for a terminal."""
        rows = [f"{name:<20}{text}" for name, text in self.facts().items()]
        if len(self.diameters_px):
            rows.append(f"{'px':<20}" + "".join(f"{name:>8}" for name in QUANTILES))
            for name, values in (
                ("  diameter", self.diameters_px),
                ("  longer side", self.lengths_px),
            ):
                quantiles = np.quantile(values, list(QUANTILES.values()))
                rows.append(f"{name:<20}" + "".join(f"{value:>8.1f}" for value in quantiles))
        return "\n".join(rows)


def check(
    pairs: Iterable[SamplePaths],
    unpaired: Sequence[str],
    split: Split | None = None,
    on_sample: Callable[[Sample, tuple[int, int] | None], None] | None = None,
) -> Report:
    """Read every pair, one at a time, also after a broken one.

    Args:
        pairs, unpaired: as `train.data.samples.scan` returns them.
        split: folds, in different parts of which no photo should be twice.
        on_sample: is called with each sample, and by how many px (right, down) its mask is
            displaced, if it is.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    areas: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    lengths = areas.copy()
    broken = [Finding("broken", (), text) for text in unpaired]
    doubtful: list[Finding] = []
    names, hashes, clean = [], [], []
    notes = Notes()
    for pair in pairs:
        try:
            sample = pair.load()
        except EdgeError as error:
            broken.append(Finding(_kind(error), (pair.name,), str(error)))
            continue
        notes.add(sample)
        area_px, length_px = _objects(sample)
        height, width = sample.size_hw
        sizes[width, height] += 1
        areas.append(area_px)
        lengths.append(length_px)
        names.append(sample.name)
        hashes.append(perceptual_hash(sample.image))
        if not len(area_px):
            clean.append(sample.name)
        fraction, away = int(area_px.sum()) / (width * height), None
        if fraction > 0.5:
            text = f"{sample.name}: {fraction:.0%} of its mask is particle"
            doubtful.append(Finding("inverted", (sample.name,), text))
        elif away := displacement(sample):
            text = f"{sample.name}: its mask would lie better {_moved(away)}"
            doubtful.append(Finding("displaced", (sample.name,), text))
        if on_sample:
            on_sample(sample, away)
    doubtful += _repeated(
        [tuple(names[i] for i in same) for same in near_duplicates(hashes)], split
    )
    if clean:
        doubtful.append(Finding("no particle", tuple(clean), _listed(clean)))
    area = np.concatenate(areas)
    pixels = sum(width * height * count for (width, height), count in sizes.items())
    return Report(
        sizes=sizes,
        clean=len(clean),
        foreground=int(area.sum()) / max(pixels, 1),
        diameters_px=2 * np.sqrt(area / np.pi),
        lengths_px=np.concatenate(lengths),
        broken=broken,
        doubtful=sorted(doubtful, key=lambda one: DOUBTFUL.index(one.kind)),
        notes=notes.describe(),
    )


def read_split(path: Path, pairs: Sequence[SamplePaths]) -> Split:
    """A split file of these photos.

    Raises:
        EdgeError: it is none, or names none of them.
    """
    split = Split.read(path)
    if not {pair.name for pair in pairs} & _places(split).keys():
        raise EdgeError(f"{path}: names no photo of this data; give the split of this data")
    return split


def _kind(error: EdgeError) -> str:
    if isinstance(error, SoftMaskError):
        return "soft mask"
    return "mask size" if isinstance(error, MaskSizeError) else "broken"


def _moved(away: tuple[int, int]) -> str:
    right, down = away
    ways = [f"{abs(right)} px to the {'right' if right > 0 else 'left'}"] if right else []
    ways += [f"{abs(down)} px {'down' if down > 0 else 'up'}"] if down else []
    return " and ".join(ways)


def _repeated(groups: Sequence[tuple[str, ...]], split: Split | None) -> list[Finding]:
    """Near-duplicates, those apart in a fold as leaks."""
    places = _places(split) if split else {}
    found = []
    for names in groups:
        parts: dict[int, set[str]] = defaultdict(set)
        for number, part in (place for name in names for place in places.get(name, ())):
            parts[number].add(part)
        apart = [str(number) for number, there in sorted(parts.items()) if len(there) > 1]
        text = f"{_listed(names)} show the same"
        if apart:
            text += f" and are in different parts of fold{'s' * (len(apart) > 1)} "
            text += ", ".join(apart)
        found.append(Finding("leak" if apart else "duplicate", names, text))
    return found


def _places(split: Split) -> dict[str, set[tuple[int, str]]]:
    """The folds and their parts that each photo, or a crop of it, is in."""
    found: dict[str, set[tuple[int, str]]] = defaultdict(set)
    for number, fold in enumerate(split.folds, 1):
        for part in ("training", "validation", "test"):
            for name in getattr(fold, part):
                found[name.rpartition("@")[0] if split.by == "crop" else name].add((number, part))
    return found


def _listed(names: Sequence[str]) -> str:
    shown, more = list(names[:NAMES_SHOWN]), len(names) - NAMES_SHOWN
    last = f"{more} more" if more > 0 else shown.pop()
    return f"{', '.join(shown)} and {last}" if shown else last


def _objects(sample: Sample) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Area and longer side of each object, px."""
    if sample.objects is None:
        # Row 0 is the background.
        stats = cv2.connectedComponentsWithStats(sample.labels, connectivity=8)[2]
        objects = np.asarray(stats[1:], np.int32)
        sides = objects[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]]
        return objects[:, cv2.CC_STAT_AREA], sides.max(axis=1)
    places = np.nonzero(sample.objects)
    numbers = sample.objects[places].astype(np.intp) - 1
    count = int(numbers.max()) + 1
    longest = np.zeros(count, np.int32)
    for at in places:
        low, high = np.full(count, sample.mask.size), np.zeros(count, np.intp)
        np.minimum.at(low, numbers, at)
        np.maximum.at(high, numbers, at)
        longest = np.maximum(longest, (high - low + 1).astype(np.int32))
    return np.bincount(numbers, minlength=count).astype(np.int32), longest
