"""What every source of frames is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

from edge.frame import Frame, SkippedFrame


class Source(ABC):
    """Frames in order, and an account of those that were not delivered.

    Attributes:
        uri: what the user wrote.
        live: whether frames come at their own pace, as a camera's do.
        time_base: what a frame's time counts from, Unix time or the start of the clip.
        expected: number of frames where it is known; more may turn up while reading.
        truncated: whether the source ended long before the expected number.
        problems: what was not read or is doubtful, a sentence each.
    """

    live: ClassVar[bool] = False
    time_base: ClassVar[Literal["unix", "clip"]] = "unix"

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.expected: int | None = None
        self.truncated = False
        self.problems: list[str] = []

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
