"""The sessions of an engine that takes frames of several sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from edge.engines.engine import Session


class Sessions:
    """Sessions by frame size, the `capacity` used last; as a context manager it closes them.

    Args:
        make: opens one for frames of (height, width), px.
    """

    def __init__(
        self, make: Callable[[tuple[int, int]], AbstractContextManager[Session]], capacity: int
    ) -> None:
        self._make, self._capacity = make, capacity
        # In the order of their last use.
        self._opened: dict[tuple[int, int], tuple[Session, contextlib.ExitStack]] = {}

    def of(self, frame_hw: tuple[int, int]) -> Session:
        """For frames of that size; nothing may be in flight in another.

        Raises:
            EdgeError: the engine cannot take frames of that size.
        """
        if frame_hw in self._opened:
            self._opened[frame_hw] = self._opened.pop(frame_hw)
        else:
            if len(self._opened) == self._capacity:
                self._opened.pop(next(iter(self._opened)))[1].close()
            opened = contextlib.ExitStack()
            self._opened[frame_hw] = opened.enter_context(self._make(frame_hw)), opened
        return self._opened[frame_hw][0]

    def __enter__(self) -> Sessions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._opened:
            self._opened.popitem()[1][1].__exit__(kind, error, traceback)
