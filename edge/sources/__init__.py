"""Sources by what the user wrote: one kind a module, one line here."""

from __future__ import annotations

import glob
from pathlib import Path

from edge.errors import BadArgumentError
from edge.sources.images import SUFFIXES, ImageSource, image_files
from edge.sources.source import Source
from edge.sources.video import VideoSource


def open_source(text: str) -> Source:
    """The source of an image, a folder of images, a glob of images, or a video file.

    Raises:
        BadArgumentError: nothing is there, or a folder or glob holds no image.
        ToolError: the file is no image and no video.
    """
    path = Path(text)
    if path.is_dir():
        paths = image_files(path)
        if not paths:
            raise BadArgumentError(
                f"{text}: the folder holds no image ({', '.join(sorted(SUFFIXES))})"
            )
        return ImageSource(paths)
    if path.is_file():
        is_image = path.suffix.lower() in SUFFIXES
        return ImageSource([path]) if is_image else VideoSource(path)
    if glob.has_magic(text):
        found = sorted(Path(p) for p in glob.iglob(text, recursive=True))
        paths = [p for p in found if p.suffix.lower() in SUFFIXES and p.is_file()]
        if not paths:
            raise BadArgumentError(f"{text}: matches no image")
        return ImageSource(paths)
    raise BadArgumentError(f"{text}: no such file or folder")
