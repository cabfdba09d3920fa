"""Cameras that Linux knows, by the Video4Linux API (linux/videodev2.h)."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from ctypes import c_uint8, c_uint32
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

VIDEO_CAPTURE, DEVICE_CAPS = 0x1, 0x80000000
DISCRETE = 1
# What drivers list is short; this ends the list of one that never says that it is over.
MAX_ENTRIES = 256


@dataclass(frozen=True)
class Mode:
    """A format and size of a camera.

    Attributes:
        pixel_format: FOURCC.
        size_wh: (width, height), px; where sizes are continuous, the largest.
        fps: frame rates, the highest first; empty where the driver does not tell.
    """

    pixel_format: str
    size_wh: tuple[int, int]
    fps: tuple[float, ...]

    def __str__(self) -> str:
        width, height = self.size_wh
        rates = ", ".join(f"{rate:g}" for rate in self.fps)
        return f"{self.pixel_format} {width}x{height}" + (f" at {rates} FPS" if rates else "")


@dataclass(frozen=True)
class Device:
    """A capture device."""

    path: Path
    name: str
    modes: tuple[Mode, ...]


class _Capability(ctypes.Structure):
    code: ClassVar[int] = 0x80685600  # VIDIOC_QUERYCAP
    _fields_ = (
        ("driver", c_uint8 * 16),
        ("card", c_uint8 * 32),
        ("bus_info", c_uint8 * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class _Format(ctypes.Structure):
    code: ClassVar[int] = 0xC0405602  # VIDIOC_ENUM_FMT
    _fields_ = (
        ("index", c_uint32),
        ("type", c_uint32),
        ("flags", c_uint32),
        ("description", c_uint8 * 32),
        ("pixelformat", c_uint32),
        ("mbus_code", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class _FrameSize(ctypes.Structure):
    code: ClassVar[int] = 0xC02C564A  # VIDIOC_ENUM_FRAMESIZES
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("type", c_uint32),
        # Discrete: width, height. Else: least and greatest width and their step, then of heights.
        ("size", c_uint32 * 6),
        ("reserved", c_uint32 * 2),
    )


class _FrameInterval(ctypes.Structure):
    code: ClassVar[int] = 0xC034564B  # VIDIOC_ENUM_FRAMEINTERVALS
    _fields_ = (
        ("index", c_uint32),
        ("pixel_format", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("type", c_uint32),
        # Fractions of seconds; of a range, the least and the greatest interval and their step.
        ("interval", c_uint32 * 6),
        ("reserved", c_uint32 * 2),
    )


_Entry = TypeVar("_Entry", _Format, _FrameSize, _FrameInterval)


def devices(folder: Path = Path("/dev")) -> list[Device]:
    """The cameras, by number; what cannot be asked, such as one without permission, is left out."""
    paths = [p for p in folder.glob("video*") if p.name.removeprefix("video").isdecimal()]
    found = (_device(path) for path in sorted(paths, key=lambda p: int(p.name[5:])))
    return [device for device in found if device]


def _device(path: Path) -> Device | None:
    """None where it captures no video: many cameras have a second device, for metadata."""
    try:
        file = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        capability = _Capability()
        fcntl.ioctl(file, capability.code, capability)
        own = capability.capabilities & DEVICE_CAPS
        if not (capability.device_caps if own else capability.capabilities) & VIDEO_CAPTURE:
            return None
        card = bytes(capability.card).split(b"\0")[0].decode(errors="replace")
        return Device(path, card, tuple(_modes(file)))
    except OSError:
        return None
    finally:
        os.close(file)


def _modes(file: int) -> Iterator[Mode]:
    for form in _entries(file, _Format, type=1):
        code = form.pixelformat
        name = (code & 0x7FFFFFFF).to_bytes(4, "little").decode("ascii", "replace").strip()
        for entry in _entries(file, _FrameSize, pixel_format=code):
            size = entry.size
            width, height = (size[0], size[1]) if entry.type == DISCRETE else (size[1], size[4])
            rates = {
                round(rate.interval[1] / rate.interval[0], 2)
                for rate in _entries(
                    file, _FrameInterval, pixel_format=code, width=width, height=height
                )
                if rate.interval[0]
            }
            yield Mode(name, (width, height), tuple(sorted(rates, reverse=True)))


def _entries(file: int, kind: type[_Entry], **of: int) -> Iterator[_Entry]:
    """A list that the driver gives entry by entry, until it says that there is none."""
    for index in range(MAX_ENTRIES):
        entry = kind(index=index, **of)
        try:
            fcntl.ioctl(file, entry.code, entry)
        except OSError:
            return
        yield entry
        if kind is not _Format and entry.type != DISCRETE:
            return  # a range, in one entry
