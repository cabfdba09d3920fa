"""Image files: one, a folder of them, or a glob."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import (
    BadArgumentError,
    EdgeError,
    describe,
    is_expected,
    out_of_memory,
    require_extra,
)
from edge.frame import Frame, SkippedFrame
from edge.opencv import silence
from edge.sources.exif import PHOTOMETRIC, is_tiff, tags
from edge.sources.source import Source

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".heic", ".heif"})
# Files that operating systems leave in folders of photos.
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
# Of sensors, and of 8-bit photos, whose values are stored in 16 bits.
BIT_DEPTHS = (8, 10, 12, 14, 16)
# Folders that tools and network drives leave beside photos.
SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})
# Whether OpenCV gives single pages of a file; that of JetPack 6 gives all at once.
_READS_PAGES = tuple(map(int, cv2.__version__.split(".")[:2])) >= (4, 10)
_READ_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
# In JPEG data, what ends a run of coded pixels: any marker but a stuffed zero or a restart.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def read_image(path: Path) -> NDArray[np.uint8]:
    """The only image of a file, (H,W,3) uint8 RGB; grey is converted, transparency is dropped.

    Values of more than 8 bits are scaled, see `to_uint8`.

    Raises:
        EdgeError: the file cannot be read, is no image, is damaged, or holds several.
    """
    return read_noted(path)[0]


def read_noted(path: Path) -> tuple[NDArray[np.uint8], str]:
    """As `read_image`, with a note on how it was read, mostly empty, that suits many files."""
    pages = read_pages(path)
    image, note = next(pages)
    if next(pages, None) is not None:
        raise EdgeError(
            f"{path}: holds several images; save each as a file of its own (in ImageJ: Image > "
            f"Stacks > Stack to Images, or Image > Type > RGB Color where they are the channels)"
        )
    return image, note and f"values of 16 bits, {note.rpartition(', ')[2]}"


def read_pages(path: Path) -> Iterator[tuple[NDArray[np.uint8], str]]:
    """Every image of a file, as `read_image`, with a note on how it was read, mostly empty.

    Raises:
        EdgeError: the file cannot be read, is no image, or is damaged; or it is HEIC and the extra
            for that is not installed.
    """
    data = image_data(path)
    with readable(path, data):
        for number, image in enumerate(_decoded(data), 1):
            where = f"{path}#{number}" if number > 1 else str(path)
            pixels, note = to_uint8(np.asarray(image), where)
            code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
            yield np.asarray(cv2.cvtColor(pixels, code), np.uint8), note


def image_data(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        EdgeError: the file cannot be read, or is cut off.
    """
    silence()
    try:
        # Unlike np.fromfile, this waits for no writer where a FIFO stands in place of the file.
        if not path.is_file():
            raise EdgeError(f"{path}: is not a file")
        data = path.read_bytes()
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    if _is_cut_off(data):
        raise EdgeError(f"{path}: not a readable image (it is cut off)")
    return data


@contextlib.contextmanager
def readable(path: Path, data: bytes) -> Iterator[None]:
    """Turn what OpenCV says of an image file into a sentence that names it."""
    try:
        yield
    except cv2.error as error:
        if out_of_memory(error):
            raise EdgeError(f"{path}: {describe(error)}") from error
        huge = "PIXELS" in str(error)
        reason = "damaged, or no image at all"
        if huge:
            reason = "more pixels than OpenCV reads"
        elif is_tiff(data) and tags(data):
            reason = "damaged, or of a kind that is not read: save it as TIFF of 8 or 16 bits"
        raise EdgeError(f"{path}: not a readable image ({reason})") from error


def to_uint8(image: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], str]:
    """An image of any depth as uint8, and a note where that took a guess.

    Whole numbers of up to 16 bits are those of an 8-bit photo, or of a sensor of 10, 12, 14 or 16
    bits: the fewest that hold the largest value. Floats are 0..1.

    Raises:
        EdgeError: floats outside 0..1, or whole numbers below 0 or of more than 16 bits; it names
            `where`.
    """
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False), ""
    lowest, highest = float(image.min()), float(image.max())
    if image.dtype.kind in "iu" and lowest >= 0 and highest < 1 << 16:
        bits = next(bits for bits in BIT_DEPTHS if highest < 1 << bits)
        note = f"{where}: values up to {highest:.0f} of 65535, read as {bits}-bit" * (bits < 16)
        return np.rint(image * (255 / ((1 << bits) - 1))).astype(np.uint8), note
    if image.dtype.kind == "f" and lowest >= 0 and highest <= 1:
        return np.rint(image * 255).astype(np.uint8), ""
    raise EdgeError(
        f"{where}: holds {image.dtype} values from {lowest:g} to {highest:g}; "
        f"save it with 8 or 16 bits (in ImageJ: Image > Type), or as float values from 0 to 1"
    )


def image_files(folder: Path) -> list[Path]:
    """Image files directly in `folder`, by name."""
    return sorted(p for p in folder.iterdir() if _is_image(p))


def nested_image_files(folder: Path) -> list[Path]:
    """Image files in `folder` and in the folders inside it, by their place in it."""
    found: list[Path] = []
    seen = set[str]()
    for place, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if not is_system_file(Path(name))]
        found += [path for name in names if _is_image(path := Path(place, name))]
    return sorted(found)


class ImageSource(Source):
    """Frames from image files; an unreadable one among several fails alone.

    Args:
        ignored: files and folders that were passed over.
    """

    def __init__(self, uri: str, paths: Sequence[Path], ignored: Sequence[Path] = ()) -> None:
        super().__init__(uri)
        self._paths = paths
        self.expected = len(paths)
        if ignored:
            kinds = Counter("folder" if p.is_dir() else p.suffix or "other" for p in ignored)
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            self.problems.append(f"not read: {counts} (kinds read: {', '.join(sorted(SUFFIXES))})")

    @classmethod
    def from_file(cls, uri: str) -> ImageSource:
        """Of one image file."""
        return cls(uri, [Path(uri)])

    @classmethod
    def from_folder(cls, uri: str) -> ImageSource:
        """Of the images directly in a folder.

        Raises:
            BadArgumentError: there is none.
        """
        inside = [p for p in Path(uri).iterdir() if not is_system_file(p)]
        return cls._chosen(uri, inside, f"{uri}: the folder holds no image")

    @classmethod
    def from_glob(cls, uri: str) -> ImageSource:
        """Of the images that a glob matches.

        Raises:
            BadArgumentError: there is none.
        """
        found = [Path(p) for p in glob.iglob(uri, recursive=True)]
        return cls._chosen(uri, [p for p in found if not p.is_dir()], f"{uri}: matches no image")

    @classmethod
    def _chosen(cls, uri: str, found: Sequence[Path], message: str) -> ImageSource:
        paths = sorted(p for p in found if _is_image(p))
        if not paths:
            raise BadArgumentError(f"{message} ({', '.join(sorted(SUFFIXES))})")
        return cls(uri, paths, sorted(set(found) - set(paths)))

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Raises EdgeError where not one image can be read."""
        index = read = 0
        for path in self._paths:
            number = 0
            try:
                for number, (image, note) in enumerate(read_pages(path), 1):
                    if note:
                        self.problems.append(note)
                    if number > 1:
                        self.expected = (self.expected or 0) + 1
                    name = f"{path}#{number}" if number > 1 else str(path)
                    yield Frame(image, index, name, path.stat().st_mtime)
                    index, read = index + 1, read + 1
            except Exception as error:
                if len(self._paths) == 1 or not is_expected(error):
                    raise
                reason = describe(error)
                self.problems.append(reason)
                if not number:
                    yield SkippedFrame(index, str(path), None, "failed", reason)
                    index += 1
        if not read:
            raise EdgeError(f"{self.uri}: none of {len(self._paths)} images is readable")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not is_system_file(path) and path.is_file()


def is_system_file(path: Path) -> bool:
    """Whether an operating system or a network drive put a file or folder there, not a person."""
    name = path.name.lower()
    return name.startswith(".") or name in SYSTEM_FILES or name in SYSTEM_FOLDERS


def _decoded(data: bytes) -> Iterator[NDArray[Any]]:
    """The images of a file, grey or BGR of any depth, upright as its tags say.

    Raises:
        cv2.error: it is damaged, or no image.
    """
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        yield from _heif(data)
    elif is_tiff(data):
        yield from _tiff(data)
    else:
        buffer = np.frombuffer(data, np.uint8)
        if b"acTL" in data[:1024] or b"ANIM" in data[:1024]:  # animated PNG or WebP
            found = cv2.imdecodemulti(buffer, _READ_FLAGS)
            if found[0]:
                yield from map(np.asarray, found[1])
                return
        image = cv2.imdecode(buffer, _READ_FLAGS) if data else None
        if image is None:
            raise cv2.error("no image")
        yield np.asarray(image)


def _tiff(data: bytes) -> Iterator[NDArray[Any]]:
    buffer = np.frombuffer(data, np.uint8)
    white_is_zero = tags(data).get(PHOTOMETRIC) == 0
    # Grey pixels of 32 bits and floats come unchanged only.
    for flags in (_READ_FLAGS, cv2.IMREAD_UNCHANGED):
        page = 0
        for image in _tiff_pages(buffer, flags):
            page += 1
            # OpenCV inverts 8 bits itself.
            yield ~image if white_is_zero and image.dtype == np.uint16 else image
        if page:
            return
    raise cv2.error("no image")


def _tiff_pages(buffer: NDArray[np.uint8], flags: int) -> Iterator[NDArray[Any]]:
    if not _READS_PAGES:
        yield from map(np.asarray, cv2.imdecodemulti(buffer, flags)[1])
        return
    page = 0  # one at a time: stacks are large
    while (found := cv2.imdecodemulti(buffer, flags, range=(page, page + 1)))[0]:
        yield from map(np.asarray, found[1])
        page += 1


def _heif(data: bytes) -> Iterator[NDArray[Any]]:
    with require_extra("heic"):
        import pillow_heif
    try:
        for image in pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True):
            yield np.asarray(image)[..., 2::-1]
    except (ValueError, RuntimeError, EOFError) as error:
        raise cv2.error(str(error)) from error


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG file ends before its picture does, which decoders fill up with grey."""
    if data[:3] != b"\xff\xd8\xff":
        return False
    at = 2
    while at >= 0 and data[at : at + 1] == b"\xff":
        marker = data[at + 1 : at + 2]
        if marker == b"\xd9":
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == b"\xda":
            found = _JPEG_MARKER.search(data, at)
            at = found.start() if found else -1
    return True
