"""Photos in the order of what a label would teach, by how little the augmentations of each agree.

train rank best.pt photos --out rank.csv
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields
from itertools import cycle, product
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from edge.errors import EdgeError, printable
from edge.files import atomic_write
from edge.particles import ParticleFilter, labelled
from edge.sources.images import nested_image_files, read_image
from train.evaluate import Source, probability_maps

# Factors of brightness, that of the photo as it is first.
GAINS = (1.0, 0.8, 1.2)
# Of a value within 0..1.
MAX_VARIANCE = 0.25


@dataclass(frozen=True)
class View:
    """A photo turned by `turns` quarters, anticlockwise, after it was mirrored left to right where
    `mirrored`, with its brightness times `gain`."""

    turns: int
    mirrored: bool
    gain: float

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """This view of an image (H,W,3)."""
        mirrored = image[:, ::-1] if self.mirrored else image
        brightness = np.clip(np.arange(256) * self.gain, 0, 255).astype(np.uint8)
        turned = np.ascontiguousarray(np.rot90(mirrored, self.turns))
        return np.asarray(cv2.LUT(turned, brightness), np.uint8)

    def undone(self, found: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The map (h,w) of this view as a map of the photo."""
        turned = np.rot90(found, -self.turns)
        return turned[:, ::-1] if self.mirrored else turned


# The eight symmetries of a square; those that keep a photo's size come first, so that engines
# prepare themselves twice for a photo, not eight times.
VIEWS = tuple(
    View(turns, mirrored, gain)
    for (turns, mirrored), gain in zip(
        product((0, 2, 1, 3), (False, True)), cycle(GAINS), strict=False
    )
)


@dataclass(frozen=True)
class Rank:
    """What a label of a photo would teach.

    Attributes:
        file: of the photo, its place in the folder.
        score: sum of the disagreement over its particles.
        particles: groups of pixels that are a particle in at least one view.
        disagreement: of the mean particle, 0..1.
    """

    file: str
    score: float
    particles: int
    disagreement: float


def disagreement(
    maps: Iterable[NDArray[np.uint8]], particle_filter: ParticleFilter
) -> NDArray[np.float64]:
    """How little the maps of one photo agree about each particle.

    The variance of a pixel's probability p over the K views,

        v = (p_1^2 + ... + p_K^2) / K - ((p_1 + ... + p_K) / K)^2,

    is an uncertainty by test-time augmentation (Wang et al., Neurocomputing 338, 2019, 34-45,
    doi:10.1016/j.neucom.2019.01.103). Gaillochet et al. (TAAL: Test-time Augmentation for Active
    Learning, DALI at MICCAI 2022) choose by it what is labelled next. Both take all pixels.
    Particles cover under 1% of a photo, so here it is averaged over each particle, an 8-connected
    group of pixels that reach the threshold in at least one view, and divided by 1/4, the largest
    variance within 0..1: 0 where all views agree, 1 where half of them are sure and half are not.

    Args:
        maps: one or more, uint8 (H,W), 0..255 for 0..1, turned back.
        particle_filter: what is a particle.

    Returns:
        Disagreement (n,) 0..1 of each particle.
    """
    count = 0
    for count, found in enumerate(maps, 1):
        if count == 1:
            total, squares = np.zeros(found.shape, np.uint32), np.zeros(found.shape, np.uint32)
            highest = np.zeros(found.shape, np.uint8)
        total += found
        squares += np.square(found, dtype=np.uint32)
        np.maximum(highest, found, out=highest)
    number, at, label = labelled(particle_filter.mask(highest))
    mean = total.ravel()[at] / count
    variance = (squares.ravel()[at] / count - mean**2) / 255**2
    area = np.bincount(label, minlength=number)[1:]
    each: NDArray[np.float64] = np.bincount(label, variance, minlength=number)[1:] / area
    return each / MAX_VARIANCE


def rank_photo(
    source: Source, file: str, image: NDArray[np.uint8], particle_filter: ParticleFilter
) -> Rank:
    """The rank of a photo (H,W,3) uint8 RGB.

    Raises:
        EdgeError: it is too large for the network's halo, or the engine fails.
    """
    maps = probability_maps(source, (view.of(image) for view in VIEWS))
    back = (view.undone(found) for view, found in zip(VIEWS, maps, strict=True))
    each = disagreement(back, particle_filter)
    mean = float(each.mean()) if each.size else 0.0
    return Rank(file, round(float(each.sum()), 4), each.size, round(mean, 4))


def rank(
    source: Source,
    folder: Path,
    particle_filter: ParticleFilter,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Rank]:
    """The photos of `folder` and the folders in it, the one whose label would teach the most first.

    Args:
        particle_filter: what is a particle.
        on_progress: called with a sentence after each photo, and for one that cannot be read.

    Raises:
        EdgeError: no photo of it can be read, or the engine fails.
    """
    files = nested_image_files(folder)
    ranks = []
    for number, path in enumerate(files, 1):
        try:
            image = read_image(path)
        except (EdgeError, OSError) as error:
            on_progress(f"left out: {error}")
            continue
        name = path.relative_to(folder).as_posix()
        ranks.append(rank_photo(source, name, image, particle_filter))
        on_progress(f"{number} of {len(files)}: {name}")
    if not ranks:
        raise EdgeError(f"{folder}: holds no readable image")
    return sorted(ranks, key=lambda one: (-one.score, one.file))


def describe(ranks: Iterable[Rank]) -> str:
    """A table for a terminal."""
    return tabulate(
        [(printable(one.file), *astuple(one)[1:]) for one in ranks],
        [field.name for field in fields(Rank)],
    )


def write(ranks: Iterable[Rank], path: Path) -> None:
    """A row per photo, as CSV with a header.

    Raises:
        OSError: it cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(field.name for field in fields(Rank))
        rows.writerows(map(astuple, ranks))
