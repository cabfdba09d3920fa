"""Cameras by number, or by device on Linux."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

import cv2

from edge.errors import BadArgumentError
from edge.sources.camera_settings import CameraSettings
from edge.sources.capture import CaptureSource, open_capture
from edge.sources.live import Picture

# Of exposures in V4L2, per millisecond.
EXPOSURE_STEPS = 10
# V4L2's V4L2_EXPOSURE_MANUAL.
MANUAL_EXPOSURE = 1


# Cameras are numbered without great gaps.
MAX_NUMBER = 10


@dataclass(frozen=True)
class Camera:
    """A camera that is there.

    Attributes:
        modes: formats, sizes and rates, in words; empty where they cannot be asked for.
    """

    number: int
    name: str
    modes: tuple[str, ...] = ()


def list_cameras() -> list[Camera]:
    """On Linux what the system knows; elsewhere the numbers that can be opened."""
    if sys.platform == "linux":
        from edge.sources import v4l2

        return [
            Camera(int(found.path.name[5:]), found.name, tuple(map(str, found.modes)))
            for found in v4l2.devices()
        ]
    return [camera for camera in map(_tried, range(MAX_NUMBER)) if camera]


def _tried(number: int) -> Camera | None:
    capture = open_capture(number)
    opened = capture.isOpened()
    capture.release()
    return Camera(number, "a camera") if opened else None


class CameraSource(CaptureSource):
    """Frames of a USB or V4L2 camera.

    Args:
        uri: a number, `/dev/videoN`, or another path of such a device, as in /dev/v4l/by-id/.

    Raises:
        BadArgumentError: it is none of these.
    """

    def __init__(self, uri: str) -> None:
        number = re.fullmatch(r"(?:/dev/video)?(\d{1,4})", uri)
        if not number and not uri.startswith("/dev/"):
            raise BadArgumentError(f"{uri}: is no camera; give a number or /dev/videoN")
        self._device: int | str = int(number[1]) if number else uri
        shown = f"camera{self._device}" if number else uri
        super().__init__(shown, shown)

    def configure(self, settings: CameraSettings) -> None:
        """Choose what it is asked for, before it is opened.

        Raises:
            BadArgumentError: an exposure where it is not counted in milliseconds, or a pixel
                format that is no FOURCC.
        """
        if settings.exposure_ms is not None and sys.platform != "linux":
            raise BadArgumentError(f"{self.uri}: the exposure can be set on Linux only")
        if settings.pixel_format and len(settings.pixel_format) != 4:
            raise BadArgumentError(
                f"{settings.pixel_format}: is no format of four letters such as MJPG or YUYV"
            )
        self.settings = settings

    def _opened(self) -> cv2.VideoCapture:
        capture = open_capture(self._device)
        asked = self.settings
        # The format first, since it decides on the sizes, and the size, which decides on the rates.
        if asked.pixel_format:
            fourcc = cv2.VideoWriter.fourcc(*asked.pixel_format)
            capture.set(cv2.CAP_PROP_FOURCC, fourcc)
        if asked.size_wh:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, asked.size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, asked.size_wh[1])
        if asked.fps:
            capture.set(cv2.CAP_PROP_FPS, asked.fps)
        if asked.exposure_ms is not None:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, MANUAL_EXPOSURE)
            capture.set(cv2.CAP_PROP_EXPOSURE, round(asked.exposure_ms * EXPOSURE_STEPS))
        if asked.gain is not None:
            capture.set(cv2.CAP_PROP_GAIN, asked.gain)
        # The newest frame, not one that waited in the driver's queue.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture

    def _missing(self) -> str:
        return (
            f"{self.uri}: not there, or in use by another program; "
            f"'edge-run sources' lists the cameras"
        )

    def _given(self, capture: cv2.VideoCapture, picture: Picture) -> CameraSettings:
        fourcc = int(capture.get(cv2.CAP_PROP_FOURCC))
        letters = fourcc.to_bytes(4, "little").decode("ascii", "replace") if fourcc > 0 else None
        return CameraSettings(
            super()._given(capture, picture).size_wh,
            _positive(capture.get(cv2.CAP_PROP_FPS)),
            letters,
            _at_least(capture.get(cv2.CAP_PROP_EXPOSURE) / EXPOSURE_STEPS),
            _at_least(capture.get(cv2.CAP_PROP_GAIN)),
        )


def _positive(value: float) -> float | None:
    return value if value > 0 else None


def _at_least(value: float) -> float | None:
    """OpenCV gives -1 for what it does not know."""
    return value if value >= 0 else None
