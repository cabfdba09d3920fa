"""Sinks: where results go, one kind a module."""

from __future__ import annotations

from pathlib import Path

from edge.errors import BadArgumentError
from edge.sinks.pictures import Masks, Overlays
from edge.sinks.records import Records
from edge.sinks.sink import Sink


def open_sinks(folder: Path, mm_per_pixel: float | None) -> list[Sink]:
    """Every file sink, into `folder`, which is made; no earlier run is ever overwritten.

    Raises:
        BadArgumentError: `folder` is not empty or not a folder.
        OSError: it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise BadArgumentError(f"{folder}: is a file; name a folder for the results")
    if folder.is_dir() and any(folder.iterdir()):
        raise BadArgumentError(f"{folder}: is not empty; name a new folder for the results")
    return [Records(folder, mm_per_pixel), Masks(folder), Overlays(folder)]
