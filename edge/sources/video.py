"""Video files, and what they share with cameras."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# FFmpeg's own complaints would stand between ours; it reads this when a capture is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ToolError
from edge.frame import Frame


def open_capture(source: str | int) -> cv2.VideoCapture:
    """A capture; whether it is open is for the caller to ask. OpenCV's warnings are silenced."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(source)


def read_rgb(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """The next frame (H,W,3) uint8 RGB; None at the end."""
    more, image = capture.read()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) if more else None


class VideoSource:
    """Every frame of a video file.

    Raises:
        ToolError: the file is no video that OpenCV can read.
    """

    time_base = "clip"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = open_capture(str(path))
        if not self._capture.isOpened():
            raise ToolError(f"{path}: neither an image nor a video that OpenCV can read")
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.total = count if count > 0 else None
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Raises ToolError where the file holds no frame."""
        index = 0
        try:
            while (image := read_rgb(self._capture)) is not None:
                time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield Frame(image, index, self._path.stem, time_s)
                index += 1
        finally:
            self._capture.release()
        if not index:
            raise ToolError(f"{self._path}: holds no readable frame")
