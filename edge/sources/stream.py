"""Streams by address, read by PyAV: RTSP, and over HTTP MJPEG and HLS."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from edge.errors import BadArgumentError, EdgeError, require_extra
from edge.sources.address import without_credentials
from edge.sources.live import LiveSource, Picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# An answer, and between two pieces of data; segments of HLS may come several seconds apart.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 15.0
# How much of a stream FFmpeg may look at before the first frame, microseconds.
ANALYSIS_US = 1_000_000
# Of a format, FFmpeg's AVFMT_NOTIMESTAMPS.
NO_TIMESTAMPS = 0x80
# How early a recording may end and be whole.
END_TOLERANCE_S = 1.0


class StreamSource(LiveSource):
    """Frames of a stream; a server that is not there yet is waited for.

    Args:
        uri: an address; user and password are used, but never shown.

    Raises:
        BadArgumentError: the address cannot be one.
    """

    def __init__(self, uri: str) -> None:
        _check(uri)
        shown = without_credentials(uri)
        super().__init__(shown, shown)
        self._address = uri
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._decoded: deque[VideoFrame] = deque()
        self._duration_s: float | None = None
        self._position_s = 0.0
        self._timed = True

    def open(self) -> None:
        """Raises MissingExtraError where PyAV is not installed."""
        with require_extra("live"):
            import av  # noqa: F401

    def _connect(self) -> None:
        import av

        options = {
            "rtsp_transport": "tcp",  # UDP loses packets, and does not pass every firewall
            "flags": "low_delay",
            "analyzeduration": str(ANALYSIS_US),
        }
        start_s = time.monotonic()
        try:
            container = av.open(
                self._address, options=options, timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
            )
        except (av.FFmpegError, ValueError) as error:
            # Not chained: the error of FFmpeg holds the address with its password.
            # FFmpeg says of a time-out that the data is invalid.
            waited = time.monotonic() - start_s >= CONNECT_TIMEOUT_S
            reason = f"no answer for {CONNECT_TIMEOUT_S:g} s" if waited else _reason(error)
            raise EdgeError(reason) from None
        self._container = container
        if not container.streams.video:
            self._disconnect()
            raise EdgeError("it holds no video")
        video = container.streams.video[0]
        if video.codec_context.name == "mjpeg":
            # Or damaged pictures come with grey in place of what is missing.
            video.codec_context.options = {"err_detect": "explode"}
        self._packets = container.demux(video)
        # Of what has no time stamps, such as MJPEG, FFmpeg makes some up, 25 a second.
        self._timed = not container.format.flags & NO_TIMESTAMPS
        # Live streams have none.
        self._duration_s = container.duration / av.time_base if container.duration else None

    def _read(self) -> Picture | None:
        import av

        try:
            while not self._decoded:
                packet = next(self._packets, None)
                if packet is None:
                    raise self._end()
                try:
                    self._decoded.extend(packet.decode())
                except av.error.EOFError:
                    continue
                except av.error.InvalidDataError:
                    return None
            frame = self._decoded.popleft()
            if frame.is_corrupt:
                return None
            if frame.time is not None:
                self._position_s = max(self._position_s, frame.time)
            image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            return Picture(image, frame.time if self._timed else None)
        except av.FFmpegError as error:
            raise EdgeError(_reason(error)) from None

    def _end(self) -> Exception:
        """What the end of the data means."""
        if self._duration_s and self._position_s > self._duration_s - END_TOLERANCE_S:
            return EOFError()
        return EdgeError("the server ended it")

    def _disconnect(self) -> None:
        self._packets = iter(())
        self._decoded.clear()
        if self._container is not None:
            self._container.close()
            self._container = None


def _check(uri: str) -> None:
    """Raise BadArgumentError for what cannot be an address, without showing it."""
    try:
        parts = urlsplit(uri)
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        # An @ behind the host is mostly that of a password which should be escaped.
        good &= "@" not in parts.path + parts.query + parts.fragment
    except ValueError:
        good = False
    if not good or re.search(r"\s", uri):
        scheme = uri.partition(":")[0]
        raise BadArgumentError(
            f"{scheme}://...: is no valid address; give {scheme}://HOST:PORT/PATH, "
            f"and write a special character of a password as %40 for @, %2F for /"
        )


def _reason(error: Exception) -> str:
    """Of an error of FFmpeg, without the address that it names."""
    import av

    if isinstance(error, av.error.ExitError):
        return f"nothing came for {READ_TIMEOUT_S:g} s"
    text = getattr(error, "strerror", None) or type(error).__name__
    return without_credentials(str(text))
