"""Photos and their masks in a folder, in one of three layouts:

FOLDER/images/NAME.* and FOLDER/masks/NAME.png (or .tif), FOLDER/images and one COCO file
FOLDER/*.json, or photos beside FOLDER/_annotations.coco.json as Roboflow exports them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, require_extra
from edge.sources.images import image_files, read_image

if TYPE_CHECKING:
    from train.data.coco import Entry

ROBOFLOW = "_annotations.coco.json"
# In a mask: whether a particle is there is doubtful, so it counts neither way.
IGNORED = 255


@dataclass(frozen=True, eq=False)
class Sample:
    """A photo with its labels: `image` (H,W,3) uint8 RGB, `mask` (H,W) uint8, 1 on particles.

    Masks drawn from points are `IGNORED` where that is doubtful; training passes over those pixels.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width), px."""
        height, width = self.mask.shape
        return height, width


@dataclass(frozen=True)
class SamplePaths:
    """The file of a photo, and that of its mask or its entry in a COCO file; together a sample."""

    image: Path
    mask: Path | Entry

    @property
    def name(self) -> str:
        """The photo's file name without its ending; no other photo of the folder has it."""
        return self.image.stem

    def load(self) -> Sample:
        """Read photo and mask.

        Raises:
            EdgeError: a file is unreadable, the sizes differ, the mask has values besides 0 and
                255, or an annotation is no polygon or run-length code.
        """
        image = read_image(self.image)
        shape = image.shape[:2]
        if isinstance(self.mask, Path):
            return Sample(self.name, image, _read_mask(self.mask, shape))
        return Sample(self.name, image, self.mask.draw(shape))


def _read_mask(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    # Not `read_image`: 16-bit files of object numbers would come back as all 0. Nor `cv2.imread`,
    # which crashes on a file name that is not UTF-8.
    try:
        encoded = np.fromfile(path, np.uint8)
        flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
        mask = cv2.imdecode(encoded, flags) if encoded.size else None
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    except cv2.error:  # the header claims more pixels than OpenCV reads
        mask = None
    if mask is None:
        raise EdgeError(f"{path}: not a readable image (damaged, or no image at all)")
    if mask.shape != shape:
        raise EdgeError(
            f"{path}: is {mask.shape[1]}x{mask.shape[0]} px, its photo {shape[1]}x{shape[0]}"
        )
    white = 65535 if mask.max() == 65535 else 255
    grey = mask[(mask != 0) & (mask != white)]
    if grey.size:
        blurred = path.suffix.lower() in {".jpg", ".jpeg"}
        raise EdgeError(
            f"{path}: holds grey value {grey.min()}; a mask is 0 for background and 255 for "
            f"particle{', which JPEG blurs: save masks as PNG' if blurred else ''}"
        )
    return np.asarray(mask != 0, np.uint8)


def find_samples(folder: Path) -> list[SamplePaths]:
    """Every photo under `folder` with its mask, by name.

    Raises:
        EdgeError: as `scan`, or something has no counterpart.
    """
    pairs, unpaired = scan(folder)
    if unpaired:
        more = f" (and {len(unpaired) - 1} more)" if len(unpaired) > 1 else ""
        raise EdgeError(f"{unpaired[0]}{more}")
    return pairs


def scan(folder: Path) -> tuple[list[SamplePaths], list[str]]:
    """The pairs under `folder`, by name, and one sentence per photo or mask that is in none.

    No image is opened.

    Raises:
        EdgeError: a folder is missing or empty, or the COCO file is not one.
    """
    if (folder / ROBOFLOW).is_file() and not (folder / "images").is_dir():
        return _scan_coco(folder, folder / ROBOFLOW)
    photos, masks = folder / "images", folder / "masks"
    if not photos.is_dir():
        raise EdgeError(f"{photos}: no such folder; photos go to images/, masks to masks/")
    if masks.is_dir():
        return _scan_masks(photos, masks)
    annotations = _annotations(folder)
    if annotations is None:
        raise EdgeError(
            f"{masks}: no such folder; photos go to images/, masks to masks/ or, as COCO "
            f"annotations, to {folder / 'annotations.json'}"
        )
    return _scan_coco(photos, annotations)


def _annotations(folder: Path) -> Path | None:
    """annotations.json, or else the one JSON file there is."""
    files = sorted(folder.glob("*.json"))
    if (folder / "annotations.json") in files:
        return folder / "annotations.json"
    if len(files) > 1:
        raise EdgeError(
            f"{folder}: holds {' and '.join(path.name for path in files)}; keep the one with the "
            f"photos' annotations, or name it annotations.json"
        )
    return files[0] if files else None


def _scan_masks(photo_folder: Path, mask_folder: Path) -> tuple[list[SamplePaths], list[str]]:
    photos, unpaired = _by_name(_photo_files(photo_folder), "photos")
    masks, twice = _by_name(image_files(mask_folder), "masks")
    unpaired += twice
    for here, there, kind in ((photos, masks, "mask"), (masks, photos, "photo")):
        unpaired += [
            f"{files[0]}: has no {kind} of the same name"
            for name, files in here.items()
            if name not in there
        ]
    pairs = [
        SamplePaths(files[0], masks[name][0])
        for name, files in photos.items()
        if len(files) == len(masks.get(name, [])) == 1
    ]
    return pairs, unpaired


def _scan_coco(photo_folder: Path, annotations: Path) -> tuple[list[SamplePaths], list[str]]:
    with require_extra("train"):
        from train.data.coco import read_coco
    entries = read_coco(annotations)
    files = _photo_files(photo_folder)
    photos, unpaired = _by_name(files, "photos")
    unpaired += [
        f"{path}: has no entry in {annotations}" for path in files if path.name not in entries
    ]
    there = {path.name for path in files}
    unpaired += [
        f"{entry} is not in {photo_folder}" for name, entry in entries.items() if name not in there
    ]
    pairs = [
        SamplePaths(path, entries[path.name])
        for path, *others in photos.values()
        if not others and path.name in entries
    ]
    return pairs, unpaired


def _photo_files(folder: Path) -> list[Path]:
    files = image_files(folder)
    if not files:
        raise EdgeError(f"{folder}: holds no images")
    return files


def _by_name(files: Sequence[Path], kind: str) -> tuple[dict[str, list[Path]], list[str]]:
    """`files` by name without ending, and one sentence per name that is there twice."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        found[path.stem].append(path)
    twice = [
        f"{' and '.join(map(str, same))}: {len(same)} {kind} of one name; keep one"
        for same in found.values()
        if len(same) > 1
    ]
    return found, twice
