"""Cameras. There is none where tests run, so the capture of OpenCV is played."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from edge.cli import edge_run
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame, SkippedFrame
from edge.sources import open_source, v4l2
from edge.sources.camera import CameraSource
from edge.sources.camera_settings import CameraSettings
from edge.sources.gstreamer import CsiSource, has_gstreamer
from edge.sources.source import State


class Camera:
    """cv2.VideoCapture of `script`: a letter per read, "." a frame, "?" one that cannot be decoded
    and "x" a failure. It gives at most 64x48 px, and knows no gain."""

    def __init__(self, script: str) -> None:
        self._script, self._reads = script, 0
        self.released = False
        self.properties = {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0}

    def isOpened(self) -> bool:  # noqa: N802
        return bool(self._script)

    def get(self, key: int) -> float:
        return self._reads * 40 if key == cv2.CAP_PROP_POS_MSEC else self.properties.get(key, -1)

    def set(self, key: int, value: float) -> bool:
        greatest = {cv2.CAP_PROP_FRAME_WIDTH: 64, cv2.CAP_PROP_FRAME_HEIGHT: 48}.get(key, value)
        if key != cv2.CAP_PROP_GAIN:
            self.properties[key] = min(value, greatest)
        return True

    def grab(self) -> bool:
        self._reads += 1
        return self._letter() in (".", "?")

    def retrieve(self) -> tuple[bool, NDArray[np.uint8] | None]:
        width, height = (int(self.properties[key]) for key in (3, 4))
        image = np.full((height, width, 3), self._reads, np.uint8)
        return (True, image) if self._letter() == "." else (False, None)

    def release(self) -> None:
        self.released = True

    def _letter(self) -> str:
        return self._script[self._reads - 1 : self._reads]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.live.RETRY_S", 0.005)


def play(monkeypatch: pytest.MonkeyPatch, *scripts: str) -> list[Camera]:
    """What the next captures are; later ones are not there."""
    captures = [Camera(script) for script in scripts]
    left = iter(captures)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: next(left, Camera("")))
    return captures


def test_a_camera_is_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edge")
    captures = play(monkeypatch, "..x", "", "x", ".?.")
    source = open_source("/dev/video3")
    frames: Iterator[Frame | SkippedFrame] = iter(source)
    found = [next(frames) for _ in range(6)]
    assert "".join("." if isinstance(frame, Frame) else "f" for frame in found) == "..f.f."
    assert [frame.index for frame in found] == list(range(6))
    times = [frame.time_s for frame in found if isinstance(frame, Frame)]
    assert times == sorted(times)
    (status,) = source.statuses()
    assert (status.state, status.reconnects, status.decode_errors) == (State.LIVE, 1, 1)
    source.close()
    assert list(frames) == []
    assert source.problems[0].startswith("camera3: lost once, ")
    assert source.problems[1] == "camera3: 1 frame could not be decoded"
    assert all(capture.released for capture in captures)
    # One line per change, however many attempts, and the damaged frame.
    assert [record.levelname for record in caplog.records] == [
        "INFO",
        "WARNING",
        "WARNING",
        "WARNING",
    ]
    assert caplog.records[2].getMessage() == "camera3: live again"


def test_a_silent_camera_can_be_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "x")
    source = open_source("0", give_up_s=0.1)
    with pytest.raises(EdgeError, match=r"camera0: no frame for 0\.\d s; given up \(camera0: not"):
        list(source)


def test_close_ends_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr("edge.sources.live.RETRY_S", 600)
    monkeypatch.setattr("edge.sources.live.MAX_RETRY_S", 600)
    play(monkeypatch, ".x")
    source = open_source("0")
    timer = threading.Timer(0.2, source.close)
    timer.start()
    assert len(list(source)) == 1
    timer.join()
    assert "lost at the end" in source.problems[0]


@pytest.mark.skipif(sys.platform != "linux", reason="exposures are set on Linux only")
def test_settings_are_read_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (camera,) = play(monkeypatch, "...")
    asked = CameraSettings((1920, 1080), 30, "MJPG", exposure_ms=5, gain=7)
    source = open_source("0", asked)
    assert camera.properties[cv2.CAP_PROP_EXPOSURE] == 50
    assert camera.properties[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    camera.properties[cv2.CAP_PROP_FPS] = 15
    frames = iter(source)
    next(frames)
    next(frames)
    said = [
        "camera0: gives frames of 64x48, smaller than 1920x1080",
        "camera0: gives fps 15, not 30",
    ]
    assert [record.getMessage() for record in caplog.records] == said
    assert source.problems == said
    source.close()


def test_settings_need_a_camera(tmp_path: Path) -> None:
    with pytest.raises(BadArgumentError, match="is no camera whose size"):
        open_source("http://127.0.0.1:9/x", CameraSettings(fps=3))
    with pytest.raises(BadArgumentError, match="csi0: the format of its frames cannot be chosen"):
        open_source("csi:0", CameraSettings(pixel_format="NV12"))


def test_the_pipeline_of_a_csi_camera() -> None:
    source = CsiSource("1")
    source.configure(CameraSettings((1280, 720), 29.97, None, 8, 2))
    assert source._pipeline.startswith(
        'nvarguscamerasrc sensor-id=1 exposuretimerange="8000000 8000000" gainrange="2 2" ! '
        "video/x-raw(memory:NVMM),width=1280,height=720,framerate=2997/100 ! nvvidconv ! "
    )


def test_pipelines(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = "gst:videotestsrc is-live=true ! video/x-raw,width=80,height=60"
    if not has_gstreamer():
        with pytest.raises(EdgeError, match="needs an OpenCV built with GStreamer"):
            open_source(pipeline)
        return
    source = open_source(pipeline)
    frames = iter(source)
    found = [next(frames) for _ in range(3)]
    assert all(isinstance(f, Frame) and f.image.shape == (60, 80, 3) for f in found)
    source.close()
    monkeypatch.setattr("edge.sources.gstreamer.START_TIMEOUT_S", 2)
    with pytest.raises(EdgeError, match="does not start"):
        open_source("gst:nothing-of-this-name")


def test_the_structures_of_v4l2_have_their_sizes() -> None:
    # A control code holds the size of its structure.
    import ctypes

    for kind in (v4l2._Capability, v4l2._Format, v4l2._FrameSize, v4l2._FrameInterval):
        assert kind.code >> 16 & 0x3FFF == ctypes.sizeof(kind)


def test_cameras_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("video0", "video1", "video10", "video2x"):
        (tmp_path / name).touch()

    def answer(file: int, code: int, entry: object) -> None:
        if isinstance(entry, v4l2._Capability):
            number = Path(f"/proc/self/fd/{file}").resolve().name
            entry.card[:3] = b"Cam"
            entry.capabilities = v4l2.DEVICE_CAPS
            entry.device_caps = 0x800000 if number == "video1" else v4l2.VIDEO_CAPTURE
        elif entry.index > (not isinstance(entry, v4l2._Format)):  # type: ignore[attr-defined]
            raise OSError
        elif isinstance(entry, v4l2._Format):
            entry.pixelformat = int.from_bytes(b"MJPG", "little")
        elif isinstance(entry, v4l2._FrameSize):
            entry.type = v4l2.DISCRETE
            entry.size[:2] = (640, 480) if entry.index else (1920, 1080)
        elif isinstance(entry, v4l2._FrameInterval):
            entry.type = v4l2.DISCRETE
            entry.interval[:2] = (1, 15 + 15 * entry.index)

    monkeypatch.setattr(v4l2.fcntl, "ioctl", answer)
    found = v4l2.devices(tmp_path)
    assert [device.path.name for device in found] == ["video0", "video10"]
    assert found[0].name == "Cam"
    assert [str(mode) for mode in found[0].modes] == [
        "MJPG 1920x1080 at 30, 15 FPS",
        "MJPG 640x480 at 30, 15 FPS",
    ]


def test_what_can_be_read_is_listed() -> None:
    result = CliRunner().invoke(edge_run, ["sources"])
    assert result.exit_code == 0, result.output
    for words in ("--camera", "genicam:", "rtsp://", "gst:PIPELINE"):
        assert words in result.output


def test_a_camera_is_a_number_or_a_device() -> None:
    assert CameraSource("/dev/video12").uri == "camera12"
    assert CameraSource("/dev/v4l/by-id/usb-cam").uri == "/dev/v4l/by-id/usb-cam"
    with pytest.raises(BadArgumentError, match="front: is no camera"):
        CameraSource("front")
