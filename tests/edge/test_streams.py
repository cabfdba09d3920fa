"""Streams from real servers on this machine, which come, go and send rubbish."""

import contextlib
import functools
import http.server
import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import edge
from edge.errors import BadArgumentError, EdgeError
from edge.frame import Frame, SkippedFrame
from edge.sources import open_source
from edge.sources.address import without_credentials
from edge.sources.live import StreamClock
from edge.sources.source import Source, State

av = pytest.importorskip("av")
RTSP_PYTHON = "/usr/bin/python3"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("edge.sources.live.RETRY_S", 0.05)
    monkeypatch.setattr("edge.sources.live.MAX_RETRY_S", 0.2)
    caplog.set_level(logging.DEBUG, "edge")


def picture(index: int, side: int = 96) -> NDArray[np.uint8]:
    """Noise below a bar that tells the index."""
    image = np.random.default_rng(index).integers(0, 256, (side, side, 3)).astype(np.uint8)
    image[:16] = index % 25 * 10
    return image


def jpeg(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", image)[1].tobytes()


class MjpegServer:
    """An endless MJPEG stream; `pictures` may be exchanged while it runs."""

    def __init__(self, pictures: Callable[[int], bytes], port: int = 0) -> None:
        self.pictures, self.stopped = pictures, threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                kind = "multipart/x-mixed-replace; boundary=frame"
                self.send_header("Content-Type", kind)
                self.end_headers()
                index = 0
                with contextlib.suppress(OSError):
                    while not outer.stopped.wait(0.02):
                        data = outer.pictures(index)
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}"
                        self.wfile.write(head.encode() + b"\r\n\r\n" + data + b"\r\n")
                        index += 1

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[..., MjpegServer]]:
    servers: list[MjpegServer] = []

    def start(pictures: Callable[[int], bytes], port: int = 0) -> MjpegServer:
        servers.append(MjpegServer(pictures, port))
        return servers[-1]

    yield start
    for server in servers:
        if not server.stopped.is_set():
            server.stop()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def take(frames: Iterator[Frame | SkippedFrame], count: int) -> list[Frame | SkippedFrame]:
    return [next(frames) for _ in range(count)]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextlib.contextmanager
def drained(source: Source) -> Iterator[list[Frame | SkippedFrame]]:
    """A thread that reads the source, as a run does; the newest frames, at most 1000."""
    found: list[Frame | SkippedFrame] = []

    def read() -> None:
        for frame in source:
            found.append(frame)
            del found[:-1000]

    thread = threading.Thread(target=read)
    thread.start()
    yield found
    source.close()
    thread.join(20)
    assert not thread.is_alive()


def state(source: Source) -> State:
    return source.statuses()[0].state


def test_damaged_pictures_are_counted_and_logged(
    serve: Callable[..., MjpegServer], caplog: pytest.LogCaptureFixture
) -> None:
    def pictures(index: int) -> bytes:
        data = jpeg(picture(index))
        return data[: len(data) // 2] if index % 4 == 3 else data

    source = open_source(f"http://127.0.0.1:{serve(pictures).port}/video")
    frames = iter(source)
    found = take(frames, 12)
    letters = "".join("." if isinstance(frame, Frame) else "f" for frame in found)
    assert letters == "...f" * 3
    assert [frame.index for frame in found] == list(range(12))
    read = [frame for frame in found if isinstance(frame, Frame)]
    assert abs(int(read[1].image[4, 4, 0]) - 10) < 4
    assert all(abs((frame.time_s or 0) - time.time()) < 30 for frame in found)
    assert source.statuses()[0].decode_errors == 3
    source.close()
    assert list(frames) == []
    assert source.problems == [f"{source.uri}: 3 frames could not be decoded"]
    # Not each of them: a bad cable may damage every frame for a week.
    said = [record.getMessage() for record in caplog.records if "decode" in record.getMessage()]
    assert said == [f"{source.uri}: a frame could not be decoded (1 so far)"]


def test_times_of_mjpeg_are_those_of_arrival(serve: Callable[..., MjpegServer]) -> None:
    # FFmpeg would have 25 frames a second, however slowly they come.
    def pictures(index: int) -> bytes:
        time.sleep(0.1)
        return jpeg(picture(index))

    frames = iter(open_source(f"http://127.0.0.1:{serve(pictures).port}/video"))
    ages_s = []
    for _ in range(20):
        frame = next(frames)
        ages_s.append(time.time() - (frame.time_s or 0))
    assert ages_s[-1] < 0.6


def test_a_server_may_come_later_go_and_come_back(
    serve: Callable[..., MjpegServer], caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    source = open_source(f"http://me:secret@127.0.0.1:{port}/video?token=secret")
    with drained(source) as found:
        until(lambda: bool(caplog.records))
        assert state(source) is State.CONNECTING
        for reconnects in range(2):
            server = serve(lambda index: jpeg(picture(index)), port)
            until(lambda: state(source) is State.LIVE)
            assert source.statuses()[0].reconnects == reconnects
            server.stop()
            until(lambda: state(source) is State.LOST)
        until(lambda: len([r for r in caplog.records if "attempt" in r.getMessage()]) > 8)
    gaps = [frame for frame in found if isinstance(frame, SkippedFrame)]
    assert [gap.reason[:13] for gap in gaps] == ["no frame for "]
    assert [frame.index for frame in found] == list(range(len(found)))
    assert source.problems[0].startswith(f"{source.uri}: lost 2 times, ")
    changes = [r.levelname for r in caplog.records if r.levelno > logging.DEBUG]
    # The end of a loss is as loud as its begin.
    assert changes == ["WARNING", "INFO", "WARNING", "WARNING", "WARNING"]
    shown = caplog.text + source.uri + str(source.problems) + found[0].file
    assert "secret" not in shown
    assert found[0].file == f"http://127.0.0.1:{port}/video?token=***"


def test_a_frozen_picture_is_stale(
    serve: Callable[..., MjpegServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sources.live.STALE_S", 0.5)
    monkeypatch.setattr("edge.sources.live.WATCH_S", 0.05)
    server = serve(lambda index: jpeg(picture(index)))
    source = open_source(f"http://127.0.0.1:{server.port}/video")
    with drained(source) as found:
        until(lambda: state(source) is State.LIVE)
        server.pictures = lambda _: jpeg(picture(7))
        until(lambda: state(source) is State.STALE)
        count = found[-1].index
        until(lambda: found[-1].index > count)
        server.pictures = lambda index: jpeg(picture(index))
        until(lambda: state(source) is State.LIVE)
        assert source.statuses()[0].reconnects == 0


def test_a_stream_that_falls_silent_is_stale_then_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.live.STALE_S", 0.5)
    monkeypatch.setattr("edge.sources.live.WATCH_S", 0.05)
    monkeypatch.setattr("edge.sources.stream.READ_TIMEOUT_S", 1.5)
    hung = threading.Event()

    def pictures(index: int) -> bytes:
        if index == 20:
            hung.wait(60)
        return jpeg(picture(index))

    server = MjpegServer(pictures)
    source = open_source(f"http://127.0.0.1:{server.port}/video")
    with drained(source):
        for wanted in (State.LIVE, State.STALE, State.LOST, State.LIVE):
            until(functools.partial(lambda wanted: state(source) is wanted, wanted))
        hung.set()
    server.stop()


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.stream.CONNECT_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        source = open_source(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", give_up_s=0.5)
        with pytest.raises(EdgeError, match=r"no frame for .* s; given up \(no answer for 0.3 s\)"):
            list(source)


def test_an_address_that_cannot_be_is_an_error_at_once() -> None:
    for uri in ("rtsp://", "http://host:port/", "rtsp://me:a/b@host/", "http://a b/", "rtsp:x"):
        with pytest.raises(BadArgumentError, match="is no valid address"):
            open_source(uri)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://me:p@ss@host:554/a@b", "rtsp://host:554/a@b"),
        ("http://h/a?channel=1&pwd=x&USER=y#z", "http://h/a?channel=1&pwd=***&USER=***#z"),
        ("rtspsrc location=rtsp://a:b@h/x ! y", "rtspsrc location=rtsp://h/x ! y"),
        ("photos/a@b.png", "photos/a@b.png"),
    ],
)
def test_credentials_are_not_shown(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


def test_time_stamps_follow_the_source_not_the_network() -> None:
    clock = StreamClock()
    delays = (0.3, 0.1, 0.9, 0.1, 0.5)
    times = [clock.unix_s(50 + i / 10, 1000 + i / 10 + delays[i]) for i in range(5)]
    assert times == pytest.approx([1000.3, 1000.2, 1000.3, 1000.4, 1000.5], abs=1e-3)
    # The source starts anew, or has no time stamps.
    assert clock.unix_s(0, 2000) == pytest.approx(2000)
    assert clock.unix_s(None, 2001) == 2001


def write_hls(folder: Path, frames: int, options: dict[str, str]) -> None:
    with av.open(str(folder / "live.m3u8"), "w", format="hls", options=options) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        stream.options = {"tune": "zerolatency", "g": "10", "preset": "ultrafast"}
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture
def folder_server(tmp_path: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_recording_ends(tmp_path: Path, folder_server: str) -> None:
    write_hls(tmp_path, 30, {"hls_time": "1", "hls_playlist_type": "vod"})
    run = edge.run(f"{folder_server}/live.m3u8", "quarter_mrunet", policy=edge.Policy.EVERY)
    assert len(list(run)) == 30
    assert run.report().ended == "complete"


def test_a_live_playlist_goes_on(
    tmp_path: Path, folder_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.sources.stream.READ_TIMEOUT_S", 1.0)
    write_hls(tmp_path, 30, {"hls_time": "1", "hls_flags": "omit_endlist"})
    source = open_source(f"{folder_server}/live.m3u8")
    with drained(source) as found:
        until(lambda: len(found) == 30)
        until(lambda: state(source) is State.LOST)
    assert all(isinstance(frame, Frame) for frame in found[:30])


def test_damage_in_h264_is_counted(tmp_path: Path, folder_server: str) -> None:
    write_hls(tmp_path, 40, {"hls_time": "9", "hls_playlist_type": "vod"})
    segment = tmp_path / "live0.ts"
    data = bytearray(segment.read_bytes())
    for at in (len(data) // 3, len(data) * 2 // 3):
        data[at : at + 600] = bytes(600)
    segment.write_bytes(data)
    source = open_source(f"{folder_server}/live.m3u8")
    found = list(source)
    source.close()
    failed = [frame for frame in found if isinstance(frame, SkippedFrame)]
    assert failed
    assert len(found) > 30
    assert source.statuses()[0].decode_errors == len(failed)


def test_reading_keeps_pace_and_sizes_may_change(
    serve: Callable[..., MjpegServer], caplog: pytest.LogCaptureFixture
) -> None:
    # A slow consumer gets new pictures, not a backlog.
    server = serve(lambda index: jpeg(picture(index, 96 if index < 60 else 128)))
    with edge.run(f"http://127.0.0.1:{server.port}/", "quarter_mrunet", seconds=60) as run:
        sides = set()
        for result in run:
            time.sleep(0.1)
            sides.add(result.frame.size_hw)
            if len(sides) == 2 and result.frame.index > 80:
                age_s = time.time() - (result.frame.time_s or 0)
                assert age_s < 5
                assert run.statistics().sources[0].size_wh == (128, 128)
                break
    assert sides == {(96, 96), (128, 128)}
    assert "frames of 128x128, no longer 96x96" in caplog.text
    report = run.report()
    assert report.frames_dropped > 10
    assert report.sources[0]["state"] == "live"


@contextlib.contextmanager
def rtsp_server(port: int, *login: str) -> Iterator[None]:
    if not Path(RTSP_PYTHON).exists():
        pytest.skip(f"no {RTSP_PYTHON}")
    script = Path(__file__).with_name("rtsp_server.py")
    with subprocess.Popen(
        [RTSP_PYTHON, str(script), str(port), *login],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout
            assert server.stderr
            if server.stdout.readline() != "ready\n":
                reason = (server.stderr.read().strip().splitlines() or ["it ended"])[-1]
                pytest.skip(f"no RTSP server: {reason}")
            yield
        finally:
            server.kill()


def test_rtsp_lost_and_found() -> None:
    port = free_port()
    with contextlib.ExitStack() as first:
        first.enter_context(rtsp_server(port, "me:s@cret"))
        source = open_source(f"rtsp://me:s%40cret@127.0.0.1:{port}/live")
        with drained(source) as found:
            until(lambda: len(found) > 15)
            image = found[0]
            assert isinstance(image, Frame)
            assert image.image.shape == (120, 160, 3)
            assert image.file == f"rtsp://127.0.0.1:{port}/live"
            first.close()
            until(lambda: state(source) is State.LOST)
            with rtsp_server(port, "me:s@cret"):
                until(lambda: state(source) is State.LIVE)
                assert source.statuses()[0].reconnects == 1


def test_a_wrong_password_is_said_without_it(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with rtsp_server(port, "me:right"):
        source = open_source(f"rtsp://me:wr0ng@127.0.0.1:{port}/live", give_up_s=0.5)
        with pytest.raises(EdgeError, match="401") as raised:
            list(source)
    import traceback

    text = caplog.text + "".join(traceback.format_exception(raised.value))
    assert "wr0ng" not in text
