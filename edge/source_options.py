"""The options of edge-run that say what is read."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from edge.arguments import POSITIVE, Number, Size, Text

if TYPE_CHECKING:
    from edge.sources.source import Source

OPTIONS = (
    click.option(
        "--camera",
        "cameras",
        type=Text(),
        metavar="N",
        multiple=True,
        help="Number of a camera, or /dev/videoN; 'edge-run sources' lists them. Repeatable.",
    ),
    click.option(
        "--source",
        "sources",
        type=Text(),
        metavar="URI",
        multiple=True,
        help="Image, folder of images, glob of images, video file, rtsp:// or http(s):// stream, "
        "camera:N, csi:N, genicam:SERIAL or gst:PIPELINE. Repeatable: all are read side by side.",
    ),
    click.option("--size", type=Size(), metavar="WxH", help="Size of a camera's frames, px."),
    click.option("--fps", type=POSITIVE, help="Frame rate of a camera."),
    click.option(
        "--format",
        "pixel_format",
        type=Text(),
        help="Pixel format of a camera, such as MJPG or YUYV; Mono8, BayerRG8, ... for GenICam.",
    ),
    click.option(
        "--exposure",
        type=POSITIVE,
        metavar="MS",
        help="Exposure time of a camera; turns its automatic exposure off.",
    ),
    click.option("--gain", type=Number(min=0), help="Gain of a camera, in its driver's unit."),
    click.option(
        "--encoder",
        type=Text(),
        metavar="CHUNK",
        help="Chunk of a GenICam camera's frames that holds the counts of an encoder on the belt, "
        "such as EncoderValue; with --belt and --encoder-step.",
    ),
    click.option(
        "--give-up",
        type=POSITIVE,
        metavar="SECONDS",
        help="Fail when a camera or stream gives no frame for so long.  [default: try for ever]",
    ),
)


@dataclass(frozen=True)
class SourceOptions:
    """What was given; see `OPTIONS`."""

    cameras: tuple[str, ...]
    sources: tuple[str, ...]
    size: tuple[int, int] | None
    fps: float | None
    pixel_format: str | None
    exposure: float | None
    gain: float | None
    encoder: str | None
    give_up: float | None

    def open(self) -> Source:
        """The source or sources that were asked for, opened.

        Raises:
            EdgeError: one is not there, or cannot be opened.
        """
        from edge.sources import open_sources
        from edge.sources.camera_settings import CameraSettings

        uris = [*(f"camera:{camera}" for camera in self.cameras), *self.sources]
        settings = CameraSettings(
            self.size, self.fps, self.pixel_format, self.exposure, self.gain, self.encoder
        )
        asked = settings if settings != CameraSettings() else None
        return open_sources(uris, asked, self.give_up)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `OPTIONS` to a command, which gets them as one `SourceOptions` named `given`."""
    names = SourceOptions.__dataclass_fields__.keys()

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> Any:
        given = SourceOptions(**{name: options.pop(name) for name in names})
        return command(*args, given=given, **options)

    for option in reversed(OPTIONS):
        wrapper = option(wrapper)
    return wrapper
