"""Size, outline and colour of particles, as microplastics are reported.

Feret diameters, perimeter and solidity are those of `skimage.measure.regionprops`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.colour import colour_name
from edge.particles import particle_pixels
from edge.shape_class import shape_class

SHAPE_COLUMNS = ("feret_max_px", "feret_min_px", "aspect_ratio", "perimeter_px", "circularity",
                 "solidity", "touches_edge", "lightness", "a", "b", "colour", "shape",
                 "shape_certainty")  # fmt: skip
SHAPE_MM_COLUMNS = ("feret_max_mm", "feret_min_mm", "perimeter_mm")
# K. Benkrid, D. Crookes, Design and FPGA Implementation of a Perimeter Estimator: what a border
# pixel adds, by 1 for itself, 2 for each border pixel beside it and 10 for each at a corner.
_NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]], np.float32)
_STEPS = np.zeros(50)
_STEPS[[5, 7, 15, 17, 25, 27]] = 1
_STEPS[[21, 33]] = math.sqrt(2)
_STEPS[[13, 23]] = (1 + math.sqrt(2)) / 2


@dataclass(frozen=True)
class Shape:
    """Of one particle.

    Attributes:
        feret_max_px, feret_min_px: largest and smallest distance of two parallel lines that the
            particle lies between, px. The particle is the convex hull of the middles of its
            pixels' sides, so a single pixel is 1 and 0.71 px.
        perimeter_px: along the middles of the border pixels, px; 0 for fewer than three in a row.
        circularity: 4 pi area / perimeter^2, at most 1; None where there is no perimeter.
        solidity: area / area of the convex hull.
        touches_edge: whether it may go on outside of the frame.
        lab: mean CIE L*a*b* (D65) of its pixels; None without an image.
        shape, shape_certainty: of `shape_class`.
    """

    feret_max_px: float
    feret_min_px: float
    perimeter_px: float
    circularity: float | None
    solidity: float
    touches_edge: bool
    lab: tuple[float, float, float] | None
    shape: str
    shape_certainty: float

    @property
    def aspect_ratio(self) -> float:
        """Maximum by minimum Feret diameter, at least 1."""
        return self.feret_max_px / self.feret_min_px

    def record(self, mm_per_pixel: float | None = None) -> dict[str, Any]:
        """A flat row of `SHAPE_COLUMNS`, and with a scale of `SHAPE_MM_COLUMNS`, too."""
        lab = (None,) * 3 if self.lab is None else tuple(round(value, 1) for value in self.lab)
        row = {
            "feret_max_px": round(self.feret_max_px, 3),
            "feret_min_px": round(self.feret_min_px, 3),
            "aspect_ratio": round(self.aspect_ratio, 3),
            "perimeter_px": round(self.perimeter_px, 3),
            "circularity": None if self.circularity is None else round(self.circularity, 3),
            "solidity": round(self.solidity, 3),
            "touches_edge": int(self.touches_edge),
            "lightness": lab[0],
            "a": lab[1],
            "b": lab[2],
            "colour": None if self.lab is None else colour_name(self.lab),
            "shape": self.shape,
            "shape_certainty": self.shape_certainty,
        }
        if mm_per_pixel is not None:
            lengths = (self.feret_max_px, self.feret_min_px, self.perimeter_px)
            for column, length in zip(SHAPE_MM_COLUMNS, lengths, strict=True):
                row[column] = float(f"{length * mm_per_pixel:.6g}")
        return row


def measure_shapes(
    mask: NDArray[np.uint8], image: NDArray[np.uint8] | None = None, *, strip: bool = False
) -> list[Shape]:
    """The shape of each particle of a mask, in the order of `find_particles`.

    Args:
        mask: uint8 (H,W), 0 where there is no particle.
        image: uint8 (H,W,3) RGB; tells the colours.
        strip: whether the frame is a part of a longer strip, whose first and last row are no edge.
    """
    height, width = mask.shape
    steps = _border_steps(mask)
    shapes = []
    for rows, columns in particle_pixels(mask):
        area = len(rows)
        hull, hull_area = _convex_hull(rows, columns)
        feret_max, feret_min = _feret(hull)
        perimeter = float(steps[rows, columns].sum())
        circularity = min(1.0, 4 * math.pi * area / perimeter**2) if perimeter else None
        solidity = area / hull_area
        sides = columns.min() == 0 or columns.max() == width - 1
        ends = rows[0] == 0 or rows[-1] == height - 1
        name, certainty = shape_class(area, feret_max, feret_min, perimeter, solidity)
        shapes.append(
            Shape(
                feret_max,
                feret_min,
                perimeter,
                circularity,
                solidity,
                touches_edge=bool(sides or (ends and not strip)),
                lab=None if image is None else _mean_lab(image[rows, columns]),
                shape=name,
                shape_certainty=certainty,
            )
        )
    return shapes


def _border_steps(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What each pixel adds to the perimeter of its particle, (H,W) px."""
    ones = np.asarray(mask > 0, np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(ones, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    border = ones - np.asarray(inner)
    codes = cv2.filter2D(border, -1, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
    return _STEPS[np.asarray(codes)]


def _convex_hull(
    rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> tuple[NDArray[np.int64], int]:
    """Corners (N,2) of the hull of a particle's convex image, in half px, and the area of that
    image, px: as scikit-image has it, the pixels whose middles lie in the hull of the middles of
    the particle's sides. `rows` ascend, none is left out."""
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    y = 2 * rows[begins].astype(np.int64)
    left = 2 * np.minimum.reduceat(columns, begins).astype(np.int64)
    right = 2 * np.maximum.reduceat(columns, begins).astype(np.int64)
    hull = _hull_of_sides(left, right, y)
    # Half-planes `across * x <= limit` that the hull is, for each row.
    edge = np.roll(hull, -1, axis=0) - hull
    across, along = edge[:, 1], -edge[:, 0]
    limit = (across * hull[:, 0] + along * hull[:, 1])[:, None] - along[:, None] * y
    upper, lower = across > 0, across < 0
    # Of middles of pixels, which are even.
    right = 2 * (limit[upper] // (2 * across[upper, None])).min(axis=0)
    left = -2 * (limit[lower] // (-2 * across[lower, None])).min(axis=0)
    return _hull_of_sides(left, right, y), int((right - left).sum()) // 2 + len(y)


def _hull_of_sides(
    left: NDArray[np.int64], right: NDArray[np.int64], y: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Corners (N,2), as (x, y) clockwise on the screen, of the hull of the middles of the sides of
    the pixels from `left` to `right` of each row; all in half px."""
    x = np.concatenate([left - 1, right + 1, left, right, left, right])
    points = np.stack([x, np.concatenate([y, y, y - 1, y - 1, y + 1, y + 1])], axis=1)
    hull = cv2.convexHull(points.astype(np.int32), clockwise=False)
    return np.asarray(hull, np.int64).reshape(-1, 2)


def _feret(hull: NDArray[np.int64]) -> tuple[float, float]:
    """Largest and smallest Feret diameter, px, of corners in half px."""
    offset = hull - hull[:, None]
    longest = math.sqrt(int((offset**2).sum(axis=2).max())) / 2
    # The smallest is at right angles to a side of the hull.
    edge = (np.roll(hull, -1, axis=0) - hull)[:, None]
    distance = np.abs(edge[..., 0] * offset[..., 1] - edge[..., 1] * offset[..., 0])
    widths = distance.max(axis=1) / np.hypot(edge[:, 0, 0], edge[:, 0, 1])
    return longest, float(widths.min()) / 2


def _mean_lab(pixels: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Mean CIE L*a*b* of pixels uint8 (N,3) RGB."""
    rgb = pixels[np.newaxis].astype(np.float32) / 255
    lightness, a, b = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB))[0].mean(axis=0)
    return float(lightness), float(a), float(b)
