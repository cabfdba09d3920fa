"""The tags of image files that say how pixels are to be shown: orientation, and white as zero."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ORIENTATION, PHOTOMETRIC = 0x0112, 0x0106
UPRIGHT = 1


def orientation(data: bytes) -> int:
    """The orientation 1..8 of a JPEG, PNG, WebP or TIFF file; 1, upright, where it says nothing."""
    block = data if is_tiff(data) else _exif_block(data)
    found = tags(block).get(ORIENTATION, UPRIGHT)
    return found if found in range(1, 9) else UPRIGHT


def file_orientation(path: Path) -> int:
    """As `orientation`, of a file that is there."""
    return orientation(path.read_bytes())


def upright(pixels: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Pixels (H,W) or (H,W,C) as stored, turned and mirrored as the orientation asks."""
    if orientation in (2, 4, 5, 7):  # mirrored: first as 1, 3, 8 and 6 are
        pixels = pixels[:, ::-1]
        orientation = {2: 1, 4: 3, 5: 8, 7: 6}[orientation]
    turns = {1: 0, 8: 1, 3: 2, 6: 3}[orientation]
    return np.ascontiguousarray(np.rot90(pixels, turns))


def is_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF, BigTIFF among them."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tags(data: bytes) -> dict[int, int]:
    """The whole numbers among the tags of the first directory of TIFF data, as EXIF is, too."""
    if not is_tiff(data):
        return {}
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    place, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    found = {}
    try:
        (at,) = struct.unpack_from(order + place, data, 8 if big else 4)
        (entries,) = struct.unpack_from(order + count, data, at)
        at += struct.calcsize(count)
        for offset in range(at, at + entry * min(entries, 1000), entry):
            tag, kind = struct.unpack_from(order + "HH", data, offset)
            if kind in (3, 4):
                value = struct.unpack_from(
                    order + ("H" if kind == 3 else "I"), data, offset + 4 + struct.calcsize(place)
                )
                found[tag] = int(value[0])
    except (struct.error, OverflowError):  # damaged: what came before is good
        pass
    return found


def _exif_block(data: bytes) -> bytes:
    """The EXIF data of a JPEG, PNG or WebP file; nothing where there is none."""
    if data[:3] == b"\xff\xd8\xff":
        at = 2
        while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\xda", b"\xd9", b""):
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            if data[at + 1] == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
                return data[at + 10 : at + 2 + size]
            at += 2 + size
    elif data[:4] == b"\x89PNG":
        at = 8
        while at + 8 <= len(data):
            size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
            if kind == b"eXIf":
                return data[at + 8 : at + 8 + size]
            at += 12 + size
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        at = 12
        while at + 8 <= len(data):
            kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if kind == b"EXIF":
                return data[at + 8 : at + 8 + size].removeprefix(b"Exif\0\0")
            at += 8 + size + size % 2
    return b""
