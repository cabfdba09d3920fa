"""What every sink of results is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from edge.frame import SkippedFrame
from edge.result import Result

if TYPE_CHECKING:
    from edge.pipeline import Pipeline


class Sink(ABC):
    """Takes what becomes of each frame, in order, in a thread of its own.

    Attributes:
        name: for messages and timings.
        on_error: whether a failed write ends the run, or costs that result only and is counted.
            What cannot be written of one result alone (`EdgeError`) never ends the run.
    """

    name: str
    on_error: ClassVar[Literal["fail", "drop"]] = "fail"

    def attach(self, pipeline: Pipeline) -> None:
        """Called once, before anything is written: whose results these are, for sinks that tell
        of the run itself or change its settings."""

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
