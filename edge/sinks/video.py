"""The frames with their particles circled as H.264 video."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import require_extra
from edge.files import sync
from edge.result import Result
from edge.sinks.rotation import NEVER, Rotation, free, part
from edge.sinks.sink import Sink
from edge.visualisation import draw_overlay

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

# Of the time stamps, per second.
TICKS = 90_000
# From one frame to the next where times are unknown, or less or more than the others apart.
STEP_S, MIN_STEP_S, MAX_STEP_S = 0.04, 0.002, 10.0
# A killed run loses what came since the last key frame but one.
KEY_FRAME_S = 1.0


class VideoSink(Sink):
    """MP4 files, named *.part until they are finished; what is in one can be played even if its run
    was killed.

    Frames have their real times, and pauses of more than `MAX_STEP_S` are cut. Where frames change
    size a new file begins, FILE_2.mp4. In a run of several sources each has a file of its own,
    FILE_SOURCE.mp4.

    Raises:
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, path: Path, rotation: Rotation = NEVER) -> None:
        with require_extra("live"):
            import av  # noqa: F401
        self.name = path.name
        self._path, self._rotation = path, rotation
        self._movies: dict[str, _Movie] = {}

    def write(self, result: Result) -> None:
        """As `Sink.write`."""
        source = result.frame.source
        movie = self._movies.get(source)
        if movie and (movie.size_hw != result.frame.size_hw or self._full(movie)):
            del self._movies[source]
            self._finish(movie)
            movie = None
        if movie is None:
            movie = self._movies[source] = self._new_movie(result)
        try:
            movie.write(result)
        except OSError:
            del self._movies[source]
            self.lost += movie.pending
            with contextlib.suppress(OSError):
                movie.cut()
            raise

    def close(self) -> None:
        """As `Sink.close`."""
        with contextlib.ExitStack() as closing:  # all of them, also where one fails
            for movie in self._movies.values():
                closing.callback(self._finish, movie)

    def _finish(self, movie: _Movie) -> None:
        try:
            movie.close()
        except OSError:
            self.lost += movie.pending
            raise

    def _full(self, movie: _Movie) -> bool:
        return self._rotation.due(movie.begun_s, movie.size, time.time())

    def _new_movie(self, result: Result) -> _Movie:
        begun_s, path = time.time(), self._path
        if source := re.sub(r"[^A-Za-z0-9_-]+", "_", result.frame.source):
            path = path.with_stem(f"{path.stem}_{source}")
        return _Movie(free(self._rotation.path(path, begun_s)), result.frame.size_hw, begun_s)


class _Movie:
    """One file of frames.

    Attributes:
        size_hw: (height, width) of the frames, px.
        begun_s: Unix time.
        size: bytes of the header and the fragments that are in the file.
        pending: frames of the fragment that is not in it yet.
    """

    def __init__(self, path: Path, size_hw: tuple[int, int], begun_s: float) -> None:
        import av

        self._path, self.size_hw, self.begun_s = path, size_hw, begun_s
        self.size = self._header_size = self.pending = 0
        self._last_s: float | None = None
        # Of the last frame and the last key frame, from the begin of the file; below 0: none yet.
        self._at_s = self._key_frame_s = -math.inf
        # A fragment for each key frame, none of which depends on the end of the file.
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        with self._errors():
            # Given a path, PyAV leaves a file open whose header could not be written.
            self._file = _WholeFile(part(path), "xb")
            self._container: OutputContainer = av.open(
                self._file, "w", format="mp4", options=options
            )
            self._stream: VideoStream = self._container.add_stream("libx264", rate=25)
            self._stream.height, self._stream.width = (side + side % 2 for side in size_hw)
            self._stream.pix_fmt = "yuv420p"
            self._stream.time_base = self._stream.codec_context.time_base = Fraction(1, TICKS)
            self._stream.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "23"}

    def write(self, result: Result) -> None:
        from av import VideoFrame
        from av.video.frame import PictureType

        height, width = self.size_hw
        # H.264 halves the sides of its colours.
        image = cv2.copyMakeBorder(
            draw_overlay(result), 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE
        )
        time_s = result.frame.time_s
        self._at_s = max(0.0, self._at_s + self._step_s(time_s))
        self._last_s = time_s
        frame = VideoFrame.from_ndarray(np.asarray(image, np.uint8), format="bgr24")
        frame.pts, frame.time_base = round(self._at_s * TICKS), Fraction(1, TICKS)
        if self._at_s - self._key_frame_s >= KEY_FRAME_S:
            frame.pict_type, self._key_frame_s = PictureType.I, self._at_s
        with self._errors():
            self._container.mux(self._stream.encode(frame))
        size, before = part(self._path).stat().st_size, self.size
        # A fragment is written when the key frame of the next one comes.
        self.size, self.pending = size, self.pending + 1 if size == before else 1
        self._header_size = self._header_size or self.size

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            with self._errors():
                self._container.mux(self._stream.encode())
                self._container.close()
                self._file.close()
        except OSError:
            self.cut()
            raise
        self._finish()

    def cut(self) -> None:
        """Finish the file where its last whole fragment ends; without any there is no file."""
        with contextlib.suppress(OSError), self._errors():
            self._container.close()
        self._file.close()
        if self.size > self._header_size:
            os.truncate(part(self._path), self.size)
            self._finish()
        else:
            part(self._path).unlink(missing_ok=True)

    def _finish(self) -> None:
        sync(part(self._path))
        part(self._path).rename(self._path)
        sync(self._path.parent)

    def _step_s(self, time_s: float | None) -> float:
        if time_s is None or self._last_s is None:
            return STEP_S
        step_s = time_s - self._last_s
        return step_s if MIN_STEP_S <= step_s <= MAX_STEP_S else STEP_S

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from av.error import FFmpegError

        try:
            yield
        except (FFmpegError, OSError) as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


class _WholeFile(io.FileIO):
    """Writes all it is given or raises: FFmpeg does not look at how much was written."""

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left:
            left = left[super().write(left) :]
        return len(data)
