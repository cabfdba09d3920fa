"""Photos and their masks in a folder: images/NAME.* beside masks/NAME.png."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ToolError
from edge.sources.images import image_files, read_image


@dataclass(frozen=True)
class Photo:
    """`image` (H,W,3) uint8 RGB and `mask` (H,W) uint8, 1 where a particle is."""

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def find_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """(image, mask) paths of every photo under `folder`, by name.

    Raises:
        ToolError: a folder is missing or empty, or a photo has no mask or a mask no photo.
    """
    files: dict[str, dict[str, Path]] = {}
    for kind in ("images", "masks"):
        if not (folder / kind).is_dir():
            raise ToolError(
                f"{folder / kind}: no such folder; photos go to images/, masks to masks/"
            )
        files[kind] = {path.stem: path for path in image_files(folder / kind)}
    images, masks = files["images"], files["masks"]
    if not images:
        raise ToolError(f"{folder / 'images'}: holds no images")
    for here, there, kind in ((images, masks, "mask"), (masks, images, "photo")):
        alone = [path for stem, path in here.items() if stem not in there]
        if alone:
            more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
            raise ToolError(f"{alone[0]}: has no {kind} of the same name{more}")
    return [(path, masks[stem]) for stem, path in images.items()]


def load(image_path: Path, mask_path: Path) -> Photo:
    """Read one pair.

    Raises:
        ToolError: a file is unreadable, the sizes differ, or the mask has values besides 0 and 255.
    """
    image = read_image(image_path)
    mask = cv2.cvtColor(read_image(mask_path), cv2.COLOR_RGB2GRAY)
    if mask.shape != image.shape[:2]:
        raise ToolError(
            f"{mask_path}: is {mask.shape[1]}x{mask.shape[0]} px, "
            f"its photo {image.shape[1]}x{image.shape[0]}"
        )
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    if not set(values.tolist()) <= {0, 255}:
        grey = next(v for v in values.tolist() if v not in (0, 255))
        raise ToolError(
            f"{mask_path}: holds grey value {grey}; a mask is 0 for background and 255 for particle"
        )
    return Photo(image_path.stem, image, (mask // 255).astype(np.uint8))
