"""GenICam cameras, with the virtual ones that come with the GenICam package."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.cli import edge_run
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame
from edge.sources import open_source
from edge.sources.camera_settings import CameraSettings
from edge.sources.genicam import DRIVERS, cameras

genicam = pytest.importorskip("genicam")
pytest.importorskip("harvesters")
FOLDER = Path(genicam.__file__).parent


@pytest.fixture(autouse=True)
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not list(FOLDER.glob("*.cti")):
        pytest.skip("this GenICam package has no virtual camera")
    monkeypatch.setenv(DRIVERS, os.pathsep.join(["", str(FOLDER)]))
    return


def test_cameras_are_found_and_read() -> None:
    serial, name = cameras()[1]
    assert "Viky" in name
    source = open_source(f"genicam:{serial}")
    frames = iter(source)
    for index in range(3):
        frame = next(frames)
        assert isinstance(frame, Frame)
        assert (frame.index, frame.file) == (index, f"genicam_{serial}")
        assert frame.image.shape == (400, 400, 3)
        assert frame.image.dtype == np.uint8
    source.close()
    assert list(frames) == []
    assert source.problems == []
    result = CliRunner().invoke(edge_run, ["sources"])
    assert f"--source genicam:{serial}" in result.output


def test_settings_are_asked_for_and_read_back(caplog: pytest.LogCaptureFixture) -> None:
    asked = CameraSettings((2000, 300), 50, "Mono8", exposure_ms=3)
    source = open_source("genicam:0", asked)
    frames = iter(source)
    frame = next(frames)
    assert isinstance(frame, Frame)
    assert frame.image.shape == (300, 800, 3)
    assert (frame.image[..., 0] == frame.image[..., 2]).all()
    source.close()
    assert list(frames) == []
    said = "genicam:0: gives frames of 800x300, smaller than 2000x300"
    assert source.problems == [record.getMessage() for record in caplog.records] == [said]


def test_an_encoder_is_read_from_a_chunk() -> None:
    """The virtual camera counts the bounces of its ball, and has no other count."""
    source = open_source("genicam:0", CameraSettings(encoder="NrBounces"))
    frames = iter(source)
    frame = next(frames)
    assert isinstance(frame, Frame)
    assert isinstance(frame.encoder, float)
    source.close()
    assert list(frames) == []
    with pytest.raises(EdgeError, match="genicam:0: has no chunk EncoderValue"):
        open_source("genicam:0", CameraSettings(encoder="EncoderValue"))


def test_what_is_not_there() -> None:
    with pytest.raises(EdgeError, match="genicam:99: not there"):
        open_source("genicam:99")
    with pytest.raises(BadArgumentError, match="MJPG: is not read from GenICam cameras"):
        open_source("genicam:0", CameraSettings(pixel_format="MJPG"))


def test_a_driver_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DRIVERS)
    with pytest.raises(EdgeError, match=f"its folder in the variable {DRIVERS}"):
        open_source("genicam:0")
