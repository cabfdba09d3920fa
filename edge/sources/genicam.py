"""GenICam cameras (GigE Vision, USB3 Vision, ...) through Harvester and the vendor's driver."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError, describe, require_extra
from edge.sources.camera_settings import CameraSettings
from edge.sources.live import Picture
from edge.sources.local import LocalSource

# Where the GenTL standard has drivers name their folders.
DRIVERS = "GENICAM_GENTL64_PATH"
READ_TIMEOUT_S = 10.0
# By pixel format: channels, and the conversion to RGB.
FORMATS: dict[str, tuple[int, int | None]] = {
    "Mono8": (1, cv2.COLOR_GRAY2RGB),
    "RGB8": (3, None),
    "BGR8": (3, cv2.COLOR_BGR2RGB),
    "RGBa8": (4, cv2.COLOR_RGBA2RGB),
    "BGRa8": (4, cv2.COLOR_BGRA2RGB),
    "BayerRG8": (1, cv2.COLOR_BayerRGGB2RGB),
    "BayerBG8": (1, cv2.COLOR_BayerBGGR2RGB),
    "BayerGR8": (1, cv2.COLOR_BayerGRBG2RGB),
    "BayerGB8": (1, cv2.COLOR_BayerGBRG2RGB),
}


def cameras() -> list[tuple[str, str]]:
    """(serial number or id, vendor and model) of each camera that the drivers find.

    Raises:
        MissingExtraError: harvesters is not installed.
        EdgeError: there is no driver.
    """
    harvester = _harvester()
    try:
        return [(_names(info)[0], info.display_name) for info in harvester.device_info_list]
    finally:
        harvester.reset()


class GenicamSource(LocalSource):
    """Frames of a GenICam camera in a pixel format of 8 bits.

    Args:
        uri: serial number, id or user-defined name; or its number in the list of `cameras`.

    Raises:
        BadArgumentError: it is empty.
    """

    def __init__(self, uri: str) -> None:
        if not uri.strip():
            raise BadArgumentError("genicam: needs a camera's serial number behind it")
        super().__init__(f"genicam:{uri}", f"genicam_{uri}")
        self._wanted = uri
        self._harvester: Any = None
        self._camera: Any = None

    def configure(self, settings: CameraSettings) -> None:
        """Choose what it is asked for, before it is opened.

        Raises:
            BadArgumentError: a pixel format that is not read.
        """
        if settings.pixel_format and settings.pixel_format not in FORMATS:
            raise BadArgumentError(
                f"{settings.pixel_format}: is not read from GenICam cameras; "
                f"give one of {', '.join(FORMATS)}"
            )
        self.settings = settings

    def _connect(self) -> None:
        self._harvester = _harvester()
        try:
            infos = self._harvester.device_info_list
            found = [i for i, info in enumerate(infos) if self._wanted in _names(info)]
            if not found and self._wanted.isdecimal() and int(self._wanted) < len(infos):
                found = [int(self._wanted)]
            if not found:
                raise EdgeError(
                    f"{self.uri}: not there, or in use by another program; "
                    f"'edge-run sources' lists the cameras"
                )
            self._camera = self._harvester.create(found[0])
            self._set_up()
            self._camera.start()
        except EdgeError:
            self._disconnect()
            raise
        except Exception as error:
            self._disconnect()
            raise self._expected(error) from error

    def _set_up(self) -> None:
        """Ask for the settings, each within what the camera can do."""
        nodes, asked = self._camera.remote_device.node_map, self.settings
        if asked.pixel_format:
            nodes.PixelFormat.value = asked.pixel_format
        if asked.size_wh:
            _set(nodes, "Width", asked.size_wh[0])
            _set(nodes, "Height", asked.size_wh[1])
        if asked.fps:
            _set(nodes, "AcquisitionFrameRateEnable", True)
            _set(nodes, "AcquisitionFrameRate", asked.fps)
        if asked.exposure_ms is not None:
            _set(nodes, "ExposureAuto", "Off")
            _set(nodes, "ExposureTime", asked.exposure_ms * 1000)
        if asked.gain is not None:
            _set(nodes, "GainAuto", "Off")
            _set(nodes, "Gain", asked.gain)
        if asked.encoder:
            if not nodes.has_node(f"Chunk{asked.encoder}"):
                raise EdgeError(f"{self.uri}: has no chunk {asked.encoder} for an encoder's counts")
            _set(nodes, "ChunkModeActive", True)
            _set(nodes, "ChunkSelector", asked.encoder)
            _set(nodes, "ChunkEnable", True)

    def _read(self) -> Picture | None:
        try:
            # Polled often, since the default adds up to 10 ms to every frame.
            buffer = self._camera.fetch(timeout=READ_TIMEOUT_S, cycle_s=0.001)
            if buffer is None:
                return None
            with buffer:
                # By a clock of the camera.
                taken_ns = _told(buffer, "timestamp_ns")
                image = self._rgb(buffer.payload.components[0])
                encoder = self._encoder()
        except EdgeError:
            raise
        except Exception as error:
            raise self._expected(error) from error
        picture = Picture(image, taken_ns / 1e9 if taken_ns else None, encoder)
        if not self._compared:
            self._compare(self._given(picture))
        return picture

    def _encoder(self) -> float | None:
        """Of the frame that was fetched last."""
        if not self.settings.encoder:
            return None
        nodes = self._camera.remote_device.node_map
        value = _value(nodes, f"Chunk{self.settings.encoder}")
        return None if value is None else float(value)

    def _rgb(self, component: Any) -> NDArray[np.uint8]:
        """A copy, since the buffer is filled again."""
        if component.data_format not in FORMATS:
            raise EdgeError(
                f"{self.uri}: pixel format {component.data_format} is not read; "
                f"choose one of {', '.join(FORMATS)}"
            )
        channels, conversion = FORMATS[component.data_format]
        image = component.data.reshape(component.height, component.width, channels)
        if conversion is None:
            return np.array(image, np.uint8)
        return np.asarray(cv2.cvtColor(image, conversion), np.uint8)

    def _given(self, picture: Picture) -> CameraSettings:
        nodes = self._camera.remote_device.node_map
        height, width = picture.image.shape[:2]
        exposure_us = _value(nodes, "ExposureTime")
        return CameraSettings(
            (width, height),
            _value(nodes, "AcquisitionFrameRate"),
            _value(nodes, "PixelFormat"),
            None if exposure_us is None else exposure_us / 1000,
            _value(nodes, "Gain"),
        )

    def _disconnect(self) -> None:
        try:
            if self._camera is not None:
                self._camera.destroy()
            if self._harvester is not None:
                self._harvester.reset()
        except Exception as error:
            self._expected(error)  # a camera that was pulled out
        finally:
            self._camera = self._harvester = None

    def _expected(self, error: Exception) -> EdgeError:
        """What a driver raised, as ours; an error of this package is raised as it is."""
        from genicam import genapi, gentl

        if isinstance(error, gentl.TimeoutException):
            return EdgeError(f"no frame for {READ_TIMEOUT_S:g} s")
        if isinstance(error, genapi.GenericException | gentl.GenericException):
            return EdgeError(f"{self.uri}: {describe(error)}")
        raise error


def _harvester() -> Any:
    """Of every driver, with what they find."""
    with require_extra("genicam"):
        from harvesters.core import Harvester
    folders = [Path(p) for p in os.environ.get(DRIVERS, "").split(os.pathsep) if p]
    drivers = [driver for folder in folders for driver in sorted(folder.glob("*.cti"))]
    if not drivers:
        raise EdgeError(
            f"GenICam cameras need the driver of their vendor (a GenTL producer, *.cti), "
            f"and its folder in the variable {DRIVERS}"
        )
    harvester = Harvester()
    for driver in drivers:
        harvester.add_file(str(driver))
    harvester.update()
    return harvester


def _names(info: Any) -> list[str]:
    """What a camera may be called by, the usual first."""
    names = (_told(info, name) for name in ("serial_number", "id_", "user_defined_name"))
    return [name for name in names if name]


def _told(thing: Any, name: str) -> Any:
    """An attribute that not every driver knows; None where this one does not."""
    from genicam import gentl

    try:
        return getattr(thing, name)
    except gentl.GenericException:
        return None


def _set(nodes: Any, name: str, value: float | str | bool) -> None:
    """Set a feature to what comes nearest; a camera that lacks it is left as it is."""
    if not nodes.has_node(name):
        return
    node = getattr(nodes, name)
    if not isinstance(value, str | bool):
        value = min(max(value, node.min), node.max)
        if isinstance(node.min, int):
            value = node.min + (int(value) - node.min) // node.inc * node.inc
    node.value = value


def _value(nodes: Any, name: str) -> Any:
    """Of a feature; None where the camera lacks it."""
    return getattr(nodes, name).value if nodes.has_node(name) else None
