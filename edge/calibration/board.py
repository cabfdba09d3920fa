"""The board that photos show, and its corners in a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError

# Of a ChArUco board: its markers' dictionary, of 250, and the length of a marker over a square's.
# A marker is then 6 modules wide and a square 8, so that all edges lie on one grid.
DICTIONARY = "DICT_4X4_250"
MARKER_RATIO = 0.75
MODULES_PER_SQUARE = 8
# Fewer corners do not fix a pose well.
MIN_CORNERS = 12


@dataclass(frozen=True, eq=False)
class Corners:
    """The corners seen of a board: float32 (N,3) on the board, mm, and (N,2) in the photo, px."""

    board_mm: NDArray[np.float32]
    photo_px: NDArray[np.float32]


@dataclass(frozen=True)
class Board:
    """A board of `columns` x `rows` squares, black and white in turn; ChArUco boards have markers
    in the white ones.

    Raises:
        BadArgumentError: it is too small, or has more markers than the dictionary.
    """

    columns: int
    rows: int
    square_mm: float
    pattern: Literal["charuco", "chessboard"] = "charuco"

    def __post_init__(self) -> None:
        if min(self.columns, self.rows) < 5:
            raise BadArgumentError(f"{self.size}: a board needs at least 5x5 squares")
        if self.pattern == "charuco" and self.columns * self.rows // 2 > 250:
            raise BadArgumentError(f"{self.size}: a ChArUco board has at most 500 squares")

    @property
    def size(self) -> str:
        """Such as 11x8."""
        return f"{self.columns}x{self.rows}"

    def __str__(self) -> str:
        name = f"ChArUco board ({DICTIONARY})" if self.pattern == "charuco" else "chessboard"
        return f"{name} of {self.size} squares of {self.square_mm:g} mm"

    def modules(self) -> NDArray[np.bool_]:
        """The board as it is printed, True for black, `MODULES_PER_SQUARE` px a square."""
        if self.pattern == "chessboard":
            squares = np.indices((self.rows, self.columns)).sum(axis=0) % 2 == 0
            return np.kron(squares, np.ones((MODULES_PER_SQUARE,) * 2, bool))
        size = (self.columns * MODULES_PER_SQUARE, self.rows * MODULES_PER_SQUARE)
        return np.asarray(self._charuco().generateImage(size)) < 128

    def find(self, grey: NDArray[np.uint8]) -> Corners:
        """The board's inner corners in a photo, uint8 (H,W).

        Raises:
            EdgeError: it shows no such board, or too little of it.
        """
        corners = self._find_charuco(grey) if self.pattern == "charuco" else self._find_chess(grey)
        if len(corners.photo_px) < MIN_CORNERS or on_a_line(corners.board_mm):
            raise EdgeError(
                f"shows only {len(corners.photo_px)} corners of the {self}; have at least "
                f"{MIN_CORNERS} in view, sharp and evenly lit"
            )
        return corners

    def _find_chess(self, grey: NDArray[np.uint8]) -> Corners:
        inner = (self.columns - 1, self.rows - 1)
        flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
        found, corners = cv2.findChessboardCornersSB(grey, inner, flags=flags)
        if not found:
            raise EdgeError(
                f"no {self} found; all of it must be in view, with a white margin (a board of "
                f"{self.size} squares has {inner[0]}x{inner[1]} inner corners)"
            )
        y, x = np.divmod(np.arange(inner[0] * inner[1]), inner[0])
        board_mm = np.stack([x, y, np.zeros_like(x)], axis=1).astype(np.float32) * self.square_mm
        return Corners(board_mm.astype(np.float32), np.asarray(corners, np.float32).reshape(-1, 2))

    def _find_charuco(self, grey: NDArray[np.uint8]) -> Corners:
        board = self._charuco()
        corners, ids, _, markers = cv2.aruco.CharucoDetector(board).detectBoard(grey)
        seen = 0 if markers is None else len(markers)
        if markers is not None and markers.max() >= self.columns * self.rows // 2:
            raise EdgeError(f"shows a larger board than a {self}; count its squares again")
        if corners is None or ids is None:
            hint = "check the number of squares" if seen >= 4 else "have it in view, sharp"
            raise EdgeError(f"no {self} found, {seen} of its markers; {hint}")
        all_corners = np.asarray(board.getChessboardCorners(), np.float32)
        return Corners(all_corners[ids.ravel()], np.asarray(corners, np.float32).reshape(-1, 2))

    def _charuco(self) -> cv2.aruco.CharucoBoard:
        if not hasattr(cv2, "aruco") or not hasattr(cv2.aruco, "CharucoDetector"):
            raise EdgeError(
                f"OpenCV {cv2.__version__} cannot find ChArUco boards; calibrate where there is "
                f"OpenCV 4.7 or later (the file is good here too), or use a chessboard"
            )
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
        size, marker_mm = (self.columns, self.rows), self.square_mm * MARKER_RATIO
        return cv2.aruco.CharucoBoard(size, self.square_mm, marker_mm, dictionary)


def on_a_line(board_mm: NDArray[np.float32]) -> bool:
    """Whether points (N,3) of a board do not span it, and so tell no pose."""
    centred = board_mm[:, :2] - board_mm[:, :2].mean(axis=0)
    return bool(np.linalg.matrix_rank(centred, tol=1e-3) < 2)
