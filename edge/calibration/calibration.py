"""A camera's lens and its place above the belt, kept in a file that runs take.

Frames are not undistorted: that finds no more particles, and costs a resampling of each frame
(docs/calibration.md has the numbers). Positions and sizes of what was found are corrected instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.files import read_json, write_json

if TYPE_CHECKING:
    from edge.result import Result

VERSION = 1
# How well a distortion is inverted, in units of the focal length, and after how many steps at most.
_UNDISTORT = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)


@dataclass(frozen=True)
class Calibration:
    """Of one camera, and of the plane that it looks at. As a stage, it gives results their mm.

    Attributes:
        image_size: width and height of its frames, px.
        camera_matrix: 3x3, px.
        distortion: k1, k2, p1, p2, k3 of OpenCV's model.
        plane_normal, plane_distance_mm: the plane of the belt, in OpenCV's camera coordinates: the
            unit vector that points away from the camera, and the distance along it.
        mm_per_pixel: scale in the middle of the frame.
        reprojection_rms_px, reprojection_max_px: between corners found and computed.
        length_error_mean_percent, length_error_max_percent: of the board's squares as measured
            with what the other photos and the other half of the board tell.
        photos, corners: number of those used.
        board: what the photos show.
        made: UTC, ISO 8601.
        opencv: version.
    """

    image_size: tuple[int, int]
    camera_matrix: tuple[tuple[float, ...], ...]
    distortion: tuple[float, ...]
    plane_normal: tuple[float, ...]
    plane_distance_mm: float
    mm_per_pixel: float
    reprojection_rms_px: float
    reprojection_max_px: float
    length_error_mean_percent: float
    length_error_max_percent: float
    photos: int
    corners: int
    board: str
    made: str
    opencv: str

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Calibration:
        """Of a file that `write` wrote.

        Raises:
            EdgeError: it is none.
            OSError: it cannot be read.
        """
        values = read_json(Path(path))
        wrong = f"{path}: not a calibration; make one with 'edge-run calibrate'"
        if not isinstance(values, dict) or "camera_matrix" not in values:
            raise EdgeError(wrong)
        if values.pop("version", None) != VERSION:
            raise EdgeError(f"{path}: a calibration of another version; calibrate again")
        try:
            made = cls(**{key: _as_tuple(value) for key, value in values.items()})
            numbers = [
                np.asarray(made.image_size, float).reshape(2),
                np.asarray(made.camera_matrix, float).reshape(3, 3),
                np.asarray(made.distortion, float).reshape(5),
                np.asarray(made.plane_normal, float).reshape(3),
                np.asarray([made.plane_distance_mm, made.mm_per_pixel], float),
            ]
        except (TypeError, ValueError):
            raise EdgeError(wrong) from None
        if not all(np.isfinite(number).all() for number in numbers) or made.mm_per_pixel <= 0:
            raise EdgeError(wrong)
        return made

    def write(self, path: Path) -> None:
        """As JSON; an earlier file stays whole until the new one is."""
        write_json(path, {"version": VERSION, **asdict(self)})

    def __call__(self, result: Result) -> Iterator[Result]:
        """The result with this calibration, which `Result.records` uses.

        Raises:
            EdgeError: its frame has another size.
        """
        height, width = result.frame.size_hw
        if (width, height) != self.image_size:
            of = "x".join(map(str, self.image_size))
            raise EdgeError(
                f"{result.frame.file}: is {width}x{height} px, but the calibration is of frames of "
                f"{of} px; calibrate with photos of this size (a smaller one may be a cutout)"
            )
        yield replace(result, calibration=self)

    def positions_mm(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (N,2) of a frame lie on the plane, mm (N,2), from the first pixel on; x and
        y run as those of the frame do."""
        first = self._on_plane(np.zeros((1, 2)))
        return np.subtract(self._on_plane(points_px), first)

    def scales(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """mm per px at points (N,2) of a frame: the root of the plane's area in a square px."""
        dx, dy = (
            self._on_plane(points_px + step) - self._on_plane(points_px - step)
            for step in 0.5 * np.eye(2)
        )
        area: NDArray[np.float64] = np.abs(dx[:, 0] * dy[:, 1] - dx[:, 1] * dy[:, 0])
        return np.sqrt(area)

    def scale_range(self) -> tuple[float, float]:
        """The smallest and the largest scale in a frame, mm per px."""
        width, height = self.image_size
        x, y = np.meshgrid(np.linspace(0, width - 1, 9), np.linspace(0, height - 1, 9))
        scales = self.scales(np.stack([x.ravel(), y.ravel()], axis=1))
        return float(scales.min()), float(scales.max())

    def tilt_degrees(self) -> float:
        """Between the camera's axis and the plane's normal."""
        return math.degrees(math.acos(min(1.0, self.plane_normal[2])))

    def _on_plane(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (N,2) of a frame in mm on the plane, from a place of its own."""
        if not len(points_px):
            return np.zeros((0, 2))
        # OpenCV 4 has a function of its own for a given precision, OpenCV 5 has not.
        undistort: Any = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
        matrix, distortion = np.asarray(self.camera_matrix), np.asarray(self.distortion)
        same = np.eye(3)
        flat = undistort(
            points_px[:, np.newaxis], matrix, distortion, R=same, P=same, criteria=_UNDISTORT
        )
        rays = np.concatenate([flat[:, 0], np.ones((len(points_px), 1))], axis=1)
        normal = np.asarray(self.plane_normal)
        x_axis = np.array([1.0, 0.0, 0.0]) - normal[0] * normal
        x_axis /= np.linalg.norm(x_axis)
        axes = np.stack([x_axis, np.cross(normal, x_axis)], axis=1)
        return np.asarray(rays * (self.plane_distance_mm / (rays @ normal))[:, np.newaxis] @ axes)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
