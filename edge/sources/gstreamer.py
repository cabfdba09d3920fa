"""GStreamer pipelines, and with them the CSI cameras of a Jetson."""

from __future__ import annotations

import re
import threading
from fractions import Fraction

import cv2

from edge.errors import BadArgumentError, EdgeError
from edge.sources.address import without_credentials
from edge.sources.camera_settings import CameraSettings
from edge.sources.capture import CaptureSource, open_capture

# The newest frame, as soon as it is there.
APPSINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
START_TIMEOUT_S = 15.0
CSI_SIZE_WH, CSI_FPS = (1920, 1080), 30


def has_gstreamer() -> bool:
    """Whether OpenCV is built with GStreamer."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


class GStreamerSource(CaptureSource):
    """Frames of a pipeline; `videoconvert` and an `appsink` are put at its end where it has none.

    Args:
        pipeline: as for gst-launch-1.0.

    Raises:
        BadArgumentError: it is empty.
    """

    def __init__(self, pipeline: str, name: str = "gst") -> None:
        if not pipeline.strip():
            raise BadArgumentError("gst: needs a pipeline behind it, as for gst-launch-1.0")
        shown = f"gst:{without_credentials(pipeline)}" if name == "gst" else name
        super().__init__(shown, name)
        self._starting: threading.Thread | None = None
        self._pipeline = pipeline if "appsink" in pipeline else f"{pipeline} ! {APPSINK}"

    def open(self) -> None:
        """Raises EdgeError where OpenCV has no GStreamer, or the pipeline does not start."""
        if not has_gstreamer():
            raise EdgeError(
                f"{self.uri}: needs an OpenCV built with GStreamer, and that of pip is not; take "
                f"the system's: that of JetPack, or python3-opencv on Debian and Ubuntu"
            )
        super().open()

    def _opened(self) -> cv2.VideoCapture:
        # Where an element is missing, some versions of OpenCV wait for ever.
        if self._starting is None:
            self._starting = threading.Thread(target=self._start, name="gstreamer", daemon=True)
            self._starting.start()
        self._starting.join(START_TIMEOUT_S)
        if self._starting.is_alive():
            raise EdgeError(f"{self._missing()} (nothing came for {START_TIMEOUT_S:g} s)")
        self._starting = None
        return self._started

    def _start(self) -> None:
        self._started = open_capture(self._pipeline, cv2.CAP_GSTREAMER)

    def _missing(self) -> str:
        return f"{self.uri}: does not start; try it with gst-launch-1.0"


class CsiSource(GStreamerSource):
    """Frames of a CSI camera on a Jetson, through its image signal processor.

    Args:
        uri: number of the sensor.

    Raises:
        BadArgumentError: it is no number.
    """

    def __init__(self, uri: str) -> None:
        if not re.fullmatch(r"\d{1,2}", uri):
            raise BadArgumentError(f"csi:{uri}: is no camera; give the sensor's number, as csi:0")
        self._number = uri
        super().__init__(self._described(), f"csi{uri}")

    def configure(self, settings: CameraSettings) -> None:
        """Choose what it is asked for, before it is opened.

        Raises:
            BadArgumentError: a pixel format.
        """
        if settings.pixel_format:
            raise BadArgumentError(f"{self.uri}: the format of its frames cannot be chosen")
        self.settings = settings
        self._pipeline = self._described()

    def _described(self) -> str:
        """Its pipeline."""
        asked = getattr(self, "settings", CameraSettings())
        width, height = asked.size_wh or CSI_SIZE_WH
        rate = Fraction(asked.fps or CSI_FPS).limit_denominator(1001)
        source = f"nvarguscamerasrc sensor-id={self._number}"
        if asked.exposure_ms is not None:
            ns = round(asked.exposure_ms * 1e6)
            source += f' exposuretimerange="{ns} {ns}"'
        if asked.gain is not None:
            source += f' gainrange="{asked.gain:g} {asked.gain:g}"'
        return (
            f"{source} ! video/x-raw(memory:NVMM),width={width},height={height},"
            f"framerate={rate.numerator}/{rate.denominator} ! nvvidconv ! "
            f"video/x-raw,format=BGRx ! {APPSINK}"
        )

    def _missing(self) -> str:
        return (
            f"{self.uri}: no such camera, or no nvarguscamerasrc, which comes with JetPack; "
            f"'gst-inspect-1.0 nvarguscamerasrc' tells"
        )
