"""A camera that serves MJPEG over HTTP, and has faults when told to.

`python -m bench.mjpeg_server PORT FPS WIDTH HEIGHT` serves until its stdin ends; each line of that
names a `Mode`.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.stamp import draw_stamp
from edge.errors import EdgeError
from train.data.synth import scene

# Different pictures, shown in turn.
PICTURES = 16
# One particle in so many px.
PARTICLE_PX = 6000
# Enough for what a camera's encoder leaves of a frame.
JPEG_QUALITY = 90
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"
    b"Cache-Control: no-store\r\n\r\n"
)


class Mode(enum.Enum):
    """What the camera does."""

    NORMAL = "normal"
    FROZEN = "frozen"  # the same bytes again and again
    GONE = "gone"  # no stream, and no new connections
    WRONG_SIZE = "wrong size"  # frames of half the width and height
    CORRUPT = "corrupt"  # every other frame ends in its middle


class MjpegServer:
    """Serves at `fps` to any number of clients, from threads. A client that is too slow gets the
    newest frame next, as of most cameras.

    Each frame is stamped with its number and the time of its making, see `bench.stamp`.

    Args:
        pictures: uint8 (H,W,3) BGR, shown in turn.
        port: 0 is any that is free.

    Attributes:
        port: that it listens at.
    """

    def __init__(self, pictures: Sequence[NDArray[np.uint8]], fps: float, port: int = 0) -> None:
        self._pictures, self._fps = pictures, fps
        self._small = [np.ascontiguousarray(picture[::2, ::2]) for picture in pictures]
        self._start_s = time.monotonic()
        self._lock = threading.Lock()
        self._made: tuple[int, bytes] = (-1, b"")
        self._clients: set[socket.socket] = set()
        self._mode = Mode.NORMAL
        self.port = port
        self._open()

    @property
    def mode(self) -> Mode:
        """What it does now; may be set from any thread."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        before, self._mode = self._mode, mode
        if mode is Mode.GONE:
            self.close()
        elif before is Mode.GONE:
            self._open()

    def close(self) -> None:
        """End all streams and listen no more."""
        with self._lock:
            for one in (self._listener, *self._clients):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def _open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._clients.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(_HEAD)
            number = -1
            while True:
                elapsed_s = time.monotonic() - self._start_s
                number = max(number + 1, int(elapsed_s * self._fps))
                time.sleep(max(0.0, number / self._fps - elapsed_s))
                data = self._frame(number)
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                client.sendall(head.encode() + data + b"\r\n")
        with self._lock:
            self._clients.discard(client)

    def _frame(self, number: int) -> bytes:
        """JPEG of a frame, the same for all clients."""
        with self._lock:
            if self._mode is Mode.FROZEN and self._made[1]:
                return self._made[1]
            if self._made[0] != number:
                small = self._mode is Mode.WRONG_SIZE
                picture = (self._small if small else self._pictures)[number % len(self._pictures)]
                data = encoded(draw_stamp(picture, number, time.time()))
                if self._mode is Mode.CORRUPT and number % 2:
                    data = data[: len(data) // 2]
                self._made = number, data
            return self._made[1]


def rendered(width: int, height: int) -> list[NDArray[np.uint8]]:
    """`PICTURES` scenes uint8 (height,width,3) BGR."""
    count = max(1, width * height // PARTICLE_PX)
    scenes = (
        scene(np.random.default_rng(i), height, width, particles=count) for i in range(PICTURES)
    )
    return [np.ascontiguousarray(one.image[..., ::-1]) for one in scenes]


def encoded(picture: NDArray[np.uint8]) -> bytes:
    """As JPEG."""
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


class Camera:
    """The server as a process of its own, which can be killed and started again.

    Raises:
        EdgeError: it does not start.
    """

    def __init__(self, fps: float, width: int, height: int) -> None:
        self._arguments = [str(fps), str(width), str(height)]
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        """Of the stream."""
        return f"http://127.0.0.1:{self._port}/stream"

    def start(self) -> None:
        """At the same port as before."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.mjpeg_server", str(self._port), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise EdgeError("the MJPEG server does not start")
        self._port = int(line)

    def set(self, mode: Mode) -> None:
        """Tell it what to do."""
        assert self._process.stdin
        self._process.stdin.write(mode.value + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """At once, also where it is gone already."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe and pipe.close()


def main() -> None:
    """The program."""
    port, fps, width, height = sys.argv[1:]
    server = MjpegServer(rendered(int(width), int(height)), float(fps), int(port))
    print(server.port, flush=True)
    for line in sys.stdin:
        server.mode = Mode(line.strip())


if __name__ == "__main__":
    main()
