"""What every source of frames is."""

from __future__ import annotations

import enum
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edge.frame import Frame, SkippedFrame


class State(enum.Enum):
    """Of the connection to a source."""

    CONNECTING = "connecting"  # no frame yet
    LIVE = "live"  # frames come
    STALE = "stale"  # no new picture for a while
    LOST = "lost"  # the connection is gone, and tried again


@dataclass(frozen=True)
class SourceStatus:
    """How a source is.

    Attributes:
        name: of the source: in a run of several as in `Frame.source`, else its URI.
        since_s: Unix time from which on it is in that state.
        reconnects: how often the connection was made again.
        decode_errors: frames that came but could not be decoded.
        size_wh: (width, height) of the last frame, px, of a live source; None before the first.
    """

    name: str
    state: State
    since_s: float
    reconnects: int = 0
    decode_errors: int = 0
    size_wh: tuple[int, int] | None = None


class Source(ABC):
    """Frames in order, and an account of those that were not delivered.

    Attributes:
        uri: what the user wrote, without user and password.
        live: whether frames come at their own pace, as a camera's do.
        time_base: what a frame's time counts from, Unix time or the start of the clip.
        expected: number of frames where it is known; more may turn up while reading.
        truncated: whether the source ended long before the expected number.
        problems: what was not read or is doubtful, a sentence each.
        columns: what the records of its frames have besides `edge.result.COLUMNS`.
    """

    live: bool = False
    columns: tuple[str, ...] = ()
    time_base: Literal["unix", "clip", "mixed"] = "unix"

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.expected: int | None = None
        self.truncated = False
        self.problems: list[str] = []
        self._made_s = time.time()

    def statuses(self) -> tuple[SourceStatus, ...]:
        """How it is now, one status for each source that it is made of; from any thread."""
        return (SourceStatus(self.uri, State.LIVE, self._made_s),)

    def parts(self) -> Mapping[str, Source]:
        """What is read side by side, by name; a single source has none."""
        return {"": self}

    def open(self) -> None:
        """Get ready to read.

        Raises:
            EdgeError: it is not there, or not what it must be.
        """

    @abstractmethod
    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        """Every frame, also those that could not be read.

        Raises:
            EdgeError: it fails for good.
        """

    def close(self) -> None:
        """Free what it holds; may be called from any thread, and ends a wait inside it at once."""
