"""A run of edge-run for a long time, with faults injected."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.mjpeg_server import Camera, Mode
from bench.soak_checks import (
    SIGTERM_CODE,
    Check,
    Fault,
    LogLine,
    Sample,
    complete,
    delivered,
    faults_seen,
    files_flat,
    memory_flat,
    memory_slope,
    no_crash,
    rate_with_viewers,
    rows_complete,
    threads_flat,
    video_complete,
    viewers_served,
)
from bench.soak_records import frames_csv, jsonl_frames, sqlite_frames, video_frames
from bench.soak_sampling import sample
from bench.soak_surroundings import (
    START_TIMEOUT_S,
    TOPIC,
    Broker,
    Listener,
    free_port,
    small_disk,
)
from bench.soak_viewers import HEALTHY, STALLED, Viewers
from edge.errors import EdgeError
from edge.server.viewers import MAX_VIEWERS

ENGINE, FPS, WIDTH, HEIGHT = "quarter_mrunet", 10, 320, 240
SAMPLE_S, END_TIMEOUT_S = 2.0, 60.0
# One round of faults: kind, begin and end, seconds. Between those of the source there is time for
# the waits between its attempts, which grow until a connection lasted 30 s.
ROUND_S = 120.0
ROUND = (
    ("frozen", 6, 22),
    ("gone", 28, 36),
    ("wrong size", 48, 56),
    ("corrupt", 60, 66),
    ("killed", 80, 86),
    ("broker away", 14, 40),
    ("disk full", 50, 70),
    ("viewers", 44, 100),
)
# Where frames per second with and without viewers are compared: the source is live.
WITHOUT_VIEWERS, WITH_VIEWERS = ((0, 6), (23, 28), (104, 119)), ((68, 79), (93, 100))
# What viewers, who take some of two busy cores, may leave of the frames per second.
LEAST_RATE = 0.5


@dataclass(frozen=True)
class SoakResult:
    """A run of `seconds` at `fps`, with every fault of `ROUND` in every round.

    `faults` counts those injected by kind; `memory` holds (seconds, frames processed, MB) about
    once a minute; `log` is all that edge-run logged, with the second it came at.
    """

    engine: str
    seconds: float
    fps: float
    width: int
    height: int
    rounds: int
    faults: dict[str, int]
    frames: dict[str, int]
    frames_per_second: float
    end_to_end_ms: dict[str, float]
    mb_per_1000_frames: float
    memory: list[tuple[float, int, float]]
    checks: list[Check]
    problems: list[str]
    log: list[tuple[float, str]] = field(repr=False, default_factory=list)

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if check.passed is False]

    def describe(self) -> str:
        """The result for a terminal."""
        words = {True: "passed", False: "FAILED", None: "not tried"}
        total = self.end_to_end_ms
        return "\n".join(
            (
                f"{self.engine}, camera of {self.width}x{self.height}, {self.fps:g} FPS, "
                f"{self.seconds:.0f} s, {self.rounds} rounds of faults: "
                + ", ".join(f"{kind} {count}" for kind, count in self.faults.items()),
                ", ".join(f"{count} {status}" for status, count in self.frames.items())
                + f"; {self.frames_per_second:.2f} FPS, end-to-end latency p50 {total['p50']:.0f}, "
                f"p99 {total['p99']:.0f} ms",
                *(f"{words[c.passed]:9} {c.name}: {c.evidence}" for c in self.checks),
            )
        )


def measure(minutes: float, progress: Callable[[str], None]) -> SoakResult:
    """Run edge-run for so long, as many rounds of faults as fit in.

    Raises:
        EdgeError: edge-run, the server or the broker does not start.
    """
    # So that disk, broker and camera do not outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(SIGTERM_CODE))
    with tempfile.TemporaryDirectory(prefix="soak") as folder, contextlib.ExitStack() as stack:
        soak = _Soak(Path(folder), stack, progress)
        return soak.run(minutes * 60)


class _Soak:
    """Edge-run, and all around it."""

    def __init__(
        self, folder: Path, stack: contextlib.ExitStack, progress: Callable[[str], None]
    ) -> None:
        self._folder, self._progress = folder, progress
        self._camera = Camera(FPS, WIDTH, HEIGHT)
        stack.callback(self._camera.kill)
        self._broker = Broker(folder) if Broker.program() else None
        self._listener: Listener | None = None
        if self._broker:
            stack.callback(self._broker.stop)
            self._broker.start()
            self._listener = Listener(self._broker.port)
            stack.callback(self._listener.close)
        self._disk = stack.enter_context(small_disk(folder / "small"))
        self._metrics_port, page_port = free_port(), free_port()
        self._viewers = Viewers(page_port)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edge", *self._arguments(page_port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        stack.callback(self._end)
        self._stderr: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._samples: list[Sample] = []
        self._faults: list[Fault] = []

    def _arguments(self, page_port: int) -> list[str]:
        small = self._disk.folder if self._disk else self._folder
        arguments = ["--source", self._camera.url, "--engine", ENGINE, "--log-json"]
        arguments += ["--out", str(self._folder / "out"), "--no-masks", "--no-overlays"]
        arguments += ["--serve", str(page_port)]
        sinks = [
            f"jsonl:{self._folder}/rows.jsonl?max_mb=2",
            f"sqlite:{self._folder}/particles.db",
            f"prometheus://:{self._metrics_port}",
            f"video:{small}/belt.mp4?on_error=drop&max_mb=4",
            f"jsonl:{small}/small.jsonl?on_error=drop&max_mb=1",
        ]
        if self._broker:
            sinks.append(f"mqtt://127.0.0.1:{self._broker.port}/{TOPIC}?buffer=soak.mqtt")
        return arguments + [part for uri in sinks for part in ("--sink", uri)]

    def run(self, seconds: float) -> SoakResult:
        self._wait_until_live()
        begin_s, rounds = time.time(), int(seconds // ROUND_S)
        sampling = threading.Thread(target=self._sample_always, daemon=True)
        sampling.start()
        for at_s, kind, begins in self._events(rounds):
            if not self._runs_until(begin_s + at_s):
                break
            self._switch(kind, begins)
        self._runs_until(begin_s + seconds)
        self._viewers.stop()
        end_s = time.time()
        self._end()
        sampling.join()
        return self._result(begin_s, end_s, rounds)

    def _runs_until(self, at_s: float) -> bool:
        """Wait; whether edge-run still runs then."""
        while self._process.poll() is None:
            if time.time() >= at_s:
                return True
            time.sleep(min(0.5, max(0.0, at_s - time.time())))
        return False

    def _wait_until_live(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with contextlib.suppress(OSError, KeyError):  # the sink listens before the run begins
                if sample(self._process.pid, self._metrics_port).processed:
                    return
            time.sleep(0.2)
        said = "; ".join(line for _, line in self._stderr[-3:])
        raise EdgeError(f"edge-run does not start: {said}")

    def _events(self, rounds: int) -> list[tuple[float, str, bool]]:
        """When which fault begins or ends, in order."""
        able = {"broker away": self._broker, "disk full": self._disk}
        return sorted(
            (number * ROUND_S + at_s, kind, begins)
            for number in range(rounds)
            for kind, begin_s, end_s in ROUND
            if able.get(kind, True)
            for at_s, begins in ((begin_s, True), (end_s, False))
        )

    def _switch(self, kind: str, begins: bool) -> None:
        """Begin a fault, or end it."""
        self._progress(f"{kind} {'begins' if begins else 'ends'}")
        now_s = time.time()
        if kind == "viewers":
            self._viewers.start() if begins else self._viewers.stop()
        elif kind == "broker away" and self._broker:
            self._broker.stop() if begins else self._broker.start()
        elif kind == "disk full" and self._disk:
            self._disk.fill() if begins else self._disk.empty()
        elif kind == "killed":
            self._camera.kill() if begins else self._camera.start()
        else:
            self._camera.set(Mode(kind) if begins else Mode.NORMAL)
        if begins:
            self._faults.append(Fault(kind, now_s, math.inf))
        else:
            (last,) = [f for f in self._faults if f.kind == kind and f.end_s == math.inf]
            self._faults[self._faults.index(last)] = Fault(kind, last.begin_s, time.time())

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._stderr.append((time.time(), line.rstrip("\n")))

    def _sample_always(self) -> None:
        while self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._samples.append(sample(self._process.pid, self._metrics_port))
            time.sleep(SAMPLE_S)

    def _end(self) -> None:
        """SIGTERM, as of a service that is stopped."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(10)

    def _result(self, begin_s: float, end_s: float, rounds: int) -> SoakResult:
        summary_path = self._folder / "out" / "summary.json"
        if not summary_path.is_file():
            said = "; ".join(line for _, line in self._stderr[-3:])
            raise EdgeError(
                f"edge-run ended without a summary after {end_s - begin_s:.0f} s: {said}"
            )
        summary = json.loads(summary_path.read_text(encoding="utf-8"))
        counts = {s: summary[f"frames_{s}"] for s in ("processed", "dropped", "failed")}
        kinds = dict.fromkeys(kind for kind, *_ in ROUND)
        return SoakResult(
            engine=ENGINE,
            seconds=round(end_s - begin_s, 1),
            fps=FPS,
            width=WIDTH,
            height=HEIGHT,
            rounds=rounds,
            faults={kind: sum(f.kind == kind for f in self._faults) for kind in kinds},
            frames=counts,
            frames_per_second=summary["fps"],
            end_to_end_ms=summary["end_to_end_ms"],
            mb_per_1000_frames=memory_slope(self._samples),
            memory=[
                (round(s.at_s - begin_s, 1), s.processed, round(s.memory_mb, 1))
                for s in self._samples[:: round(60 / SAMPLE_S)]
            ],
            checks=[*self._checks(counts), *self._viewer_checks(begin_s, end_s, rounds)],
            problems=summary["problems"],
            log=[
                (round(at_s - begin_s, 1), line.replace(f"{self._folder}/", ""))
                for at_s, line in self._stderr
            ],
        )

    def _checks(self, counts: dict[str, int]) -> list[Check]:
        out, samples = self._folder / "out", self._samples
        rows = frames_csv(out / "frames.csv")
        stored = sqlite_frames(self._folder / "particles.db")
        particles = {index: found for index, status, found, _ in stored if status == "processed"}
        checks = [
            no_crash(self._process.returncode, [line for _, line in self._stderr]),
            *faults_seen(self._faults, self._log(), samples),
            memory_flat(samples),
            files_flat(samples),
            threads_flat(samples),
            complete("frames.csv", rows, counts),
            complete("SQLite", [row[:2] for row in stored], counts),
            rows_complete("rotated JSON Lines", jsonl_frames(self._folder, "rows"), particles),
        ]
        if self._listener:
            checks.append(delivered(self._listener.frames, list(particles)))
        else:
            checks.append(Check("MQTT complete and in order", None, "mosquitto is not installed"))
        if not self._disk:
            reason = "no file system of its own could be mounted, which takes root"
            checks.append(Check("losses on the full disk counted", None, reason))
        else:
            last = samples[-1].sinks
            small = jsonl_frames(self._disk.folder, "small")
            lost = last["small.jsonl"].failed
            checks.append(rows_complete("JSON Lines on the full disk", small, particles, lost))
            decoded = video_frames(self._disk.folder)
            checks.append(video_complete(decoded, len(particles), last["belt.mp4"]))
        return checks

    def _viewer_checks(self, begin_s: float, end_s: float, rounds: int) -> list[Check]:
        def stretches(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
            starts_s = [begin_s + number * ROUND_S for number in range(rounds)]
            return [(s + a, s + b) for s in starts_s for a, b in spans if s + b <= end_s]

        def rate(stretches: Sequence[tuple[float, float]]) -> float:
            inside = sum(a <= t < b for t in times for a, b in stretches)
            return inside / sum(b - a for a, b in stretches) if stretches else 0.0

        stored = sqlite_frames(self._folder / "particles.db")
        times = [at_s for _, status, _, at_s in stored if status == "processed"]
        without, beside = stretches(WITHOUT_VIEWERS), stretches(WITH_VIEWERS)
        looked = self._viewers.looked
        told = (
            f"{HEALTHY} looked, {MAX_VIEWERS} are let in at a time, {STALLED} stalled; "
            f"{sum(v.refused for v in looked)} answers 'too many viewers', "
            f"{sum(v.errors for v in looked)} other errors, {self._viewers.dropped} stalled "
            f"connections dropped"
        )
        return [
            viewers_served([v.pictures for v in looked], beside, min(HEALTHY, MAX_VIEWERS), told),
            rate_with_viewers(rate(without), rate(beside), LEAST_RATE),
        ]

    def _log(self) -> list[LogLine]:
        lines = []
        for at_s, line in self._stderr:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                lines.append(LogLine(at_s, entry["level"], entry["message"]))
        return lines
