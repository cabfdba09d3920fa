"""What a folder of photos and masks holds, and what in it is broken: `train check DATA`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from train.data.samples import Notes, Sample, SamplePaths

SIZES_SHOWN = 4
QUANTILES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}


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
        broken: one sentence per photo, mask or pair that cannot be used.
        notes: what was guessed, one sentence for each kind.
    """

    sizes: Mapping[tuple[int, int], int]
    clean: int
    foreground: float
    diameters_px: NDArray[np.float64]
    lengths_px: NDArray[np.int32]
    broken: Sequence[str]
    notes: Sequence[str] = ()

    def describe(self) -> str:
        """All but `broken` and `notes`, as a table for a terminal."""
        photos = sum(self.sizes.values())
        most = Counter(self.sizes).most_common(SIZES_SHOWN)
        shown = [f"{width}x{height} ({count})" for (width, height), count in most]
        if len(self.sizes) > len(most):
            shown.append(f"{len(self.sizes) - len(most)} other sizes")
        rows = [
            f"{'photos':<20}{photos}, {self.clean} of them without a particle",
            f"{'photo sizes, px':<20}{', '.join(shown)}",
            f"{'particle pixels':<20}{self.foreground:.4%}",
            f"{'objects':<20}{len(self.diameters_px)}",
        ]
        if len(self.diameters_px):
            rows.append(f"{'px':<20}" + "".join(f"{name:>8}" for name in QUANTILES))
            for name, values in (
                ("  diameter", self.diameters_px),
                ("  longer side", self.lengths_px),
            ):
                quantiles = np.quantile(values, list(QUANTILES.values()))
                rows.append(f"{name:<20}" + "".join(f"{value:>8.1f}" for value in quantiles))
        return "\n".join(rows)


def check(pairs: Iterable[SamplePaths], unpaired: Sequence[str]) -> Report:
    """Read every pair, one at a time, also after a broken one.

    Args:
        pairs, unpaired: as `train.data.samples.scan` returns them.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    clean = 0
    areas: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
    lengths = areas.copy()
    broken = list(unpaired)
    notes = Notes()
    for pair in pairs:
        try:
            sample = pair.load()
        except EdgeError as error:
            broken.append(str(error))
            continue
        notes.add(sample)
        area_px, length_px = _objects(sample)
        height, width = sample.size_hw
        sizes[width, height] += 1
        clean += not len(area_px)
        areas.append(area_px)
        lengths.append(length_px)
    area = np.concatenate(areas)
    pixels = sum(width * height * count for (width, height), count in sizes.items())
    return Report(
        sizes=sizes,
        clean=clean,
        foreground=int(area.sum()) / max(pixels, 1),
        diameters_px=2 * np.sqrt(area / np.pi),
        lengths_px=np.concatenate(lengths),
        broken=broken,
        notes=notes.describe(),
    )


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
