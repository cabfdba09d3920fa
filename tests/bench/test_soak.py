import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bench import soak_checks
from bench.cli import bench
from bench.mjpeg_server import MjpegServer, Mode
from bench.soak_checks import Fault, LogLine, Sample, SinkCounts

# The camera


@pytest.fixture
def server() -> Iterator[MjpegServer]:
    pictures = [
        np.random.default_rng(i).integers(0, 256, (128, 160, 3)).astype(np.uint8) for i in range(4)
    ]
    made = MjpegServer(pictures, 100)
    yield made
    made.close()


def parts(port: int) -> Iterator[bytes]:
    """The JPEGs of a stream."""
    with socket.create_connection(("127.0.0.1", port), 20) as client, client.makefile("rb") as file:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while line := file.readline():
            if line.startswith(b"Content-Length"):
                file.readline()
                yield file.read(int(line.split()[1]))


def size(data: bytes) -> tuple[int, ...]:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]


def whole(data: bytes) -> bool:
    return data.endswith(b"\xff\xd9")


def test_the_camera_has_the_faults_it_is_told(server: MjpegServer) -> None:
    stream = parts(server.port)
    assert len({next(stream) for _ in range(5)}) == 5
    assert size(next(stream)) == (128, 160)
    server.mode = Mode.FROZEN
    next(stream)  # may be from before
    assert len({next(stream) for _ in range(5)}) == 1
    server.mode = Mode.WRONG_SIZE
    next(stream)
    assert size(next(stream)) == (64, 80)
    server.mode = Mode.CORRUPT
    next(stream)
    # A slow reader is sent the newest, which may be all odd ones for a while.
    assert {whole(next(stream)) for _ in range(50)} == {True, False}
    server.mode = Mode.GONE
    assert len(list(stream)) < 50
    with pytest.raises(OSError, match="refused"):
        next(parts(server.port))
    server.mode = Mode.NORMAL
    assert size(next(parts(server.port))) == (128, 160)


# The checks, which must find what is planted


def sample(at_s: float, **values: object) -> Sample:
    usual = Sample(at_s, 200.0, 30, 20, round(at_s * 8), 0, "live", 0, 0, 320)
    return replace(usual, **values)  # type: ignore[arg-type]


def test_a_crash_is_found() -> None:
    assert soak_checks.no_crash(143, ["warning: x"]).passed
    assert not soak_checks.no_crash(1, []).passed
    assert not soak_checks.no_crash(-9, []).passed
    assert not soak_checks.no_crash(None, []).passed
    assert not soak_checks.no_crash(143, ["Traceback (most recent call last):"]).passed


def test_growing_memory_is_found() -> None:
    for mb_per_1000, passed in ((0.0, True), (0.5, True), (2.0, False)):
        samples = [sample(t, memory_mb=200 + mb_per_1000 * t * 8 / 1000) for t in range(0, 1800, 2)]
        check = soak_checks.memory_flat(samples)
        assert check.passed is passed
        assert f"{mb_per_1000:+.3f} MB" in check.evidence
        # What the first half grows by, such as caches that fill, does not matter.
        filling = [replace(s, memory_mb=min(s.at_s, 800)) for s in samples]
        assert soak_checks.memory_flat(filling).passed
    assert soak_checks.memory_flat(samples[:100]).passed is None


def test_growing_files_and_threads_are_found() -> None:
    flat = [sample(t, files=20 + t % 7, threads=30 + t % 7) for t in range(0, 1800, 2)]
    assert soak_checks.files_flat(flat).passed
    assert soak_checks.threads_flat(flat).passed
    leaking = [replace(s, files=20 + round(s.at_s / 60), threads=30 + round(s.at_s / 120))
               for s in flat]  # fmt: skip
    assert not soak_checks.files_flat(leaking).passed
    assert not soak_checks.threads_flat(leaking).passed
    assert soak_checks.threads_flat(leaking[:20]).passed is None


def test_gaps_and_disorder_are_found() -> None:
    frames = [(i, "dropped" if i % 5 == 3 else "processed") for i in range(100)]
    counts = {"processed": 80, "dropped": 20, "failed": 0}

    def passed(rows: list[tuple[int, str]], counts: dict[str, int] = counts) -> bool | None:
        return soak_checks.complete("x", rows, counts).passed

    assert passed(frames)
    assert not passed(frames[:50] + frames[51:], counts | {"processed": 79})
    assert not passed([*frames[:50], frames[51], frames[50], *frames[52:]])
    assert not passed([*frames, frames[-1]], counts | {"processed": 81})
    assert not passed(frames, counts | {"failed": 1})
    assert not passed([*frames, (100, "lost")])
    assert not passed([], dict.fromkeys(counts, 0))


def test_messages_that_are_missing_or_late_are_found() -> None:
    processed = [0, 1, 2, 4, 5]
    assert soak_checks.delivered([0, 1, 2, 4, 5], processed).passed
    assert soak_checks.delivered([0, 1, 2, 1, 2, 4, 5], processed).passed  # QoS 1
    assert not soak_checks.delivered([0, 1, 4, 5], processed).passed
    assert not soak_checks.delivered([0, 1, 4, 2, 5], processed).passed
    assert not soak_checks.delivered([0, 1, 2, 3, 4, 5], processed).passed


def test_rows_that_are_missing_are_found() -> None:
    particles = {0: 2, 1: 0, 2: 1, 4: 3}
    rows = [0, 0, 2, 4, 4, 4]

    def passed(rows: list[int], missing: int = 0) -> bool | None:
        return soak_checks.rows_complete("x", rows, particles, missing).passed

    assert passed(rows)
    assert not passed(rows[:-1])
    assert not passed([*rows[:2], *rows[3:]])
    assert not passed([0, 0, 4, 4, 4, 2])
    assert not passed(rows, 1)
    assert passed([0, 0, 4, 4, 4], 1)
    assert soak_checks.video_complete(83, 100, SinkCounts(93, failed=7, lost=10)).passed
    assert not soak_checks.video_complete(82, 100, SinkCounts(93, failed=7, lost=10)).passed


def test_a_fault_that_does_not_show_is_found() -> None:
    def seen(fault: str, message: str, **values: object) -> bool | None:
        """Of a fault from 100 s to 110 s, with a line in the log at 101 s, and changed samples."""
        samples = [sample(t, **(values if 102 <= t <= 120 else {})) for t in range(90, 150)]
        samples += [sample(t, reconnects=values.get("reconnects", 0)) for t in range(150, 160)]
        checks = soak_checks.faults_seen(
            [Fault(fault, 100, 110)], [LogLine(101, "warning", f"x: {message}")], samples
        )
        (check,) = [check for check in checks if check.name == f"{fault} seen"]
        assert [one.passed for one in checks if one is not check] == [None] * (len(checks) - 1)
        return check.passed

    assert seen("frozen", "nothing new for 10 s", state="stale")
    assert not seen("frozen", "all well", state="stale")
    assert not seen("frozen", "nothing new for 10 s")
    assert seen("wrong size", "frames of 160x120, no longer 320x240", width=160)
    assert not seen("wrong size", "frames of 160x120, no longer 320x240")
    assert not seen("gone", "lost (it ended); trying again", state="lost")  # no reconnect counted
    full = {"belt.mp4": SinkCounts(9, 1), "small.jsonl": SinkCounts(9, 1)}
    assert not seen("disk full", "No space left on device", sinks=full)


def test_the_return_of_a_source_must_be_counted() -> None:
    fault = Fault("killed", 100, 106)
    log = [LogLine(100.5, "warning", "lost (broken pipe); trying again")]
    samples = [sample(t, state="lost" if 100 < t < 112 else "live", reconnects=int(t >= 112))
               for t in range(90, 150)]  # fmt: skip

    def passed(samples: list[Sample]) -> bool | None:
        checks = soak_checks.faults_seen([fault], log, samples)
        return {check.name: check.passed for check in checks}["killed seen"]

    assert passed(samples)
    assert not passed([replace(s, reconnects=0) for s in samples])
    assert not passed([replace(s, state="lost") if s.at_s > 100 else s for s in samples])


def test_viewers_that_see_nothing_new_are_found() -> None:
    steady = [t / 5 for t in range(500, 1000)]  # from 100 s to 200 s
    gap = [t for t in steady if not 140 < t < 150]
    stretches = [(110.0, 130.0), (160.0, 190.0)]

    def passed(pictures: list[list[float]], stretches: list[tuple[float, float]]) -> bool | None:
        return soak_checks.viewers_served(pictures, stretches, 2, "").passed

    assert passed([steady, gap, []], stretches)
    assert not passed([steady, gap, []], [*stretches, (135.0, 155.0)])
    assert not passed([steady, []], stretches)
    assert soak_checks.rate_with_viewers(8, 6, 0.5).passed
    assert not soak_checks.rate_with_viewers(8, 3, 0.5).passed
    assert not soak_checks.rate_with_viewers(0, 3, 0.5).passed


@pytest.mark.slow
def test_two_minutes_with_every_fault(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"
    begin_s = time.monotonic()
    result = CliRunner().invoke(bench, ["soak", "--minutes", "2", "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert time.monotonic() - begin_s < 400
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["rounds"] == 1
    assert content["faults"]["frozen"] == 1
    assert not [check for check in content["checks"] if check["passed"] is False]


def test_a_soak_is_of_two_minutes_or_more() -> None:
    result = CliRunner().invoke(bench, ["soak", "--minutes", "1"])
    assert result.exit_code == 2
    assert "x>=2" in result.output
