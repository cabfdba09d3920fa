"""What is around edge-run in a soak: an MQTT broker with a subscriber, and a small disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edge.errors import EdgeError

START_TIMEOUT_S = 60.0
TOPIC = "soak"
SMALL_DISK_MB = 512


class Broker:
    """Mosquitto on a free port; what it knows outlives its process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "mosquitto.conf"
        self._file.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\n"
            + ("user root\n" if os.geteuid() == 0 else "")
        )
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def program() -> str | None:
        """Where it is installed."""
        return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

    def start(self) -> None:
        """Raises EdgeError where it does not start."""
        self._process = subprocess.Popen(
            [str(self.program()), "-c", str(self._file)], stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)
        raise EdgeError("mosquitto does not start")

    def stop(self) -> None:
        """Also where it is stopped."""
        if self._process:
            self._process.terminate()
            self._process.wait()


class Listener:
    """A subscriber whose session outlives connections.

    Attributes:
        frames: indices, in the order they came.
    """

    def __init__(self, port: int) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        self.frames: list[int] = []
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, "soak-listener", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{TOPIC}/frames", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _, __, message: self.frames.append(
            json.loads(message.payload)["frame"]
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        if not subscribed.wait(START_TIMEOUT_S):
            raise EdgeError("the MQTT broker does not answer")

    def close(self) -> None:
        """End the connection."""
        self._client.disconnect()
        self._client.loop_stop()


class SmallDisk:
    """A file system of its own, that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / "filler"

    def fill(self) -> None:
        """To the last byte."""
        with self._filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                for size in (1 << 20, 1 << 12):
                    while file.write(bytes(size)) == size:
                        pass

    def empty(self) -> None:
        """Of what filled it."""
        self._filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """A tmpfs of `SMALL_DISK_MB`; None where none can be mounted, which takes root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_MB}m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
