"""Sinks by URI: one kind a module, one line in `SINKS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.errors import BadArgumentError
from edge.files import ensure_empty_directory
from edge.sinks.annotations import AnnotationSink, CocoSink, LabelStudioSink
from edge.sinks.crops import CropSink, Limit
from edge.sinks.images import MaskSink, OverlaySink
from edge.sinks.mqtt import MqttSink
from edge.sinks.prometheus import PrometheusSink
from edge.sinks.records import (
    CsvSink,
    FrameCsvSink,
    JsonLinesSink,
    SegmentCsvSink,
    ShapeCsvSink,
)
from edge.sinks.rotation import NEVER, Rotation
from edge.sinks.sink import Sink
from edge.sinks.sqlite import SqliteSink
from edge.sinks.uri import SinkUri, duration_s, positive
from edge.sinks.video import VideoSink


def _rotated(uri: SinkUri) -> tuple[Path, Rotation]:
    """The file, which is new where nothing rotates, and its rotation."""
    rotation = Rotation(**uri.options(max_mb=positive, every=duration_s))
    return (uri.new_file() if rotation == NEVER else uri.file()), rotation


def _annotations(kind: type[AnnotationSink]) -> Callable[[SinkUri], Sink]:
    return lambda uri: kind(uri.new_file(), **uri.options())


# By scheme; called with the URI.
SINKS: dict[str, Callable[[SinkUri], Sink]] = {
    "jsonl": lambda uri: JsonLinesSink(*_rotated(uri), mm_per_pixel=uri.mm_per_pixel),
    "csv": lambda uri: CsvSink(*_rotated(uri), mm_per_pixel=uri.mm_per_pixel),
    "frames": lambda uri: FrameCsvSink(*_rotated(uri)),
    "shapes": lambda uri: ShapeCsvSink(*_rotated(uri), mm_per_pixel=uri.mm_per_pixel),
    "segments": lambda uri: SegmentCsvSink(*_rotated(uri), mm_per_pixel=uri.mm_per_pixel),
    "masks": lambda uri: MaskSink(uri.folder(), **uri.options()),
    "overlays": lambda uri: OverlaySink(uri.folder(), **uri.options()),
    "crops": lambda uri: CropSink(uri.folder(), **uri.options(limit=Limit.parse)),
    "coco": _annotations(CocoSink),
    "labelstudio": _annotations(LabelStudioSink),
    "video": lambda uri: VideoSink(*_rotated(uri)),
    "sqlite": lambda uri: SqliteSink(uri.file(), uri.mm_per_pixel, **uri.options()),
    "mqtt": MqttSink.from_uri,
    "mqtts": MqttSink.from_uri,
    "prometheus": PrometheusSink.from_uri,
}
# What stands behind the scheme, where it is not the name of a file.
_PLACES = {
    "masks": "FOLDER",
    "overlays": "FOLDER",
    "crops": "FOLDER",
    "mqtt": "//HOST/TOPIC",
    "mqtts": "//HOST/TOPIC",
    "prometheus": "//:PORT",
}


def open_sink(uri: str, mm_per_pixel: float | None = None) -> Sink:
    """The sink that a URI names, such as `jsonl:particles.jsonl?every=1h` or `masks:masks/`.

    Raises:
        BadArgumentError: there is no such kind or parameter, or a file of that name exists.
        EdgeError: it cannot be opened.
        OSError: it cannot be written.
    """
    parsed = SinkUri.parse(uri, mm_per_pixel)
    if parsed.scheme not in SINKS or not parsed.place:
        kinds = ", ".join(f"{kind}:{_PLACES.get(kind, 'FILE')}" for kind in SINKS)
        raise BadArgumentError(f"{uri}: is no sink; give one of {kinds}")
    sink = SINKS[parsed.scheme](parsed)
    if parsed.on_error:
        sink.on_error = parsed.on_error
    return sink


def open_sinks(
    folder: Path,
    mm_per_pixel: float | None = None,
    *,
    masks: bool = True,
    overlays: bool = True,
    belt: bool = False,
    shapes: bool = False,
) -> list[Sink]:
    """The usual sinks, into `folder`, which is made; with `belt` those of a run over a belt, with
    `shapes` the shapes of the particles.

    Raises:
        BadArgumentError: `folder` is not empty or not a folder.
        OSError: it cannot be written.
    """
    ensure_empty_directory(folder)
    sinks: list[Sink] = [
        FrameCsvSink(folder / "frames.csv"),
        JsonLinesSink(folder / "particles.jsonl", mm_per_pixel=mm_per_pixel),
        CsvSink(folder / "particles.csv", mm_per_pixel=mm_per_pixel),
    ]
    if shapes:
        sinks.append(ShapeCsvSink(folder / "shapes.csv", mm_per_pixel=mm_per_pixel))
    if belt:
        sinks.append(SegmentCsvSink(folder / "segments.csv", mm_per_pixel=mm_per_pixel))
    if masks:
        sinks.append(MaskSink(folder / "masks"))
    if overlays:
        sinks.append(OverlaySink(folder / "overlays"))
    return sinks
