"""Image files: one, a folder of them, or a glob."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import ToolError
from edge.frame import Frame

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"})


def read_image(path: Path) -> NDArray[np.uint8]:
    """(H,W,3) uint8 RGB; grey and 16-bit images are converted, transparency is dropped.

    Raises:
        ToolError: the file cannot be read or is no image.
    """
    try:
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror}") from error
    image = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    if image is None:
        raise ToolError(f"{path}: not a readable image (damaged, or not an image at all)")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def image_files(folder: Path) -> list[Path]:
    """Image files directly in `folder`, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


class ImageSource:
    """Frames from image files; an unreadable one among several is skipped and named."""

    time_base = "unix"

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.total: int | None = len(paths)
        self.skipped: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Raises ToolError where not one image can be read."""
        read = 0
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path)
                time_s = path.stat().st_mtime
            except (ToolError, OSError) as error:
                if len(self._paths) == 1:
                    raise
                self.skipped.append(str(error))
                continue
            read += 1
            yield Frame(image, index, path.stem, time_s)
        if not read:
            raise ToolError(
                f"{self._paths[0].parent}: none of {len(self._paths)} images is readable"
            )
