"""What every sink of results is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from edge.frame import SkippedFrame
from edge.result import Result


class Sink(ABC):
    """Takes what becomes of each frame, in order, in a thread of its own.

    Attributes:
        name: for messages and timings.
        on_error: whether a failed write ends the run, or costs that result only and is counted.
            What cannot be written of one result alone (`EdgeError`) never ends the run.
    """

    name: str
    on_error: ClassVar[Literal["fail", "drop"]] = "fail"

    @abstractmethod
    def write(self, result: Result) -> None:
        """Write what was found in a frame.

        Raises:
            OSError: nothing can be written any more.
            EdgeError: this result cannot be written.
        """

    def skip(self, frame: SkippedFrame) -> None:
        """Take note of a frame without a result; as `write`."""

    def close(self) -> None:
        """Finish what was written, also after an error; called once."""
