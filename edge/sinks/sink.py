"""What every sink of results is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from edge.frame import SkippedFrame
from edge.result import Result

if TYPE_CHECKING:
    from edge.pipeline import Pipeline


class Sink(ABC):
    """Takes what becomes of each frame, in order, in a thread of its own.

    Attributes:
        name: for messages, timings and metrics.
        on_error: whether a failed write ends the run, or costs that result only and is counted.
            What cannot be written of one result alone (`EdgeError`) never ends the run.
        waiting: results that were written, but are still to be delivered.
        lost: results that were written, but could not be delivered.
    """

    name: str
    on_error: Literal["fail", "drop"] = "fail"
    waiting: int = 0
    lost: int = 0

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
        """Finish what was written, also after an error; called once.

        Raises:
            OSError: it cannot be finished.
        """
