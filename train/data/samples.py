"""Photos and their masks in a folder, in one of three layouts:

FOLDER/images/NAME.* and FOLDER/masks/NAME.png (or .tif), FOLDER/images and one COCO file
FOLDER/*.json, or photos beside FOLDER/_annotations.coco.json as Roboflow exports them.

Photos may lie in folders inside images/; a photo's name is its place there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, require_extra
from edge.sources.exif import UPRIGHT, file_orientation
from edge.sources.images import is_system_file, nested_image_files, read_noted
from train.data.mask import IGNORED as IGNORED  # part of what a sample is
from train.data.mask import Mask, read_mask
from train.data.photo_names import PhotoFiles, photo_of_mask, place_in

if TYPE_CHECKING:
    from train.data.coco import Entry

ROBOFLOW = "_annotations.coco.json"
# What 'train import' writes where the labels are points.
POINTS = "points.csv"


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo with its labels: `image` (H,W,3) uint8 RGB, `mask` (H,W) uint8, 1 on particles.

    A mask is `IGNORED` where a particle is doubtful; training passes over those pixels.

    Attributes:
        objects: (H,W) uint16 or int32, numbers from 1 on labelled objects, where some touch; None
            where objects are what is connected.
        notes: what was guessed when it was read.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    objects: NDArray[Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width), px."""
        height, width = self.mask.shape
        return height, width

    @property
    def labels(self) -> NDArray[Any]:
        """What objects are counted by: `objects`, or where none touch a mask (H,W) uint8."""
        if self.objects is not None:
            return self.objects
        return np.asarray(self.mask == 1, np.uint8)

    @property
    def doubtful(self) -> NDArray[np.bool_]:
        """(H,W), where the mask is `IGNORED`; what is detected there is no false positive."""
        return np.asarray(self.mask == IGNORED)


@dataclass(frozen=True)
class SamplePaths:
    """The file of a photo, and that of its mask or its entry in a COCO file; together a sample.

    `name`: the photo's place in its folder without its ending; no other photo has it.
    """

    name: str
    image: Path
    mask: Path | Entry

    def load(self) -> Sample:
        """Read photo and mask.

        Raises:
            EdgeError: a file is unreadable, the sizes differ, it is not plain what the mask's
                values mean, or an annotation is no polygon or run-length code.
        """
        image, note = read_noted(self.image)
        height, width = image.shape[:2]
        turn = file_orientation(self.image)
        if isinstance(self.mask, Path):
            mask = read_mask(self.mask, (height, width), turn)
        else:
            mask = self.mask.draw((height, width), turn)
        notes = mask.notes + ((note,) if note else ())
        if turn != UPRIGHT and (turn < 5 or height == width):
            notes += (
                f"turned upright by EXIF orientation {turn}, and the labels taken as drawn "
                f"upright; ImageJ and QuPath do not turn photos",
            )
        return Sample(self.name, image, mask.pixels, _touching(mask), notes)


def _touching(mask: Mask) -> NDArray[Any] | None:
    """The mask's objects where they are not just what is connected, in as few bits as they need."""
    if mask.objects is None:
        return None
    there = mask.objects > 0
    # What is drawn later may hide an object.
    numbers, inverse = np.unique(mask.objects[there], return_inverse=True)
    if cv2.connectedComponents(there.astype(np.uint8))[0] - 1 == len(numbers):
        return None
    objects = np.zeros(there.shape, np.uint16 if len(numbers) < 1 << 16 else np.int32)
    objects[there] = inverse + 1
    return objects


class Notes:
    """The notes of many photos, put together."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, sample: Sample) -> None:
        """Take those of one more photo."""
        for note in sample.notes:
            self._names[note].append(sample.name)

    def describe(self) -> list[str]:
        """One sentence for each kind."""
        return [
            f"{photos[0]}{f' and {len(photos) - 1} more' if len(photos) > 1 else ''}: {note}"
            for note, photos in self._names.items()
        ]


def find_samples(folder: Path, classes: Sequence[str] = ()) -> list[SamplePaths]:
    """Every photo under `folder` with its mask, by name; see `scan`.

    Raises:
        EdgeError: as `scan`, or something has no counterpart.
    """
    pairs, unpaired = scan(folder, classes)
    if unpaired:
        more = f" (and {len(unpaired) - 1} more)" if len(unpaired) > 1 else ""
        raise EdgeError(f"{unpaired[0]}{more}")
    return pairs


def scan(folder: Path, classes: Sequence[str] = ()) -> tuple[list[SamplePaths], list[str]]:
    """The pairs under `folder`, by name, and one sentence per photo or mask that is in none.

    No image is opened.

    Args:
        classes: of a COCO file that count as particle.  [default: all]

    Raises:
        EdgeError: a folder is missing or empty, the COCO file is not one or lacks one of `classes`,
            or there are classes to choose and no COCO file.
    """
    if (folder / ROBOFLOW).is_file() and not (folder / "images").is_dir():
        return _scan_coco(folder, folder / ROBOFLOW, classes)
    photos, masks = folder / "images", folder / "masks"
    if not photos.is_dir():
        raise EdgeError(
            f"{photos}: no such folder; photos go to images/, masks to masks/. What labelling "
            f"tools export becomes such a folder by: train import {folder} DATA"
        )
    if masks.is_dir():
        if classes:
            raise EdgeError(f"{masks}: --classes chooses among those of a COCO file, not of masks")
        return _scan_masks(photos, masks)
    annotations = _annotations(folder)
    if annotations is None and (points := folder / POINTS).is_file():
        raise EdgeError(
            f"{folder}: its labels are points, in {POINTS}; give train fit and train evaluate "
            f"--points {points}. Only masks and outlines can be checked"
        )
    if annotations is None:
        raise EdgeError(
            f"{masks}: no such folder; photos go to images/, masks to masks/ or, as COCO "
            f"annotations, to {folder / 'annotations.json'}. What labelling tools export becomes "
            f"such a folder by: train import {folder} DATA"
        )
    return _scan_coco(photos, annotations, classes)


def _annotations(folder: Path) -> Path | None:
    """annotations.json, or else the one JSON file there is."""
    files = sorted(path for path in folder.glob("*.json") if not is_system_file(path))
    if (folder / "annotations.json") in files:
        return folder / "annotations.json"
    if len(files) > 1:
        raise EdgeError(
            f"{folder}: holds {' and '.join(path.name for path in files)}; keep the one with the "
            f"photos' annotations, or name it annotations.json"
        )
    return files[0] if files else None


def _scan_masks(photo_folder: Path, mask_folder: Path) -> tuple[list[SamplePaths], list[str]]:
    photos, unpaired = _by_place(photo_folder, _photo_files(photo_folder), "photos")
    masks: dict[str, list[Path]] = defaultdict(list)
    for path in nested_image_files(mask_folder):
        place = place_in(mask_folder, path)
        masks[photo_of_mask(place, photos) or _of_whole_name(place, photos) or place].append(path)
    unpaired += _twice(masks, "masks")
    for here, there, kind in ((photos, masks, "mask"), (masks, photos, "photo")):
        unpaired += [
            f"{files[0]}: has no {kind} of the same name"
            for name, files in here.items()
            if name not in there
        ]
    pairs = [
        SamplePaths(name, files[0], masks[name][0])
        for name, files in photos.items()
        if len(files) == len(masks.get(name, [])) == 1
    ]
    return pairs, unpaired


def _of_whole_name(mask: str, photos: Mapping[str, Sequence[Path]]) -> str | None:
    """The photo NAME.jpg of a mask NAME.jpg.png."""
    name, _, ending = mask.rpartition(".")
    there = any(path.suffix == f".{ending}" for path in photos.get(name, ()))
    return name if there else None


def _scan_coco(
    photo_folder: Path, annotations: Path, classes: Sequence[str]
) -> tuple[list[SamplePaths], list[str]]:
    with require_extra("train"):
        from train.data.coco import read_coco
    entries = read_coco(annotations, classes)
    files = _photo_files(photo_folder)
    photos, unpaired = _by_place(photo_folder, files, "photos")
    known, found = PhotoFiles(files), defaultdict[Path, list[str]](list)
    absent = []
    for name, entry in entries.items():
        path = known.find(name)
        if path:
            found[path].append(name)
        else:
            absent.append(f"{entry} is not in {photo_folder}")
    unpaired += [f"{path}: has no entry in {annotations}" for path in files if path not in found]
    unpaired += absent
    unpaired += [
        f"{annotations}: {' and '.join(names)} are all {path}; keep one"
        for path, names in found.items()
        if len(names) > 1
    ]
    pairs = [
        SamplePaths(name, path, entries[found[path][0]])
        for name, (path, *others) in photos.items()
        if not others and len(found.get(path, ())) == 1
    ]
    return pairs, unpaired


def _photo_files(folder: Path) -> list[Path]:
    files = nested_image_files(folder)
    if not files:
        raise EdgeError(f"{folder}: holds no images")
    return files


def _by_place(
    folder: Path, files: Sequence[Path], kind: str
) -> tuple[dict[str, list[Path]], list[str]]:
    """`files` by place without ending, and one sentence per place that is there twice."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        found[place_in(folder, path)].append(path)
    return found, _twice(found, kind)


def _twice(found: Mapping[str, Sequence[Path]], kind: str) -> list[str]:
    return [
        f"{' and '.join(map(str, same))}: {len(same)} {kind} of one name; keep one"
        for same in found.values()
        if len(same) > 1
    ]
