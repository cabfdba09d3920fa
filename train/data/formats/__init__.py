"""Readers of what labelling tools export, one kind a module.

A reader has a `NAME`, `find(source)`, which returns the files of its kind, and `read(files,
skipped)`, which yields the labels of each photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from train.data.formats import (
    coco,
    cvat,
    label_images,
    label_studio,
    labelme,
    point_lists,
    via,
    voc,
    yolo,
)
from train.data.formats.labels import PhotoLabels, Skipped


class Format(Protocol):
    """A module of this package."""

    NAME: str

    def find(self, source: Path) -> list[Path]:
        """The files of this kind at a path, or in a folder; none where it is of another kind."""
        ...

    def read(self, files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
        """The labels of each photo; what cannot be read is added to `skipped`."""
        ...


# The surest ones first: photos lie beside the labels of every tool.
FORMATS: tuple[Format, ...] = (
    cvat, label_studio, coco, via, labelme, voc, yolo, label_images, point_lists,
)  # fmt: skip
