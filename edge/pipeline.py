"""A run's stages side by side: source and engine in threads of their own, the rest in the caller's.

    source -> [one frame] -> engine -> [one map] -> whoever iterates over the pipeline

Never more than one item waits between two stages, so memory stays bounded and a run ends soon. An
end, and the error of a stage, travel the same way as the frames: behind all that came before them.
"""

from __future__ import annotations

import contextlib
import enum
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.engines.engine import Engine, Frames
from edge.frame import Frame
from edge.latency import Stopwatch
from edge.sources.source import Source

# How long the end of a run waits for a source inside a read, where a camera may hang.
PATIENCE_S = 1.0
# How long a waiting main thread may not hear a signal.
HEARING_S = 0.1
# How long a frame begun waits for the next, which a GPU could take up meanwhile.
NEXT_S = 0.005

T = TypeVar("T")


class Policy(enum.Enum):
    """What becomes of a frame that still waits for the engine when the next one comes."""

    EVERY = "every"  # it holds the source up: none is lost
    LATEST = "latest"  # it is replaced: no result is of an old frame


@dataclass(frozen=True)
class Taken:
    """A frame, and when the source handed it over, by `time.perf_counter`."""

    frame: Frame
    at_s: float


@dataclass(frozen=True)
class Mapped:
    """A frame taken and its probability map uint8 (H,W)."""

    taken: Taken
    probability: NDArray[np.uint8]


class Slot(Generic[T]):
    """Room for one item between two stages.

    `dropped` counts the items that were replaced, `error` is what the stage before ended with.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._changed = threading.Condition()
        self._item: T | None = None
        self._ended = False
        self.error: BaseException | None = None
        self.dropped = 0

    def wait_for_room(self) -> None:
        """Return once no item waits, or after the end."""
        with self._changed:
            self._wait_for(lambda: self._item is None or self._ended)

    def put(self, item: T) -> bool:
        """Hand `item` over, in its turn or in place of the one that waits; False after the end."""
        with self._changed:
            if self._policy is Policy.EVERY:
                self.wait_for_room()
            if self._ended:
                return False
            self.dropped += self._item is not None
            self._item = item
            self._changed.notify_all()
            return True

    def get(self, within_s: float = math.inf) -> T | None:
        """The item that waits, or the next; None after the end, or where none comes in time."""
        with self._changed:
            self._wait_for(lambda: self._item is not None or self._ended, within_s)
            item, self._item = self._item, None
            self._changed.notify_all()
            return item

    def end(self, error: BaseException | None = None) -> None:
        """Take nothing more; what waits is still given. Only the first end counts."""
        with self._changed:
            if not self._ended:
                self._ended, self.error = True, error
                self._changed.notify_all()

    def abandon(self) -> None:
        """Take nothing more and give nothing more."""
        with self._changed:
            self.end()
            self._item = None

    def _wait_for(self, condition: Callable[[], bool], within_s: float = math.inf) -> None:
        # Python runs signal handlers between two instructions of the main thread only: one that
        # arrives just before the wait, or in another thread, would be heard when it ends.
        end_s = time.perf_counter() + within_s
        while (left_s := end_s - time.perf_counter()) > 0:
            if self._changed.wait_for(condition, min(left_s, HEARING_S)):
                break


class Pipeline:
    """Iterates over what `engine` makes of the frames of `source`, in their order.

    As a context manager it runs the stages; leaving it ends them, wherever they are. The iteration
    raises what the source or the engine raised, after the results that came before.
    """

    def __init__(self, source: Source, engine: Engine, policy: Policy, clock: Stopwatch) -> None:
        self._source, self._engine, self._clock = source, engine, clock
        # More than one frame under way makes results older, which cameras do not want.
        self._depth = engine.depth if policy is Policy.EVERY else 1
        self._frames: Slot[Taken] = Slot(policy)
        # A map is never replaced, or its inference would have been for nothing.
        self._maps: Slot[Mapped] = Slot(Policy.EVERY)
        # Daemons: neither a hanging camera nor a hanging GPU keeps a process from ending.
        self._reading = threading.Thread(target=self._read, name="source", daemon=True)
        self._inferring = threading.Thread(target=self._infer, name="engine", daemon=True)

    @property
    def dropped(self) -> int:
        """Frames replaced by newer ones."""
        return self._frames.dropped

    def stop(self) -> None:
        """Take no more frames from the source; those taken are finished. Signal handlers may."""
        self._frames.end()

    def __enter__(self) -> Pipeline:
        self._reading.start()
        self._inferring.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._frames.abandon()
        self._maps.abandon()
        # Whatever the engine does to a frame has an end, but a second Ctrl-C does not wait for it.
        self._inferring.join(PATIENCE_S if kind is KeyboardInterrupt else None)
        self._reading.join(PATIENCE_S)

    def __iter__(self) -> Iterator[Mapped]:
        while (mapped := self._maps.get()) is not None:
            yield mapped
        if self._maps.error:
            raise self._maps.error

    def _read(self) -> None:
        try:
            frames = iter(self._source)
            start = time.perf_counter()
            while (frame := next(frames, None)) is not None:
                at_s = time.perf_counter()
                self._clock.add("read", at_s - start)
                if not self._frames.put(Taken(frame, at_s)):
                    break
                start = time.perf_counter()
            self._frames.end()
        except BaseException as error:
            self._frames.end(error)

    def _infer(self) -> None:
        try:
            self._infer_all()
            self._maps.end(self._frames.error)
        except BaseException as error:
            self._frames.abandon()
            self._maps.end(error)

    def _infer_all(self) -> None:
        begun: deque[Taken] = deque()
        frames: Frames
        frame_hw: tuple[int, int] | None = None

        def finish_all_but(count: int) -> None:
            while len(begun) > count:
                probability = frames.finish()
                self._maps.put(Mapped(begun.popleft(), probability))

        with contextlib.ExitStack() as opened:
            while True:
                # A frame is taken when its map will find room: until then a newer one may come.
                self._maps.wait_for_room()
                taken = self._frames.get(NEXT_S if begun else math.inf)
                if taken is None:
                    if not begun:
                        return
                    finish_all_but(0)
                    continue
                if taken.frame.size_hw != frame_hw:
                    finish_all_but(0)
                    opened.close()
                    frame_hw = taken.frame.size_hw
                    frames = opened.enter_context(
                        self._engine.frames(frame_hw, self._depth, self._clock)
                    )
                frames.start(taken.frame.image)
                begun.append(taken)
                finish_all_but(self._depth - 1)
