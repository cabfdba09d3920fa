"""What live sources share: states, connections made again, frozen pictures, capture times."""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError, describe
from edge.frame import Frame, SkippedFrame
from edge.sources.source import Source, SourceStatus, State

# A source is stale when it has shown nothing new for so long, and asked this often.
STALE_S, WATCH_S = 10.0, 0.5
# The first wait before a connection is made again; it doubles with each failure.
RETRY_S, MAX_RETRY_S = 0.5, 30.0
# A connection that lasted as long ends a series of failures.
STEADY_S = 30.0
# How often damaged frames are logged; all are counted.
LOG_S = 60.0
# How far apart the clocks of a source and of this machine run at most, seconds per second.
CLOCK_DRIFT = 2e-4

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """What a live source shows.

    Attributes:
        image: uint8 (H,W,3) RGB.
        stream_s: its time stamp by a clock of the source; None where it has none.
        encoder: as in `Frame`.
    """

    image: NDArray[np.uint8]
    stream_s: float | None = None
    encoder: float | None = None


class LiveSource(Source):
    """Frames that come at their own pace, until the run is stopped.

    A connection that is lost is made again, with growing waits, for ever or for `give_up_s`.
    Subclasses connect and read; both may block for some seconds, but must come back.

    Attributes:
        give_up_s: fail after so many seconds without a frame; None is never.
    """

    live = True

    def __init__(self, uri: str, name: str) -> None:
        super().__init__(uri)
        self.give_up_s: float | None = None
        self._name = name
        self._closed, self._ended = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._status = SourceStatus(uri, State.CONNECTING, time.time())
        self._clock = StreamClock()
        self._connected = self._reading = False
        self._connected_s = self._new_s = self._seen_s = time.monotonic()
        self._failures = self._gaps = 0
        self._gaps_s = 0.0
        self._logged_s = -LOG_S
        self._last: NDArray[np.uint8] | None = None

    @abstractmethod
    def _connect(self) -> None:
        """Make the connection.

        Raises:
            EdgeError: there is nothing to connect to.
        """

    @abstractmethod
    def _read(self) -> Picture | None:
        """The next picture; None where it came but cannot be decoded.

        Raises:
            EdgeError: the connection is gone.
            EOFError: it was a recording, which is over.
        """

    @abstractmethod
    def _disconnect(self) -> None:
        """Free what `_connect` made; also where it failed, and twice."""

    def statuses(self) -> tuple[SourceStatus, ...]:
        """As `Source.statuses`."""
        return (self._status,)

    def close(self) -> None:
        """As `Source.close`."""
        with self._lock:
            if self._closed.is_set():
                return
            self._closed.set()
        if not self._reading:
            self._disconnect()
            return
        # One sentence for all: a source may run for weeks.
        lost_s = time.monotonic() - self._seen_s
        if self._status.state is State.CONNECTING:
            self.problems.append(f"{self.uri}: no frame came in {lost_s:.1f} s")
        elif self._gaps or self._status.state is State.LOST:
            lost = self._status.state is State.LOST
            gaps, gaps_s = self._gaps + lost, self._gaps_s + lost_s * lost
            times = "once" if gaps == 1 else f"{gaps} times"
            self.problems.append(
                f"{self.uri}: lost {times}, {gaps_s:.1f} s in all" + "; lost at the end" * lost
            )
        if errors := self._status.decode_errors:
            frames = "1 frame" if errors == 1 else f"{errors} frames"
            self.problems.append(f"{self.uri}: {frames} could not be decoded")

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Raises EdgeError where no frame comes for `give_up_s`."""
        self._reading = True
        threading.Thread(target=self._watch, name=f"watch {self._name}", daemon=True).start()
        self._seen_s = self._new_s = self._connected_s = time.monotonic()
        counter = itertools.count()
        try:
            while self._connected or self._connect_again():
                if self._closed.is_set():
                    return
                try:
                    picture = self._read()
                except EdgeError as error:
                    self._lose(error)
                    continue
                except EOFError:
                    return
                now = time.time()
                if picture is None:
                    self._count_damaged()
                    yield SkippedFrame(
                        next(counter), self._name, now, "failed", "could not be decoded"
                    )
                    continue
                gap_s = self._arrived(picture.image)
                if gap_s is not None:
                    reason = f"no frame for {gap_s:.1f} s"
                    yield SkippedFrame(next(counter), self._name, now - gap_s, "failed", reason)
                time_s = self._clock.unix_s(picture.stream_s, now)
                yield Frame(
                    picture.image, next(counter), self._name, time_s, encoder=picture.encoder
                )
        finally:
            self._ended.set()
            self._disconnect()

    def _connect_again(self) -> bool:
        """Whether the connection could be made before `close`."""
        reason = ""
        while not self._closed.wait(self._wait_s()):
            silent_s = time.monotonic() - self._seen_s
            if self.give_up_s is not None and self._failures and silent_s >= self.give_up_s:
                raise EdgeError(f"{self.uri}: no frame for {silent_s:.1f} s; given up{reason}")
            try:
                self._connect()
            except EdgeError as error:
                reason = f" ({describe(error)})"
                self._failed(error)
                continue
            self._connected = True
            self._connected_s = time.monotonic()
            return True
        return False

    def _wait_s(self) -> float:
        """Before the next attempt; with jitter, so that a server is not met by all at once."""
        if not self._failures:
            return 0.0
        wait_s = RETRY_S * float(2 ** min(self._failures - 1, 16))
        wait_s = min(wait_s, MAX_RETRY_S) * random.uniform(0.5, 1.0)
        if self.give_up_s is None:
            return wait_s
        return max(0.0, min(wait_s, self._seen_s + self.give_up_s - time.monotonic()))

    def _lose(self, error: EdgeError) -> None:
        """The connection is gone."""
        self._connected = False
        self._disconnect()
        self._clock = StreamClock()
        self._last = None
        if time.monotonic() - self._connected_s > STEADY_S:
            self._failures = 0
        self._failed(error)

    def _failed(self, error: EdgeError) -> None:
        self._failures += 1
        if self._closed.is_set():
            return
        if self._status.state is not State.CONNECTING:
            self._enter(State.LOST, f"lost ({describe(error)}); trying again")
        elif self._failures == 1:
            _log.warning("%s: not there yet (%s); trying again", self.uri, describe(error))
        _log.debug("%s: attempt %d: %s", self.uri, self._failures, describe(error))

    def _count_damaged(self) -> None:
        errors = self._status.decode_errors + 1
        self._set(decode_errors=errors)
        if time.monotonic() - self._logged_s >= LOG_S:
            self._logged_s = time.monotonic()
            _log.warning("%s: a frame could not be decoded (%d so far)", self.uri, errors)

    def _arrived(self, image: NDArray[np.uint8]) -> float | None:
        """Take note of a picture; after a loss, seconds since the one before."""
        now_s = time.monotonic()
        gap_s = now_s - self._seen_s if self._status.state is State.LOST else None
        if gap_s is not None:
            self._gaps, self._gaps_s = self._gaps + 1, self._gaps_s + gap_s
            self._set(reconnects=self._status.reconnects + 1)
        self._seen_s = now_s
        size_wh, before = (image.shape[1], image.shape[0]), self._status.size_wh
        if size_wh != before:
            self._set(size_wh=size_wh)
            if before:
                _log.warning("%s: frames of %dx%d, no longer %dx%d", self.uri, *size_wh, *before)
        if self._last is None or not _same(image, self._last):
            self._last, self._new_s = image, now_s
            first = self._status.state is State.CONNECTING
            self._enter(State.LIVE, "live" if first else "live again")
        return gap_s

    def _watch(self) -> None:
        """The thread that finds a source stale, also while its own hangs in a read."""
        while not self._ended.wait(WATCH_S):
            with self._lock:
                stale = time.monotonic() - self._new_s > STALE_S
                if stale and self._status.state is State.LIVE:
                    self._change(State.STALE, f"nothing new for {STALE_S:g} s")

    def _enter(self, state: State, text: str) -> None:
        with self._lock:
            if self._status.state is not state:
                self._change(state, text)

    def _change(self, state: State, text: str) -> None:
        """With the lock held; one line in the log per change."""
        # Who reads of a loss must read of its end too.
        first = self._status.state is State.CONNECTING
        _log.log(logging.INFO if first else logging.WARNING, "%s: %s", self.uri, text)
        self._status = replace(self._status, state=state, since_s=time.time())

    def _set(self, **values: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **values)


class StreamClock:
    """Unix time of time stamps by a clock that counts from anywhere.

    A picture cannot come before it is captured, so the least delay seen so far is taken for none;
    it may grow by the drift between the clocks.
    """

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._last_s = 0.0

    def unix_s(self, stream_s: float | None, now_s: float) -> float:
        """Of a picture that came at `now_s`; that itself where it has no time stamp."""
        if stream_s is None:
            return now_s
        if self._offset_s is None or stream_s < self._last_s:
            self._offset_s = now_s - stream_s
        else:
            self._offset_s += CLOCK_DRIFT * (stream_s - self._last_s)
        self._offset_s = min(self._offset_s, now_s - stream_s)
        self._last_s = stream_s
        return self._offset_s + stream_s


def _same(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two pictures are equal; a few rows tell of most that are not."""
    return (
        image.shape == other.shape
        and np.array_equal(image[::64], other[::64])
        and np.array_equal(image, other)
    )
