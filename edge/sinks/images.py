"""Pictures of what was found: masks as PNG, overlays as JPEG."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge.result import Result
from edge.sinks.sink import Sink
from edge.visualisation import draw_overlay, write_image


class MaskSink(Sink):
    """FOLDER/INDEX_NAME.png: one bit per pixel, white on particles."""

    name = "masks"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        options = [cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1]
        path = self._folder / f"{result.frame.stem}.png"
        write_image(path, result.mask, options, durable=False)


class OverlaySink(Sink):
    """FOLDER/INDEX_NAME.jpg: the frame with a circle around every particle, and their number."""

    name = "overlays"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        path = self._folder / f"{result.frame.stem}.jpg"
        overlay = draw_overlay(result)
        write_image(path, overlay, [cv2.IMWRITE_JPEG_QUALITY, 90], durable=False)
