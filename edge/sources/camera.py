"""Cameras by number, or by device on Linux."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame, SkippedFrame
from edge.sources.source import Source
from edge.sources.video import open_capture, read_rgb

# How long a camera that gives no frames is opened again, and how often.
GIVE_UP_S, RETRY_S = 10.0, 0.5

_log = logging.getLogger(__name__)


class CameraSource(Source):
    """Frames of a camera until the run is stopped, or the camera stays silent.

    Args:
        uri: a number or `/dev/videoN`.

    Raises:
        BadArgumentError: it is none of these.
    """

    live = True

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        number = re.fullmatch(r"(?:/dev/video)?(\d{1,4})", uri)
        if not number:
            raise BadArgumentError(f"{uri}: is no camera; give a number or /dev/videoN")
        self._number = int(number[1])
        self._name = f"camera{self._number}"
        self._closed = threading.Event()

    def open(self) -> None:
        """Raises EdgeError where there is no such camera."""
        if not self._opened():
            raise EdgeError(
                f"camera {self._number}: not there, or in use by another program; "
                f"on Linux 'ls /dev/video*' lists the cameras"
            )

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Raises EdgeError where the camera gives no frame for `GIVE_UP_S` seconds."""
        index = gaps = 0
        gaps_s = 0.0
        try:
            while not self._closed.is_set():
                image = read_rgb(self._capture)
                if image is None:
                    silent_since = time.time()
                    image = self._reopened()
                    if image is None:
                        break
                    gap_s = time.time() - silent_since
                    gaps, gaps_s = gaps + 1, gaps_s + gap_s
                    reason = f"no frame for {gap_s:.1f} s"
                    yield SkippedFrame(index, self._name, silent_since, "failed", reason)
                    index += 1
                yield Frame(image, index, self._name, time.time())
                index += 1
        finally:
            self._capture.release()
            if gaps:
                # One sentence for all: a camera may run for weeks.
                self.problems.append(
                    f"camera {self._number}: gave no frames {gaps} times, {gaps_s:.1f} s in all"
                )
        if not self._closed.is_set():
            raise EdgeError(f"camera {self._number}: stopped giving frames after {index}")

    def close(self) -> None:
        """As `Source.close`."""
        self._closed.set()

    def _opened(self) -> bool:
        self._capture = open_capture(self._number)
        # The newest frame, not one that waited in the driver's queue.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return self._capture.isOpened()

    def _reopened(self) -> NDArray[np.uint8] | None:
        """The first frame after a failed read; None where the camera stays silent."""
        _log.warning(
            "camera %d: no frames since %s, trying again", self._number, time.strftime("%H:%M:%S")
        )
        end_s = time.monotonic() + GIVE_UP_S
        image = read_rgb(self._capture)
        while image is None and time.monotonic() < end_s and not self._closed.wait(RETRY_S):
            self._capture.release()
            image = read_rgb(self._capture) if self._opened() else None
        return image
