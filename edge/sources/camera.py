"""Cameras by number."""

from __future__ import annotations

import time
from collections.abc import Iterator

import cv2

from edge.errors import ToolError
from edge.frame import Frame
from edge.sources.video import open_capture, read_rgb


class CameraSource:
    """Frames of camera `number` until it stops or the run is interrupted.

    Raises:
        ToolError: there is no such camera.
    """

    time_base = "unix"
    total: int | None = None

    def __init__(self, number: int) -> None:
        self._number = number
        self._capture = open_capture(number)
        if not self._capture.isOpened():
            raise ToolError(
                f"camera {number}: not there, or in use by another program; "
                f"on Linux 'ls /dev/video*' lists the cameras"
            )
        # The newest frame, not one that waited in the driver's queue.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Raises ToolError where the camera stops giving frames."""
        index = 0
        try:
            while (image := read_rgb(self._capture)) is not None:
                yield Frame(image, index, f"camera{self._number}", time.time())
                index += 1
        finally:
            self._capture.release()
        raise ToolError(f"camera {self._number}: stopped giving frames after {index}")
