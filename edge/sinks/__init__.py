"""Sinks: where results go, one kind a module."""

from __future__ import annotations

from pathlib import Path

from edge.files import new_folder
from edge.sinks.pictures import Masks, Overlays
from edge.sinks.records import Records
from edge.sinks.sink import Sink


def open_sinks(folder: Path, mm_per_pixel: float | None) -> list[Sink]:
    """Every file sink, into `folder`, which is made.

    Raises:
        BadArgumentError: `folder` is not empty or not a folder.
        OSError: it cannot be written.
    """
    new_folder(folder)
    return [Records(folder, mm_per_pixel), Masks(folder), Overlays(folder)]
