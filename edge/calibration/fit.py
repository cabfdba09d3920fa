"""Learn a calibration from photos of a board."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from edge.calibration.board import Board, Corners, on_a_line
from edge.calibration.calibration import Calibration
from edge.errors import BadArgumentError, EdgeError, describe, is_expected
from edge.sources.images import image_files, read_image

MIN_PHOTOS = 8
# What a set must show, or distance and focal length, or the distortion near the frame's corners,
# cannot be told: the angle between the boards of two photos, and how far out corners lie, over the
# way from the middle of the frame to its corner.
MIN_TILT_DEGREES = 10.0
MIN_REACH = 0.6
# The standard deviation of the focal length, over it, that is too much all the same.
MAX_FOCAL_ERROR = 0.05
# Where the radial term of the sixth power is fitted too, it runs wild outside the corners seen.
_FLAGS = cv2.CALIB_FIX_K3

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class View:
    """A photo in which the board was found."""

    path: Path
    image_size: tuple[int, int]
    corners: Corners


@dataclass(frozen=True, eq=False)
class _Camera:
    """Lens, and of each view the board's pose and the residuals (N,2), px."""

    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    rotations: Sequence[NDArray[np.float64]]
    translations: Sequence[NDArray[np.float64]]
    residuals: Sequence[NDArray[np.float64]]
    focal_error: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A calibration, and what is worth telling of how it came about.

    Attributes:
        left_out: why photos were not used, a sentence each.
        worst: the photo with the largest residual.
        reach: how far out corners were seen, over the way to the frame's corner.
    """

    calibration: Calibration
    left_out: list[str]
    worst: Path
    reach: float


def photo_paths(names: Sequence[str]) -> list[Path]:
    """The image files that are named, in folders named, or matched by a glob, each once.

    Raises:
        BadArgumentError: a name stands for none.
    """
    found: dict[Path, Path] = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            paths = image_files(path)
        elif path.exists():
            paths = [path]
        else:
            paths = sorted(Path(match) for match in glob.glob(name, recursive=True))
        if not paths:
            raise BadArgumentError(f"{name}: no photo there")
        found |= {path.resolve(): path for path in paths if path.resolve() not in found}
    return list(found.values())


def fit(
    photos: Sequence[Path], flat: Path, board: Board, on_progress: Progress = lambda _: None
) -> Fit:
    """The calibration that photos of `board` tell.

    Args:
        photos: of the board at various tilts, which tell the lens.
        flat: of the board flat on the belt, which tells the plane; used for the lens too.
        on_progress: called with the name of each photo before it is searched.

    Raises:
        EdgeError: they do not tell it, and why; `flat` cannot be read, or shows no board.
    """
    views, left_out = [_view(flat, board)], []
    for path in photos:
        if path.resolve() == flat.resolve():
            continue
        on_progress(str(path))
        try:
            views.append(_view(path, board))
        except Exception as error:
            if not is_expected(error):
                raise
            left_out.append(describe(error))
    _check_sizes(views)
    if len(views) < MIN_PHOTOS:
        why = f"; left out: {'; '.join(left_out[:3])}" if left_out else ""
        raise EdgeError(
            f"the board was found in {len(views)} photos, and {MIN_PHOTOS} are needed, better 15, "
            f"at various tilts and places{why}"
        )
    camera = _fit_camera(views)
    reach = _reach(views)
    _check_camera(camera, reach)
    rms, worst = _errors(camera.residuals)
    lengths = _held_out_lengths(views, board)
    calibration = replace(
        _calibration(camera, views[0], camera.rotations[0], camera.translations[0], board),
        reprojection_rms_px=rms,
        reprojection_max_px=max(worst),
        length_error_mean_percent=float(100 * (lengths.mean() / board.square_mm - 1)),
        length_error_max_percent=float(100 * np.abs(lengths / board.square_mm - 1).max()),
        photos=len(views),
        corners=sum(len(view.corners.photo_px) for view in views),
    )
    _check_inverse(calibration)
    return Fit(calibration, left_out, views[int(np.argmax(worst))].path, reach)


def _view(path: Path, board: Board) -> View:
    grey = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    try:
        return View(path, (width, height), board.find(np.asarray(grey, np.uint8)))
    except EdgeError as error:
        raise EdgeError(f"{path}: {error}") from None


def _check_sizes(views: Sequence[View]) -> None:
    first = views[0]
    for view in views:
        if view.image_size != first.image_size:
            (width, height), (first_width, first_height) = view.image_size, first.image_size
            raise EdgeError(
                f"{view.path}: is {width}x{height} px, but {first.path} is {first_width}x"
                f"{first_height}; take all photos with the camera set as in the runs"
            )


def _fit_camera(views: Sequence[View]) -> _Camera:
    board = [view.corners.board_mm for view in views]
    photo = [view.corners.photo_px for view in views]
    try:
        _, matrix, distortion, rotations, translations, deviations, _, _ = (
            cv2.calibrateCameraExtended(
                board, photo, views[0].image_size, np.eye(3), np.zeros(5), flags=_FLAGS
            )
        )
    except cv2.error:
        raise EdgeError(
            "no lens fits these photos; check --squares and --pattern, and tilt the board"
        ) from None
    residuals = []
    for points, seen, rotation, translation in zip(
        board, photo, rotations, translations, strict=True
    ):
        computed = cv2.projectPoints(points, rotation, translation, matrix, distortion)[0]
        residuals.append(np.asarray(computed, np.float64)[:, 0] - seen)
    return _Camera(
        np.asarray(matrix, np.float64),
        np.asarray(distortion, np.float64).ravel()[:5],
        [_matrix(rotation) for rotation in rotations],
        [np.asarray(translation, np.float64).ravel() for translation in translations],
        residuals,
        float(np.asarray(deviations).ravel()[0] / matrix[0, 0]),
    )


def _matrix(rotation: MatLike) -> NDArray[np.float64]:
    """3x3 of a rotation vector."""
    return np.asarray(cv2.Rodrigues(rotation)[0], np.float64)


def _errors(residuals: Sequence[NDArray[np.float64]]) -> tuple[float, list[float]]:
    """RMS over all corners, and the largest of each view, px."""
    distances = [np.linalg.norm(residual, axis=1) for residual in residuals]
    return (
        float(np.sqrt(np.mean(np.concatenate(distances) ** 2))),
        [float(distance.max()) for distance in distances],
    )


def _reach(views: Sequence[View]) -> float:
    """How far from the middle of the frame corners lie, over the way to the frame's corner: of the
    quadrant where it is least."""
    half = np.asarray(views[0].image_size) / 2
    points = np.concatenate([view.corners.photo_px for view in views]) - half
    reaches = []
    for sign in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        inside = points[(np.sign(points) == sign).all(axis=1)]
        distances = np.linalg.norm(inside, axis=1) / np.linalg.norm(half)
        reaches.append(float(distances.max(initial=0)))
    return min(reaches)


def _check_camera(camera: _Camera, reach: float) -> None:
    normals = np.stack([rotation[:, 2] for rotation in camera.rotations])
    tilt = float(np.degrees(np.arccos(np.minimum(np.abs(normals @ normals.T), 1))).max())
    if tilt < MIN_TILT_DEGREES:
        raise EdgeError(
            f"the photos differ by {tilt:.0f} degrees in tilt, which does not tell focal length "
            f"from distance; tilt the board by 20 to 40 degrees, each time another way"
        )
    if reach < MIN_REACH:
        raise EdgeError(
            f"the board's corners reach only {reach:.0%} of the way from the middle of the frame "
            f"to one of its corners, which does not tell the distortion there; move the board "
            f"into all four corners of the frame"
        )
    if not camera.focal_error < MAX_FOCAL_ERROR:
        raise EdgeError(
            f"the photos leave the focal length uncertain by {camera.focal_error:.0%}; take more, "
            f"with the board tilted by 20 to 40 degrees, each time another way"
        )


def _calibration(
    camera: _Camera,
    flat: View,
    rotation: NDArray[np.float64],
    translation: NDArray[np.float64],
    board: Board,
) -> Calibration:
    """Of a lens and the pose of the flat board; errors and counts are left at 0."""
    normal = rotation[:, 2]
    distance_mm = float(normal @ translation)
    normal, distance_mm = (-normal, -distance_mm) if distance_mm < 0 else (normal, distance_mm)
    unscaled = Calibration(
        image_size=flat.image_size,
        camera_matrix=tuple(tuple(map(float, row)) for row in camera.matrix),
        distortion=tuple(map(float, camera.distortion)),
        plane_normal=tuple(map(float, normal)),
        plane_distance_mm=distance_mm,
        mm_per_pixel=0.0,
        reprojection_rms_px=0.0,
        reprojection_max_px=0.0,
        length_error_mean_percent=0.0,
        length_error_max_percent=0.0,
        photos=0,
        corners=0,
        board=str(board),
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        opencv=cv2.__version__,
    )
    width, height = flat.image_size
    middle = np.array([[(width - 1) / 2, (height - 1) / 2]])
    return replace(unscaled, mm_per_pixel=float(unscaled.scales(middle)[0]))


def _held_out_lengths(views: Sequence[View], board: Board) -> NDArray[np.float64]:
    """The sides of the flat board's squares, mm, as measured without them: with the lens that the
    other photos tell, and the plane that the other half of the board does."""
    camera, flat = _fit_camera(views[1:]), views[0]
    corners = flat.corners
    left = corners.board_mm[:, 0] <= np.median(corners.board_mm[:, 0])
    lengths = []
    for half in (left, ~left):
        if on_a_line(corners.board_mm[half]) or on_a_line(corners.board_mm[~half]):
            raise EdgeError(f"{flat.path}: shows too little of the board; have all of it in view")
        _, rotation, translation = cv2.solvePnP(
            corners.board_mm[~half], corners.photo_px[~half], camera.matrix, camera.distortion
        )
        pose = _matrix(rotation), np.asarray(translation, np.float64).ravel()
        measured = _calibration(camera, flat, *pose, board)
        points_mm = measured.positions_mm(corners.photo_px[half].astype(np.float64))
        true_mm = corners.board_mm[half]
        true = np.linalg.norm(true_mm[:, np.newaxis] - true_mm, axis=2)
        a, b = np.nonzero(np.triu(np.abs(true - board.square_mm) < board.square_mm / 100))
        lengths.append(np.linalg.norm(points_mm[a] - points_mm[b], axis=1))
    return np.concatenate(lengths)


def _check_inverse(calibration: Calibration) -> None:
    """Whether the fitted distortion has an inverse out to the corners of the frame."""
    low, high = calibration.scale_range()
    if not (np.isfinite(low) and np.isfinite(high) and low > 0 and high < 4 * low):
        raise EdgeError(
            "the fitted lens makes no sense near the corners of the frame; take more photos with "
            "the board in the corners, all of them sharp (fisheye lenses are not supported)"
        )
