"""Sources by URI: one kind a module, one line in `SOURCES`."""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from edge.errors import BadArgumentError
from edge.sources.address import without_credentials
from edge.sources.camera import CameraSource
from edge.sources.camera_settings import CameraSettings
from edge.sources.genicam import GenicamSource
from edge.sources.gstreamer import CsiSource, GStreamerSource
from edge.sources.images import SUFFIXES, ImageSource
from edge.sources.live import LiveSource
from edge.sources.several import SeveralSources
from edge.sources.source import Source
from edge.sources.stream import StreamSource
from edge.sources.video import VideoSource

# By scheme, which a URI may leave out: photos/ is folder:photos/. Called with what follows it.
SOURCES: dict[str, Callable[[str], Source]] = {
    "camera": CameraSource,
    "csi": CsiSource,
    "genicam": GenicamSource,
    "gst": GStreamerSource,
    "http": lambda rest: StreamSource(f"http:{rest}"),
    "https": lambda rest: StreamSource(f"https:{rest}"),
    "rtsp": lambda rest: StreamSource(f"rtsp:{rest}"),
    "rtsps": lambda rest: StreamSource(f"rtsps:{rest}"),
    "image": ImageSource.from_file,
    "folder": ImageSource.from_folder,
    "glob": ImageSource.from_glob,
    "video": VideoSource,
}
# Cameras that can be set up.
CONFIGURABLE = (CameraSource, CsiSource, GenicamSource)
# A path or URI, as of `open_source`, or an opened source.
SourceArgument: TypeAlias = str | PathLike[str] | Source
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")


def open_source(
    uri: str, settings: CameraSettings | None = None, give_up_s: float | None = None
) -> Source:
    """The source that a URI names, opened: a camera's number or /dev/videoN, an image, a folder of
    images, a glob of images, a video file, or a stream such as rtsp://...; also with its scheme,
    such as `video:clip.bin`, `gst:PIPELINE`, `csi:0` and `genicam:SERIAL`.

    Args:
        settings: what a camera is asked for.
        give_up_s: how long a live source may give no frame, seconds; None is for ever.

    Raises:
        BadArgumentError: there is none of that kind, nothing is there, or it takes no settings.
        EdgeError: it cannot be opened.
    """
    return open_sources([uri], settings, give_up_s)


def open_sources(
    given: Sequence[SourceArgument],
    settings: CameraSettings | None = None,
    give_up_s: float | None = None,
) -> Source:
    """As `open_source`, of one or several, which a run reads side by side; opened ones are taken
    as they are.

    The settings are for the cameras among them, and `give_up_s` for the live ones.
    """
    if not given:
        raise BadArgumentError("there is no source; name a camera, a file or a folder")
    named = [item if isinstance(item, Source) else _named(str(item)) for item in given]
    fresh = [source for source, item in zip(named, given, strict=True) if source is not item]
    if settings:
        _configure(fresh, settings)
    if give_up_s is not None:
        _limit_waits(fresh, give_up_s)
    with contextlib.ExitStack() as opened:
        for source in fresh:
            source.open()
            opened.callback(source.close)
        opened.pop_all()
    return named[0] if len(named) == 1 else SeveralSources(named)


def _configure(sources: Sequence[Source], settings: CameraSettings) -> None:
    cameras = [source for source in sources if isinstance(source, CONFIGURABLE)]
    if not cameras:
        raise BadArgumentError(
            f"{sources[0].uri}: is no camera whose size, rate, format, exposure, gain or encoder "
            f"can be set"
        )
    for camera in cameras:
        if settings.encoder and not isinstance(camera, GenicamSource):
            raise BadArgumentError(f"{camera.uri}: only a GenICam camera tells an encoder's counts")
        camera.configure(settings)


def _limit_waits(sources: Sequence[Source], give_up_s: float) -> None:
    live = [source for source in sources if isinstance(source, LiveSource)]
    if not live:
        raise BadArgumentError(f"{sources[0].uri}: is no live source, which could be given up")
    for source in live:
        source.give_up_s = give_up_s


def _named(uri: str) -> Source:
    """Not opened yet."""
    if not uri.strip():
        raise BadArgumentError("the source is empty; name a camera, a file or a folder")
    found = _SCHEME.match(uri)
    if found and found[1].lower() in SOURCES and not Path(uri).exists():
        return SOURCES[found[1].lower()](uri[found.end() :])
    return SOURCES[_scheme(uri)](uri)


def _scheme(uri: str) -> str:
    """Of a URI that leaves it out."""
    path = Path(uri)
    if uri.isdecimal() or uri.startswith(("/dev/video", "/dev/v4l/")):
        return "camera"
    if path.is_dir():
        return "folder"
    if path.is_file():
        return "image" if path.suffix.lower() in SUFFIXES else "video"
    if path.exists():
        raise BadArgumentError(f"{uri}: is not a file or folder")
    if "://" in uri:
        raise BadArgumentError(
            f"{without_credentials(uri)}: is no stream that is read; give rtsp:// or http(s)://"
        )
    if " ! " in uri:
        raise BadArgumentError(f"{without_credentials(uri)}: give a pipeline as gst:PIPELINE")
    if glob.has_magic(uri):
        return "glob"
    raise BadArgumentError(f"{uri}: no such file or folder")
