"""Sinks by URI: one kind a module, one line in `SINKS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.errors import BadArgumentError
from edge.files import ensure_empty_directory
from edge.sinks.images import MaskSink, OverlaySink
from edge.sinks.records import CsvSink, FrameCsvSink, JsonLinesSink
from edge.sinks.sink import Sink

# By scheme; called with what follows it, and the scale in mm per pixel where it is known.
SINKS: dict[str, Callable[[Path, float | None], Sink]] = {
    "jsonl": JsonLinesSink,
    "csv": CsvSink,
    "frames": lambda path, _: FrameCsvSink(path),
    "masks": lambda path, _: MaskSink(path),
    "overlays": lambda path, _: OverlaySink(path),
}


def open_sink(uri: str, mm_per_pixel: float | None = None) -> Sink:
    """The sink that a URI names, such as `jsonl:particles.jsonl` or `masks:masks/`.

    Raises:
        BadArgumentError: there is no such kind, or a file of that name exists.
        OSError: it cannot be written.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in SINKS or not rest:
        kinds = ", ".join(f"{kind}:PATH" for kind in SINKS)
        raise BadArgumentError(f"{uri}: is no sink; give one of {kinds}")
    path = Path(rest)
    if path.is_file() or path.with_name(path.name + ".part").exists():
        raise BadArgumentError(f"{rest}: exists; name a new file")
    return SINKS[scheme](path, mm_per_pixel)


def open_sinks(
    folder: Path,
    mm_per_pixel: float | None = None,
    *,
    masks: bool = True,
    overlays: bool = True,
) -> list[Sink]:
    """The usual sinks, into `folder`, which is made.

    Raises:
        BadArgumentError: `folder` is not empty or not a folder.
        OSError: it cannot be written.
    """
    ensure_empty_directory(folder)
    sinks: list[Sink] = [
        FrameCsvSink(folder / "frames.csv"),
        JsonLinesSink(folder / "particles.jsonl", mm_per_pixel),
        CsvSink(folder / "particles.csv", mm_per_pixel),
    ]
    if masks:
        sinks.append(MaskSink(folder / "masks"))
    if overlays:
        sinks.append(OverlaySink(folder / "overlays"))
    return sinks
