"""What every source of frames is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edge.frame import Frame


class Source(Protocol):
    """Frames in order.

    `total` is the number of frames where it is known, `skipped` names what could not be read, and
    `time_base` says what a frame's time counts from: "unix" or "clip".
    """

    total: int | None
    skipped: list[str]
    time_base: str

    def __iter__(self) -> Iterator[Frame]: ...
