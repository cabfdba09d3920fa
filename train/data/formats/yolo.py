"""YOLO segmentation: labels/NAME.txt with a class and fractions x1 y1 x2 y2 ... in each line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge.sources.images import nested_image_files
from train.data.formats.labels import BOX, NO_RING, PhotoLabels, Shape, Skipped, ring

NAME = "YOLO segmentation"
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")


def find(source: Path) -> list[Path]:
    """The folder itself, where it has a folder labels/ of text files."""
    if not source.is_dir():
        return []
    return (
        [source]
        if any(source.glob("labels/**/*.txt")) or any(source.glob("*/labels/*.txt"))
        else []
    )


def read(files: list[Path], skipped: Skipped) -> Iterator[PhotoLabels]:
    """The labels of each photo that has a file of them; an empty one says that there is nothing."""
    (source,) = files
    classes = _classes(source)
    for photo in nested_image_files(source):
        parts = list(photo.relative_to(source).parts)
        if "images" not in parts:
            continue
        # As Ultralytics does it: the last images/ becomes labels/.
        last = len(parts) - 1 - parts[::-1].index("images")
        place = Path(*parts[:last], "labels", *parts[last + 1 :])
        label_file = source / place.with_suffix(".txt")
        if label_file.is_file():
            yield _photo(photo, label_file, classes, skipped)


def _photo(photo: Path, labels: Path, classes: dict[int, str], skipped: Skipped) -> PhotoLabels:
    found = PhotoLabels((str(photo),), relative=True)
    for line in labels.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) == 5:
            skipped.add(BOX, labels.name)
            continue
        try:
            number, values = int(float(words[0])), np.array([float(word) for word in words[1:]])
            # Some exports put the confidence last.
            outline = ring(values[: len(values) // 2 * 2].reshape(-1, 2))
        except ValueError:
            outline = None
        if outline is None:
            skipped.add(NO_RING, labels.name)
        else:
            found.shapes.append(Shape(classes.get(number, str(number)), (outline,)))
    return found


def _classes(source: Path) -> dict[int, str]:
    """Names of classes: of `names:` in data.yaml, as a list or by number, or a line each."""
    path = next((source / name for name in _NAMES if (source / name).is_file()), None)
    if path is None:
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if path.suffix not in (".yaml", ".yml"):
        return dict(enumerate(line.strip() for line in lines if line.strip()))
    start = next((i for i, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        return {}
    text = lines[start].removeprefix("names:")
    for line in lines[start + 1 :]:
        if line.strip() and not line.startswith((" ", "-", "]", "}")):
            break
        text += "\n" + line
    numbered = re.findall(r"(\d+)\s*:\s*['\"]?([^'\",\n}]+)", text)
    if numbered:
        return {int(number): name.strip() for number, name in numbered}
    listed = re.findall(r"(?:^\s*-|[\[,])\s*['\"]?([^'\",\n\]]+)", text, re.M)
    return dict(enumerate(name.strip() for name in listed))
