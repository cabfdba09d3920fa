"""What a labelling tool exports, as a folder that `train fit` reads.

DATA/images/   links to the photos, or copies
DATA/masks/    PNG of 16 bits: a number for each object, 0 on background
DATA/points.csv, in place of masks/, where the labels are points
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError
from edge.files import ensure_empty_directory
from edge.sources.exif import file_orientation, upright
from edge.sources.images import nested_image_files, read_image
from train.data.coco import check_classes, several_classes
from train.data.formats import FORMATS, Format
from train.data.formats.labels import NO_RING, PhotoLabels, Shape, Skipped
from train.data.mask import IGNORED, VOID_ABOVE, read_mask
from train.data.outline import Canvas
from train.data.photo_names import PhotoFiles, place_in
from train.data.samples import POINTS

MASK_ENDING = ".png"
# File, x, y, and whether it is ignored.
Row = tuple[str, float, float, int]
Numbers = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class ImportReport:
    """What was read, and what was not.

    Attributes:
        format: name of the tool or kind of file.
        photos: written; `clean` of them without a label.
        labels: how many of each class were read.
        points: whether they are points.
        notes: what was guessed, a sentence for each kind.
        skipped: what was not read and why, a sentence for each kind.
    """

    format: str
    photos: int
    clean: int
    labels: Counter[str]
    points: bool
    notes: Sequence[str]
    skipped: Sequence[str]

    def describe(self) -> str:
        """For a terminal."""
        classes = ", ".join(
            f"{count} {name or 'of no class'}" for name, count in self.labels.items()
        )
        kind = "points" if self.points else "objects"
        rows = [
            f"{'read as':<12}{self.format}",
            f"{'photos':<12}{self.photos}, {self.clean} of them without a label",
            f"{kind:<12}{self.labels.total()}{f' ({classes})' if classes else ''}",
        ]
        rows += [f"{'note':<12}{note}" for note in self.notes]
        rows += [f"{'not read':<12}{reason}" for reason in self.skipped]
        return "\n".join(rows)


def import_labels(
    source: Path,
    data: Path,
    *,
    images: Path | None = None,
    classes: Sequence[str] = (),
    copy: bool = False,
) -> ImportReport:
    """Write the photos and labels of an export into the new folder `data`, or nothing at all.

    Args:
        source: a file or folder that a tool exported; see `train.data.formats`.
        images: folder with the photos.  [default: that of `source`]
        classes: that count as particle.  [default: all]
        copy: whether photos are copied, and not linked.

    Raises:
        BadArgumentError: `data` holds something or is the current folder, or `source` is of no
            known format.
        EdgeError: no label can be read, or one of `classes` is not there.
        OSError: something cannot be written.
    """
    if not source.exists():
        raise BadArgumentError(f"{source}: no such file or folder")
    if source.suffix.lower() == ".zip":
        raise BadArgumentError(f"{source}: is an archive; unpack it, and name the folder")
    if not data.name:
        raise BadArgumentError(f"{data}: is the current folder; name a new one in it")
    there = data.is_dir()
    ensure_empty_directory(data)
    part = data.with_name(f".part-{data.name}")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(part)
    try:
        report = _Import(source, part, images, classes, copy).run()
        data.rmdir()
        part.rename(data)
    except BaseException:
        if not there:
            with contextlib.suppress(FileNotFoundError):
                data.rmdir()
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return report


class _Import:
    def __init__(
        self, source: Path, out: Path, images: Path | None, classes: Sequence[str], copy: bool
    ) -> None:
        self._source, self._out, self._copy = source, out, copy
        self._photos = images or (source if source.is_dir() else source.parent)
        self._classes = tuple(classes)
        self._skipped = Skipped()
        self._notes = Skipped()
        self._read: Counter[str] = Counter()
        self._written: dict[str, Path] = {}
        self._clean = 0

    def run(self) -> ImportReport:
        form, files = self._format()
        try:
            labels = list(form.read(files, self._skipped))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise EdgeError(
                f"{self._source}: read as {form.NAME}, but is not what that is "
                f"({type(error).__name__}: {error}); export it again"
            ) from error
        there = {shape.label for photo in labels for shape in photo.shapes}
        check_classes(self._classes, there, self._source)
        outlines = any(photo.mask or _has_area(photo) for photo in labels)
        points = not outlines and any(photo.shapes for photo in labels)
        if any(photo.mask for photo in labels) and self._classes:
            raise EdgeError(
                f"{self._source}: --classes chooses among those of labels, not of masks"
            )
        photos = nested_image_files(self._photos)
        known = PhotoFiles(photos)
        used = {photo.mask for photo in labels if photo.mask}
        self._out.mkdir(parents=True)
        rows: list[Row] = []
        matched: list[tuple[PhotoLabels, Path]] = []
        for photo in labels:
            path = next(filter(None, map(known.find, photo.names)), None)
            if path is None:
                self._skipped.add(
                    f"is not in {self._photos}, or more than once; name the folder with the photos "
                    f"by --images",
                    photo.names[-1],
                )
            else:
                matched.append((photo, path))
        used |= {path for _, path in matched}
        unused = [p for p in photos if p not in used and not _is_mask(p, self._photos)]
        if matched:
            self._photos = Path(os.path.commonpath([path.parent for _, path in matched]))
        for photo, path in matched:
            try:
                rows += self._photo(photo, path, points)
            except EdgeError as error:
                self._skipped.add(str(error), path.name)
        for path in unused:
            self._skipped.add("has no labels", path.name)
        if not self._written:
            reasons = "; ".join(self._skipped.describe()[:3])
            raise EdgeError(f"{self._source}: no photo with labels could be read ({reasons})")
        if points:
            self._write_points(rows)
        for note in () if self._classes else several_classes(self._read):
            self._notes.add(note, form.NAME)
        return ImportReport(
            form.NAME,
            len(self._written),
            self._clean,
            self._read,
            points,
            self._notes.describe(),
            self._skipped.describe(),
        )

    def _format(self) -> tuple[Format, list[Path]]:
        for form in FORMATS:
            files = form.find(self._source)
            if files:
                return form, files
        names = ", ".join(form.NAME for form in FORMATS)
        raise BadArgumentError(f"{self._source}: holds no labels of a known kind ({names})")

    def _photo(self, photo: PhotoLabels, path: Path, points: bool) -> list[Row]:
        """Write one photo with its mask; its points, where labels are points.

        Raises:
            EdgeError: photo or mask is unreadable, or is of another size than the tool saw.
        """
        place = place_in(self._photos, path)
        if place in self._written:
            other = self._written[place]
            why = "more than once" if other == path else f"as {other.name} is; names must differ"
            raise EdgeError(f"is labelled {why}")
        height, width = read_image(path).shape[:2]
        shapes = [s for s in photo.shapes if not self._classes or s.label in self._classes]
        if left := len(photo.shapes) - len(shapes):
            self._skipped.add(f"{left} labels of classes that were not chosen", path.name)
        read: Counter[str]
        rows: list[Row] = []
        mask: Numbers | None = None
        if photo.mask:
            mask, read = self._of_file(photo.mask, path, (height, width))
        elif points:
            rows, read = self._points(photo, shapes, path, (height, width))
        else:
            mask, read = self._drawn(photo, shapes, path, (height, width))
        self._clean += not read
        self._read += read
        self._written[place] = path
        target = self._out / "images" / path.relative_to(self._photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._bring(path, target)
        if mask is not None:
            file = self._out / "masks" / f"{place}{MASK_ENDING}"
            file.parent.mkdir(parents=True, exist_ok=True)
            # Unlike ndarray.tofile, this says what is wrong with the disk.
            file.write_bytes(cv2.imencode(MASK_ENDING, mask)[1].tobytes())
        return rows

    def _of_file(
        self, file: Path, photo: Path, size_hw: tuple[int, int]
    ) -> tuple[Numbers, Counter[str]]:
        mask = read_mask(file, size_hw, file_orientation(photo))
        for note in mask.notes:
            self._notes.add(note, file.name)
        objects = mask.objects
        if objects is None:
            objects = np.asarray(cv2.connectedComponents((mask.pixels == 1).astype(np.uint8))[1])
        count = len(np.unique(objects[objects > 0]))
        return _numbered(objects, mask.pixels == IGNORED), Counter({"": count} if count else {})

    def _drawn(
        self, photo: PhotoLabels, shapes: Sequence[Shape], path: Path, size_hw: tuple[int, int]
    ) -> tuple[Numbers, Counter[str]]:
        size, turn = self._size(photo, path, size_hw)
        canvas, doubtful, read = Canvas(size), Canvas(size), Counter[str]()
        for shape in shapes:
            if shape.point:
                self._skipped.add("a point, where other labels are outlines", path.name)
                continue
            scale = np.array(size[::-1]) if photo.relative else np.ones(2)
            rings = [np.clip(ring * scale, 0, size[::-1]) for ring in shape.rings]
            target = doubtful if shape.ignored else canvas
            if shape.runs and sum(shape.runs) != size[0] * size[1]:
                self._skipped.add(NO_RING, path.name)
                continue
            if shape.mask is not None:
                drawn = target.fill(shape.mask, *shape.corner)
            else:
                drawn = target.draw(rings, shape.runs)
            if not drawn:
                self._skipped.add("a label that covers no pixel", path.name)
            elif not shape.ignored:
                read[shape.label] += 1
        mask = _numbered(canvas.objects, doubtful.objects > 0)
        return np.asarray(upright(mask, turn), mask.dtype), read

    def _points(
        self, photo: PhotoLabels, shapes: Sequence[Shape], path: Path, size_hw: tuple[int, int]
    ) -> tuple[list[Row], Counter[str]]:
        size, turn = self._size(photo, path, size_hw)
        rows, read = [], Counter[str]()
        file = path.relative_to(self._photos).as_posix()
        for shape in shapes:
            assert shape.point
            x, y = _turned(shape.point, size, turn)
            if not (0 <= x <= size_hw[1] and 0 <= y <= size_hw[0]):
                self._skipped.add("a point outside of the photo", path.name)
                continue
            # In tables the first pixel's centre is (0, 0).
            rows.append((file, max(0.0, x - 0.5), max(0.0, y - 0.5), int(shape.ignored)))
            read[shape.label] += 1
        return rows, read

    def _size(
        self, photo: PhotoLabels, path: Path, size_hw: tuple[int, int]
    ) -> tuple[tuple[int, int], int]:
        """(height, width) that labels were drawn in, and the EXIF orientation to turn them by.

        Raises:
            EdgeError: it is not that of the photo.
        """
        if photo.size_hw in (None, size_hw):
            return size_hw, 1
        turn = file_orientation(path)
        if turn > 4 and photo.size_hw == size_hw[::-1]:
            return size_hw[::-1], turn
        assert photo.size_hw
        height, width = photo.size_hw
        raise EdgeError(
            f"was labelled as {width}x{height} px and is {size_hw[1]}x{size_hw[0]}; name the "
            f"folder with the photos that were labelled by --images"
        )

    def _bring(self, path: Path, target: Path) -> None:
        if not self._copy:
            # Not every file system and user may.
            with contextlib.suppress(OSError):
                target.symlink_to(path.resolve())
                return
        shutil.copyfile(path, target)

    def _write_points(self, rows: Sequence[Row]) -> None:
        with (self._out / POINTS).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "x", "y", "ignore"))
            writer.writerows((name, f"{x:g}", f"{y:g}", ignore) for name, x, y, ignore in rows)


def _has_area(photo: PhotoLabels) -> bool:
    return any(shape.point is None and not shape.ignored for shape in photo.shapes)


def _numbered(objects: NDArray[np.int32], doubtful: NDArray[np.bool_]) -> Numbers:
    """Numbers from 1 as a mask file keeps them: of 16 bits; or of 8 where 255 says what is
    doubtful, and all objects have one number if they are many."""
    there = (objects > 0) & ~doubtful
    highest = int(objects.max())
    if doubtful.any() and there.any():
        few = np.where(there, objects if highest <= VOID_ABOVE else 1, 0)
        return np.where(doubtful, IGNORED, few).astype(np.uint8)
    if highest > np.iinfo(np.uint16).max:
        return np.asarray(there * np.uint16(65535), np.uint16)
    return np.where(there, objects, 0).astype(np.uint16)


def _turned(point: tuple[float, float], size: tuple[int, int], turn: int) -> tuple[float, float]:
    """A point of the pixels as stored, (height, width), on the upright photo."""
    (height, width), (x, y) = size, point
    return {1: (x, y), 5: (y, x), 6: (height - y, x), 7: (height - y, width - x),
            8: (y, width - x)}[turn]  # fmt: skip


def _is_mask(path: Path, photos: Path) -> bool:
    """Whether a file lies in a folder of masks beside that of the photos, as those of VOC do."""
    return any("mask" in part.lower() or "segmentation" in part.lower()
               for part in path.relative_to(photos).parts[:-1])  # fmt: skip
