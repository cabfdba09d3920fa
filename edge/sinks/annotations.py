"""What was found in photos as files of labelling tools, where a person corrects it: COCO and
Label Studio."""

from __future__ import annotations

import json
import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import BadArgumentError, EdgeError
from edge.files import atomic_write
from edge.particles import particle_pixels
from edge.result import Result
from edge.sinks.append_only_file import AppendOnlyFile
from edge.sinks.rotation import NEVER, part
from edge.sinks.sink import Sink
from edge.sources.images import ImageSource

if TYPE_CHECKING:
    from edge.pipeline import Pipeline

# Where Label Studio serves files of the disk, and names in its labelling configuration.
_LOCAL_FILES = "/data/local-files/?d="
_FROM_NAME, _TO_NAME, LABEL = "label", "image", "particle"
# Digits of places in percent: a thousandth of a pixel where a side has 10,000.
_PERCENT_DIGITS = 5
_PAGE = re.compile(r"#\d+$")


class AnnotationSink(Sink):
    """One file of annotations for all photos of a run, written when it ends.

    Until then each photo is a line of FILE.lines.part, so that memory does not grow with the
    particles; a run that is killed leaves that.

    Raises:
        BadArgumentError: such lines of an earlier run are there.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._lines_path = path.with_name(f"{path.name}.lines")
        for one in (self._lines_path, part(self._lines_path)):
            if one.exists():
                raise BadArgumentError(
                    f"{one}: is of a run that was killed; remove it, or name another file"
                )
        self._lines = AppendOnlyFile(self._lines_path, NEVER)
        self._model = ""
        self._attached = False

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`.

        Raises:
            BadArgumentError: a source has frames that are not image files.
        """
        for source in pipeline.source.parts().values():
            if not isinstance(source, ImageSource):
                raise BadArgumentError(
                    f"{self.name}: labelling tools show image files, and {source.uri} has none; "
                    "run over photos"
                )
        self._model = pipeline.engine.info.model
        self._attached = True

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        file = result.frame.file
        if _PAGE.search(file) and not Path(file).exists():
            raise EdgeError(
                f"{file}: labelling tools show the first page of a file; "
                "save the pages as files of their own"
            )
        self._lines.append(json.dumps(self._entry(result)) + "\n")

    def close(self) -> None:
        """As `Sink.close`."""
        if not self._attached:
            return
        self._lines.close()
        with (
            atomic_write(self._path) as temporary,
            temporary.open("w", encoding="utf-8", newline="\n") as file,
        ):
            file.writelines(self._content())
        self._lines_path.unlink()

    def _entries(self) -> Iterator[Any]:
        """What was written, one photo at a time."""
        with self._lines_path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    @abstractmethod
    def _entry(self, result: Result) -> dict[str, Any]:
        """Of one photo."""

    @abstractmethod
    def _content(self) -> Iterator[str]:
        """The text of the file, in parts."""


class CocoSink(AnnotationSink):
    """COCO: run lengths, box, area and `score` of each particle, as `Result.to_coco`. A photo is
    named by its path in the folder that holds all of them."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._photos = self._particles = 0

    def _entry(self, result: Result) -> dict[str, Any]:
        coco = result.to_coco(self._photos + 1)
        for annotation in coco["annotations"]:
            annotation["id"] += self._particles
        self._photos += 1
        self._particles += len(coco["annotations"])
        return coco

    def _content(self) -> Iterator[str]:
        images, categories = [], [{"id": 1, "name": LABEL}]
        for entry in self._entries():
            images += entry["images"]
        if images:
            paths = [Path(os.path.abspath(image["file_name"])) for image in images]
            folder = os.path.commonpath([path.parent for path in paths])
            for image, path in zip(images, paths, strict=True):
                image["file_name"] = path.relative_to(folder).as_posix()
        head = {"info": {"description": self._model}, "categories": categories, "images": images}
        yield json.dumps(head)[:-1] + ', "annotations": ['
        annotations = (one for entry in self._entries() for one in entry["annotations"])
        yield from _joined(annotations)
        yield "]}\n"


class LabelStudioSink(AnnotationSink):
    """Label Studio: a task for each photo, whose prediction has a polygon for each particle. Holes
    are filled. Photos are named by their path from the current folder, or from the root where they
    are outside of it."""

    def _entry(self, result: Result) -> dict[str, Any]:
        height, width = result.frame.size_hw
        regions = [
            {
                "id": f"particle-{particle.id}",
                "type": "polygonlabels",
                "from_name": _FROM_NAME,
                "to_name": _TO_NAME,
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": particle.mean_probability,
                "value": {
                    "points": _percent(_outline(rows, columns), width, height),
                    "closed": True,
                    "polygonlabels": [LABEL],
                },
            }
            for particle, (rows, columns) in zip(
                result.particles, particle_pixels(result.mask), strict=True
            )
        ]
        scores = [particle.mean_probability for particle in result.particles]
        prediction: dict[str, Any] = {"model_version": self._model, "result": regions}
        if scores:
            prediction["score"] = round(sum(scores) / len(scores), 4)
        return {"data": {"image": _served(result.frame.file)}, "predictions": [prediction]}

    def _content(self) -> Iterator[str]:
        yield "["
        yield from _joined(self._entries())
        yield "]\n"


def _joined(entries: Iterator[Any]) -> Iterator[str]:
    """As elements of a JSON array, one a line."""
    for number, entry in enumerate(entries):
        yield (",\n" if number else "\n") + json.dumps(entry)


def _served(file: str) -> str:
    """Where Label Studio finds a photo, its document root being the current folder."""
    path, here = Path(os.path.abspath(file)), Path.cwd()
    inside = path.relative_to(here if path.is_relative_to(here) else path.anchor)
    return _LOCAL_FILES + quote(os.fsencode(inside.as_posix()))


def _outline(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int64]:
    """The outer border (n,2) of a particle's pixels as x and y, px, along their edges: the first
    pixel of the photo reaches from 0 to 1."""
    top, left = rows.min(), columns.min()
    mask: NDArray[np.uint8] = np.zeros((rows.max() - top + 1, columns.max() - left + 1), np.uint8)
    mask[rows - top, columns - left] = 1
    # A contour runs through the centres of pixels. Of the mask at double size, those of the pixel
    # p are 2p and 2p + 1, next to its edges p and p + 1.
    double = mask.repeat(2, axis=0).repeat(2, axis=1)
    contours = cv2.findContours(double, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    edges: NDArray[np.int64] = (np.asarray(contours[0], np.int64).reshape(-1, 2) + 1) // 2
    edges = edges[np.any(edges != np.roll(edges, 1, axis=0), axis=1)]
    edges += np.array([left, top])
    return edges


def _percent(outline: NDArray[np.int64], width: int, height: int) -> list[list[float]]:
    """In percent of the photo's sides."""
    points: list[list[float]] = np.round(outline / [width, height] * 100, _PERCENT_DIGITS).tolist()
    return points
