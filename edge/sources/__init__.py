"""Sources by URI: one kind a module, one line in `SOURCES`."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable
from pathlib import Path

from edge.errors import BadArgumentError
from edge.sources.camera import CameraSource
from edge.sources.images import SUFFIXES, ImageSource
from edge.sources.source import Source
from edge.sources.video import VideoSource

# By scheme, which a URI may leave out: photos/ is folder:photos/.
SOURCES: dict[str, Callable[[str], Source]] = {
    "camera": CameraSource,
    "image": ImageSource.from_file,
    "folder": ImageSource.from_folder,
    "glob": ImageSource.from_glob,
    "video": VideoSource,
}
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):")


def open_source(uri: str) -> Source:
    """The source that a URI names, opened: a camera's number or /dev/videoN, an image, a folder of
    images, a glob of images, or a video file; also with its scheme, such as `video:clip.bin`.

    Raises:
        BadArgumentError: there is none of that kind, or nothing is there.
        EdgeError: it cannot be opened.
    """
    if not uri.strip():
        raise BadArgumentError("the source is empty; name a camera, a file or a folder")
    found = _SCHEME.match(uri)
    if found and found[1] in SOURCES and not Path(uri).exists():
        scheme, rest = found[1], uri[found.end() :]
    else:
        scheme, rest = _scheme(uri), uri
    source = SOURCES[scheme](rest)
    source.open()
    return source


def _scheme(uri: str) -> str:
    """Of a URI that leaves it out."""
    path = Path(uri)
    if uri.isdecimal() or uri.startswith("/dev/video"):
        return "camera"
    if path.is_dir():
        return "folder"
    if path.is_file():
        return "image" if path.suffix.lower() in SUFFIXES else "video"
    if path.exists():
        raise BadArgumentError(f"{uri}: is not a file or folder")
    if "://" in uri or " ! " in uri:
        raise BadArgumentError(
            f"{uri}: streams and pipelines are not read; give a camera's number, a file or a folder"
        )
    if glob.has_magic(uri):
        return "glob"
    raise BadArgumentError(f"{uri}: no such file or folder")
