"""Photos of a board, rendered through a known camera."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.calibration.board import MODULES_PER_SQUARE, Board

# px of the board's picture a module.
MODULE_PX = 12
# Each way in a pixel.
RAYS = 2


@dataclass(frozen=True)
class Camera:
    """A lens above a belt, `distance_mm` away; k1, k2, p1, p2, k3."""

    width: int = 640
    height: int = 480
    focal_px: float = 800.0
    distance_mm: float = 200.0
    distortion: tuple[float, ...] = (-0.25, 0.08, 0.001, -0.0015, 0.0)

    @property
    def matrix(self) -> NDArray[np.float64]:
        middle = (self.width - 1) / 2 + 3.5, (self.height - 1) / 2 - 2.5
        return np.array(
            [[self.focal_px, 0, middle[0]], [0, self.focal_px, middle[1]], [0, 0, 1]], float
        )

    @cached_property
    def rays(self) -> NDArray[np.float64]:
        """Where pixels look, (N,3), `RAYS` x `RAYS` of each."""
        x, y = np.meshgrid(
            (np.arange(self.width * RAYS) + 0.5) / RAYS - 0.5,
            (np.arange(self.height * RAYS) + 0.5) / RAYS - 0.5,
        )
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)[:, np.newaxis]
        undistort: Any = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
        same, steps = np.eye(3), (3, 50, 1e-9)
        flat = undistort(
            pixels, self.matrix, np.array(self.distortion), R=same, P=same, criteria=steps
        )
        return np.concatenate([flat[:, 0], np.ones((len(flat), 1))], axis=1)

    def pose(
        self,
        board: Board,
        tilt: tuple[float, float] = (0, 0),
        turn: float = 0,
        move_mm: tuple[float, float] = (0, 0),
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rotation and translation of a board whose middle is in the middle of the frame, tilted
        by degrees, turned in its plane, and moved."""  # fmt: skip
        rx, ry, rz = (
            cv2.Rodrigues(np.radians(angle) * axis)[0]
            for angle, axis in zip((*tilt, turn), np.eye(3), strict=True)
        )
        rotation = rx @ ry @ rz
        half = np.array([board.columns, board.rows, 0]) * board.square_mm / 2
        return rotation, np.array([*move_mm, self.distance_mm]) - rotation @ half

    def photo(
        self, board: Board, rotation: NDArray[np.float64], translation: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """uint8 (H,W): each pixel looks along its own ray at the board."""
        rays = self.rays @ rotation
        origin = translation @ rotation
        on_board = rays * (origin[2] / rays[:, 2])[:, np.newaxis] - origin
        picture = np.kron(board.modules(), np.ones((MODULE_PX,) * 2, bool))
        picture = np.where(picture, 30, 220).astype(np.uint8)
        at = (on_board[:, :2] / board.square_mm * MODULES_PER_SQUARE * MODULE_PX - 0.5).astype(
            np.float32
        )
        shape = (self.height * RAYS, self.width * RAYS)
        shown = cv2.remap(
            picture, at[:, 0].reshape(shape), at[:, 1].reshape(shape), cv2.INTER_LINEAR,
            borderValue=(220,),
        )  # fmt: skip
        shown = cv2.resize(shown, (self.width, self.height), interpolation=cv2.INTER_AREA)
        noise = np.random.default_rng(0).normal(0, 2, shown.shape)
        return np.clip(shown + noise, 0, 255).astype(np.uint8)


# Tilts in degrees and moves in mm, of photos that tell a lens well.
POSES = [
    ((30, 0), 0, (-30, -20)), ((-30, 0), 5, (30, 20)), ((0, 30), -5, (30, -20)),
    ((0, -30), 0, (-30, 20)), ((20, 20), 10, (0, 0)), ((-20, 20), 0, (25, 25)),
    ((20, -20), -10, (-25, 25)), ((-20, -20), 0, (-25, -25)), ((25, 10), 90, (10, 0)),
]  # fmt: skip
