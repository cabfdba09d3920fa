"""What OpenCV captures: video files, cameras and GStreamer pipelines."""

from __future__ import annotations

import os
from abc import abstractmethod

# FFmpeg's own complaints would stand between ours; it reads this when a capture is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.opencv import silence
from edge.sources.camera_settings import CameraSettings
from edge.sources.live import Picture
from edge.sources.local import LocalSource


def open_capture(source: str | int, backend: int = cv2.CAP_ANY) -> cv2.VideoCapture:
    """A capture; whether it is open is for the caller to ask. OpenCV's warnings are silenced."""
    silence()
    return cv2.VideoCapture(source, backend)


def read_rgb(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    """The next frame (H,W,3) uint8 RGB; None where it cannot be read, or at the end."""
    try:
        return _rgb(*capture.read())
    except cv2.error:
        return None


class CaptureSource(LocalSource):
    """A live source that OpenCV captures."""

    _capture: cv2.VideoCapture | None = None

    @abstractmethod
    def _opened(self) -> cv2.VideoCapture:
        """A capture, set up; whether it is open is for the caller to ask."""

    @abstractmethod
    def _missing(self) -> str:
        """What to say where it cannot be opened."""

    def _given(self, capture: cv2.VideoCapture, picture: Picture) -> CameraSettings:
        """What the camera gives, as far as it can be known."""
        height, width = picture.image.shape[:2]
        return CameraSettings(size_wh=(width, height))

    def _connect(self) -> None:
        self._capture = self._opened()
        if not self._capture.isOpened():
            self._disconnect()
            raise EdgeError(self._missing())

    def _read(self) -> Picture | None:
        capture = self._capture
        try:
            if capture is None or not capture.grab():
                raise EdgeError("it gives no frames")
            image = _rgb(*capture.retrieve())
        except cv2.error:
            return None
        if image is None:
            return None
        stream_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        picture = Picture(image, stream_s if stream_s > 0 else None)
        if not self._compared:
            self._compare(self._given(capture, picture))
        return picture

    def _disconnect(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _rgb(more: bool, image: cv2.typing.MatLike | None) -> NDArray[np.uint8] | None:
    if not more or image is None:
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
