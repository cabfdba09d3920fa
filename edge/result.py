"""What was found in one frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import MissingPackageError
from edge.frame import Frame
from edge.particles import Particle, ParticleFilter, find_particles, particle_pixels
from edge.visualisation import draw_overlay

if TYPE_CHECKING:
    from edge.calibration.calibration import Calibration

# Digits of lengths and areas in mm: more than any scale is known to.
MM_DIGITS = 6
COLUMNS = ("frame", "file", "time_s", "id", "x_px", "y_px", "area_px", "diameter_px",
           "mean_probability", "source")  # fmt: skip
MM_COLUMNS = ("mm_per_pixel", "x_mm", "y_mm", "area_mm2", "diameter_mm")


@dataclass(frozen=True, eq=False)
class Result:
    """A frame and what was found in it.

    Attributes:
        probability: uint8 (H,W), 0..255 for 0..1.
        particle_filter: threshold and size limits that were used.
        mask: uint8 (H,W), 255 on particles, else 0.
        calibration: of the camera, where it is known.
    """

    frame: Frame
    probability: NDArray[np.uint8]
    particle_filter: ParticleFilter
    mask: NDArray[np.uint8]
    particles: list[Particle]
    calibration: Calibration | None = None

    @classmethod
    def of(
        cls, frame: Frame, probability: NDArray[np.uint8], particle_filter: ParticleFilter
    ) -> Result:
        """Find the particles of a probability map."""
        mask = particle_filter.mask(probability)
        return cls(frame, probability, particle_filter, mask, find_particles(probability, mask))

    def records(self, mm_per_pixel: float | None = None) -> list[dict[str, Any]]:
        """A flat row per particle, as in particles.csv; `pandas.DataFrame` takes the list.

        Args:
            mm_per_pixel: adds the scale, lengths in mm and areas in mm2. A calibration has a
                scale for each particle, and takes its place.
        """
        rows = [self._record(particle) for particle in self.particles]
        places = np.array([(particle.x, particle.y) for particle in self.particles]).reshape(-1, 2)
        if self.calibration is not None:
            scales = self.calibration.scales(places)
            positions = self.calibration.positions_mm(places)
        elif mm_per_pixel is not None:
            scales, positions = np.full(len(rows), mm_per_pixel), places * mm_per_pixel
        else:
            return rows
        for row, scale, (x, y) in zip(rows, scales.tolist(), positions.tolist(), strict=True):
            row["mm_per_pixel"] = scale if self.calibration is None else _significant(scale)
            row["x_mm"] = _significant(x)
            row["y_mm"] = _significant(y)
            row["area_mm2"] = _significant(row["area_px"] * scale**2)
            row["diameter_mm"] = _significant(row["diameter_px"] * scale)
        return rows

    def _record(self, particle: Particle) -> dict[str, Any]:
        source = [self.frame.source] if self.frame.source else []
        return {
            "frame": self.frame.index,
            "file": self.frame.file,
            "time_s": None if self.frame.time_s is None else round(self.frame.time_s, 6),
            # Unique in a run, and no number to any reader of tables.
            "id": "-".join([*source, f"{self.frame.index:06d}", f"{particle.id:04d}"]),
            "x_px": particle.x,
            "y_px": particle.y,
            "area_px": particle.area_px,
            "diameter_px": particle.diameter_px,
            "mean_probability": particle.mean_probability,
            "source": self.frame.source,
        }

    def plot(self) -> NDArray[np.uint8]:
        """The frame uint8 (H,W,3) RGB with its particles circled, and their number."""
        return np.ascontiguousarray(draw_overlay(self)[..., ::-1])

    def to_coco(self, image_id: int = 1) -> dict[str, Any]:
        """A COCO data set of this image: each particle with its mask (uncompressed run lengths),
        box, area, and its mean probability as `score`."""
        height, width = self.frame.size_hw
        annotations, pixels = [], particle_pixels(self.mask)
        for particle, (rows, columns) in zip(self.particles, pixels, strict=True):
            left, top = int(columns.min()), int(rows.min())
            box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
            annotations.append(
                {
                    "id": particle.id,
                    "image_id": image_id,
                    "category_id": 1,
                    "segmentation": {
                        "size": [height, width],
                        "counts": _run_lengths(columns * height + rows, height * width),
                    },
                    "bbox": box,
                    "area": particle.area_px,
                    "iscrowd": 0,
                    "score": particle.mean_probability,
                }
            )
        image = {"id": image_id, "file_name": self.frame.file, "height": height, "width": width}
        return {
            "images": [image],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "particle"}],
        }

    def to_supervision(self) -> Any:
        """As `supervision.Detections`, with the masks.

        Raises:
            MissingPackageError: supervision is not installed.
        """
        try:
            import supervision
        except ModuleNotFoundError as error:
            raise MissingPackageError("supervision") from error
        height, width = self.frame.size_hw
        count = len(self.particles)
        boxes, masks = np.zeros((count, 4), np.float32), np.zeros((count, height, width), bool)
        pixels = particle_pixels(self.mask)
        for box, mask, (rows, columns) in zip(boxes, masks, pixels, strict=True):
            box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            mask[rows, columns] = True
        return supervision.Detections(
            xyxy=boxes,
            mask=masks,
            confidence=np.array([p.mean_probability for p in self.particles], np.float32),
            class_id=np.zeros(count, int),
        )


def _run_lengths(pixels: NDArray[np.intp], total: int) -> list[int]:
    """COCO's counts of 0, 1, 0, ... of a mask of `total` pixels, counted down the columns."""
    pixels = np.sort(pixels)
    breaks = np.flatnonzero(np.diff(pixels) > 1)
    begins = pixels[np.concatenate([[0], breaks + 1])]
    ends = pixels[np.concatenate([breaks, [len(pixels) - 1]])] + 1
    bounds = np.concatenate([[0], np.stack([begins, ends], axis=1).ravel(), [total]])
    return [int(count) for count in np.diff(bounds)]


def _significant(value: float) -> float:
    """Rounded to `MM_DIGITS` significant digits."""
    if not value:
        return 0.0
    return round(value, MM_DIGITS - 1 - math.floor(math.log10(abs(value))))
