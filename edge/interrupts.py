"""Signals that end a run."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edge.terminal import Terminal

if TYPE_CHECKING:
    from edge.runner import Run

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupts:
    """Within the block, the first signal stops the run, and the second ends it at once.

    Before there is anything to lose, the first one ends the program.

    Attributes:
        received: numbers of the signals.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._run: Run | None = None
        self._deferred = False
        self.received: list[int] = []

    @property
    def exit_code(self) -> int:
        """As a shell has it."""
        return 128 + self.received[0]

    @contextlib.contextmanager
    def exiting(self) -> Iterator[None]:
        """Within the block, a signal that ends the program gives its exit code."""
        try:
            yield
        except KeyboardInterrupt:
            raise SystemExit(self.exit_code) from None

    def defer(self) -> None:
        """From now on there are files to finish: signals wait for the run."""
        self._deferred = True

    def attach(self, run: Run) -> None:
        """The run that signals stop."""
        self._run = run
        if self.received:
            self._stop(run)

    def _stop(self, run: Run) -> None:
        run.stop(signal.Signals(self.received[0]).name)
        self._terminal.say("finishing the frame in flight; Ctrl-C again to leave it", error=True)

    def _handler(self, number: int, _: object) -> None:
        self.received.append(number)
        if self._run is None:
            if not self._deferred:
                raise KeyboardInterrupt
        elif len(self.received) == 1:
            self._stop(self._run)
        else:
            self._run.cancel()

    def __enter__(self) -> Interrupts:
        # One that is ignored, as under nohup, stays so.
        self._earlier: dict[int, Any] = {
            number: signal.signal(number, self._handler)
            for number in SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._earlier.items():
            signal.signal(number, previous)
