"""From a probability map to particles."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError


@dataclass(frozen=True)
class Particle:
    """One connected group of particle pixels.

    `x`, `y`: centroid, px, where the first pixel's centre is (0, 0); `area_px`: pixels;
    `diameter_px`: of the circle of that area; `mean_probability`: over its pixels, 0..1.
    """

    id: int
    x: float
    y: float
    area_px: int
    diameter_px: float
    mean_probability: float


class OperatingPoint(Protocol):
    """What a network reports as a particle where nothing else is asked for.

    Attributes:
        threshold: probability 0..1.
        min_diameter_px: 0 is no bound.
    """

    @property
    def threshold(self) -> float: ...

    @property
    def min_diameter_px(self) -> float: ...


@dataclass(frozen=True)
class ParticleFilter:
    """What is reported as a particle.

    Attributes:
        threshold: probability 0..1 from which on a pixel is a particle.
        min_diameter_px, max_diameter_px: bounds of `Particle.diameter_px`, both included; None is
            no bound, and so is a smallest one of 0.

    Raises:
        BadArgumentError: a value is out of range.
    """

    threshold: float
    min_diameter_px: float | None = None
    max_diameter_px: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise BadArgumentError(f"a threshold of {self.threshold} is not above 0 and at most 1")
        low = self.min_diameter_px or 0.0
        high = math.inf if self.max_diameter_px is None else self.max_diameter_px
        if not (0 <= low <= high and high > 0):  # false for NaN, too
            raise BadArgumentError(f"no particle has a diameter from {low} to {high} px")

    @classmethod
    def of(
        cls,
        own: OperatingPoint,
        threshold: float | None = None,
        min_diameter_px: float | None = None,
        max_diameter_px: float | None = None,
    ) -> ParticleFilter:
        """Of a network's `own` threshold and smallest diameter, unless others are given.

        Raises:
            BadArgumentError: a value is out of range.
        """
        if threshold is None:
            threshold = own.threshold
        if min_diameter_px is None:
            min_diameter_px = own.min_diameter_px
            if max_diameter_px is not None and 0 < max_diameter_px < min_diameter_px:
                raise BadArgumentError(
                    f"a largest diameter of {max_diameter_px:g} px is below the network's "
                    f"smallest, {min_diameter_px:g} px; give a smallest one too, 0 for none"
                )
        return cls(threshold, min_diameter_px or None, max_diameter_px)

    def at(self, level: int) -> ParticleFilter:
        """The same with another threshold, 1..255."""
        return replace(self, threshold=level / 255)

    @property
    def threshold_u8(self) -> int:
        """The threshold 1..255: a pixel of the map that is as high is a particle."""
        return threshold_u8(self.threshold)

    def mask(self, probability: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """255 where the map (H,W) shows a particle within the bounds, else 0."""
        mask = particle_mask(probability, self.threshold_u8)
        if not self.min_diameter_px and self.max_diameter_px is None:
            return mask
        count, at, label = labelled(mask)
        diameter = _diameter_px(np.bincount(label, minlength=count))
        low = self.min_diameter_px or 0.0
        high = math.inf if self.max_diameter_px is None else self.max_diameter_px
        mask.ravel()[at[(diameter < low)[label] | (diameter > high)[label]]] = 0
        return mask


def threshold_u8(threshold: float) -> int:
    """A threshold 0..1 as a value 1..255 of the map."""
    return max(1, round(threshold * 255))


def particle_mask(probability: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """255 where the map (H,W) is at least `level`, else 0."""
    mask = cv2.threshold(probability, level - 1, 255, cv2.THRESH_BINARY)[1]
    return np.asarray(mask, np.uint8)


def find_particles(probability: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[Particle]:
    """Particles of a map (H,W): the 8-connected groups of pixels where `mask` is not 0.

    Ids count from 1, top to bottom.
    """
    count, at, label = labelled(mask)
    rows, columns = np.divmod(at, mask.shape[1])
    area = np.bincount(label, minlength=count)[1:]
    x = np.bincount(label, columns, minlength=count)[1:] / area
    y = np.bincount(label, rows, minlength=count)[1:] / area
    mean = np.bincount(label, probability.ravel()[at], minlength=count)[1:] / area / 255
    diameter = _diameter_px(area)
    return [
        Particle(
            id=i + 1,
            x=round(float(x[i]), 2),
            y=round(float(y[i]), 2),
            area_px=int(area[i]),
            diameter_px=float(diameter[i]),
            mean_probability=round(float(mean[i]), 4),
        )
        for i in range(count - 1)
    ]


def labelled(mask: NDArray[np.uint8]) -> tuple[int, NDArray[np.intp], NDArray[np.int32]]:
    """Number of labels, background included; flat places of the mask's pixels; their labels."""
    count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    # Particles cover under 1% of a frame: look at their pixels only. (As bool: ten times faster.)
    at = np.flatnonzero(mask.view(np.bool_))
    return count, at, np.asarray(labels, np.int32).ravel()[at]


def particle_pixels(
    mask: NDArray[np.uint8],
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Rows and columns of the pixels of each particle of a mask (H,W), by rows, in the order of
    `find_particles`."""
    count, at, label = labelled(mask)
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(1, count + 1))
    rows, columns = np.divmod(at[order], mask.shape[1])
    return [(rows[begin:end], columns[begin:end]) for begin, end in itertools.pairwise(bounds)]


def _diameter_px(area: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of circles of that area, to the two digits that are written."""
    return np.round(2 * np.sqrt(area / math.pi), 2)
