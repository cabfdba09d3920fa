"""What a run tells systemd where it is a service: that it is ready, how it is, and that it lives.

Units of Type=notify name a datagram socket in NOTIFY_SOCKET; sd_notify(3) has the messages.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from edge.errors import printable
from edge.sources.source import State

if TYPE_CHECKING:
    from edge.pipeline import Statistics
    from edge.runner import Run

# How often the status is told, and at least how often in the time of the watchdog.
STATUS_S, TICKS_PER_WATCHDOG = 5.0, 4
# A source in these has nothing to give, and tries on.
_WAITING = frozenset({State.CONNECTING, State.LOST})


class Service:
    """Within the block, systemd is told of a run; outside of a service nothing is done.

    Ready is a run whose engine is loaded, also one that waits for its camera. The watchdog is
    told only while results come or every source waits to be connected: where an engine, a sink or
    a connected camera hangs, it is not, and systemd starts the service anew.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._left = threading.Event()
        self._watchdog_s = _watchdog_s()
        tick_s = min(STATUS_S, (self._watchdog_s or STATUS_S) / TICKS_PER_WATCHDOG)
        self._thread = threading.Thread(
            target=self._tell, args=[tick_s], name="systemd", daemon=True
        )

    def __enter__(self) -> Service:
        if os.environ.get("NOTIFY_SOCKET"):
            notify("READY=1", _status(self._run.statistics()))
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        notify("STOPPING=1")

    def _tell(self, tick_s: float) -> None:
        done = -1
        while not self._left.wait(tick_s):
            statistics = self._run.statistics()
            counts = statistics.counts
            done, before = counts.processed + counts.failed, done
            idle = counts.captured == counts.processed + counts.dropped
            waiting = idle and all(s.state in _WAITING for s in statistics.sources)
            alive = ["WATCHDOG=1"] if self._watchdog_s and (done != before or waiting) else []
            notify(_status(statistics), *alive)


def notify(*messages: str) -> None:
    """Send messages such as READY=1 to systemd, where it started this process; a service runs on
    when they cannot be sent."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":  # Linux's abstract sockets
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        # A full queue must not hold the run up.
        connection.setblocking(False)
        try:
            connection.sendto("\n".join(messages).encode(), address)
        except OSError:
            return


def _watchdog_s() -> float | None:
    """How long systemd waits for a sign of life from this process."""
    microseconds, of = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not microseconds.isdecimal() or of not in (None, str(os.getpid())):
        return None
    return int(microseconds) / 1e6 or None


def _status(statistics: Statistics) -> str:
    """One line for `systemctl status`."""
    counts = statistics.counts
    sources = ", ".join(f"{printable(s.name)} {s.state.value}" for s in statistics.sources)
    return (
        f"STATUS={counts.processed} frames, {counts.dropped} dropped, {counts.failed} failed, "
        f"{counts.particles} particles, {statistics.fps:.1f} FPS; {sources}"
    )
