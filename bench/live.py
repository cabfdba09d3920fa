"""A live stream through edge.run, beside the same loop written plainly with OpenCV."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

import edge
from bench.mjpeg_server import Camera, Mode
from bench.stamp import read_stamp
from bench.tables import table
from edge.engines.engine import INPUT, OUTPUT
from edge.errors import EdgeError
from edge.model import load_model
from edge.particles import ParticleFilter

MODEL, FPS, WIDTH, HEIGHT = "quarter_mrunet", 30, 640, 480
# Of each loop, interleaved.
STRETCHES = 3
# Frames that both loops are given, to compare their particles.
COMPARED, ATTEMPTS = 8, 20
OURS, PLAIN = "edge.run", "plain loop"

# Centre x and y, px, and area, px, of each particle, in order.
Particles = list[tuple[float, float, int]]


@dataclass(frozen=True)
class Processed:
    """A frame, when it was sent and when its particles were known, Unix times."""

    number: int
    sent_s: float
    known_s: float

    @property
    def latency_ms(self) -> float:
        """From sending it to its particles."""
        return (self.known_s - self.sent_s) * 1e3


@dataclass(frozen=True)
class Loop:
    """A loop over all its stretches.

    `frames_per_second` and `cpu_cores` (CPU time over wall time, all threads) have one value a
    stretch; `latency_ms` has p50, p90, p99 and max over all frames; `latency_by_time_ms` is the
    median latency of each tenth of a stretch, over all stretches.
    """

    name: str
    frames: int
    frames_per_second: list[float]
    latency_ms: dict[str, float]
    latency_by_time_ms: list[float]
    cpu_cores: list[float]
    cpu_ms_per_frame: float

    @classmethod
    def of(cls, name: str, stretches: Sequence[tuple[Sequence[Processed], float, float]]) -> Loop:
        """Of the frames, wall time and CPU time of each stretch, in seconds."""
        frames = [frame for stretch, _, _ in stretches for frame in stretch]
        latency = [frame.latency_ms for frame in frames]
        tenths: list[list[float]] = [[] for _ in range(10)]
        for stretch, seconds, _ in stretches:
            for frame in stretch:
                since_s = frame.known_s - stretch[0].known_s
                tenths[min(9, int(10 * since_s / seconds))].append(frame.latency_ms)
        p50, p90, p99 = np.percentile(latency, (50, 90, 99))
        return cls(
            name=name,
            frames=len(frames),
            frames_per_second=[round(len(f) / seconds, 2) for f, seconds, _ in stretches],
            latency_ms={
                key: round(float(value), 1)
                for key, value in (("p50", p50), ("p90", p90), ("p99", p99), ("max", max(latency)))
            },
            latency_by_time_ms=[round(float(np.median(tenth)), 1) for tenth in tenths if tenth],
            cpu_cores=[round(cpu_s / seconds, 2) for _, seconds, cpu_s in stretches],
            cpu_ms_per_frame=round(sum(cpu for _, _, cpu in stretches) / len(frames) * 1e3, 1),
        )


@dataclass(frozen=True)
class LiveResult:
    """`stretches` of `seconds` of each loop, each started afresh, on the same MJPEG stream.

    Latency is from the making of a frame in the server, which is drawn into it, to its particles,
    by one clock. `equal` of `compared` frames, the same bytes for both, have the same particles in
    both loops.
    """

    model: str
    device: str
    fps: float
    width: int
    height: int
    seconds: float
    stretches: int
    loops: list[Loop]
    compared: int
    equal: int

    def describe(self) -> str:
        """The result for a terminal."""
        head = ("loop", "FPS", "latency p50", "p90", "p99", "max", "first tenth", "last tenth",
                "cores", "CPU ms/frame")  # fmt: skip
        rows = [
            (
                loop.name,
                f"{np.median(loop.frames_per_second):.2f}",
                *(f"{value:,.0f} ms" for value in loop.latency_ms.values()),
                f"{loop.latency_by_time_ms[0]:,.0f} ms",
                f"{loop.latency_by_time_ms[-1]:,.0f} ms",
                f"{np.median(loop.cpu_cores):.2f}",
                f"{loop.cpu_ms_per_frame:.1f}",
            )
            for loop in self.loops
        ]
        return (
            f"{self.model} on {self.device}; MJPEG over HTTP, {self.width}x{self.height}, "
            f"{self.fps:g} FPS; {self.stretches} stretches of {self.seconds:g} s each, interleaved"
            f"\n{table(head, rows)}\n"
            f"same particles in {self.equal} of {self.compared} frames given to both"
        )


def measure(seconds: float, stretches: int = STRETCHES) -> LiveResult:
    """Run both loops in turn.

    Raises:
        EdgeError: OpenCV cannot open the stream, or too few frames came.
    """
    camera = Camera(FPS, WIDTH, HEIGHT)
    try:
        done: dict[str, list[tuple[list[Processed], float, float]]] = {OURS: [], PLAIN: []}
        for _ in range(stretches):
            for name, loop in ((OURS, ours), (PLAIN, plain)):
                done[name].append(_stretch(loop(camera.url), seconds))
        compared = [_same_particles(camera) for _ in range(COMPARED)]
        with contextlib.closing(load_model(MODEL)) as model:
            device = model.device
    finally:
        camera.kill()
    return LiveResult(
        model=MODEL,
        device=device,
        fps=FPS,
        width=WIDTH,
        height=HEIGHT,
        seconds=seconds,
        stretches=stretches,
        loops=[Loop.of(name, of) for name, of in done.items()],
        compared=len(compared),
        equal=sum(compared),
    )


Found = Iterator[tuple[NDArray[np.uint8], Particles]]


def ours(url: str) -> Found:
    """Frames uint8 (H,W,3), and their particles."""
    with contextlib.closing(load_model(MODEL)) as model, edge.run(url, model) as run:
        for result in run:
            found = [(p.x, p.y, p.area_px) for p in result.particles]
            yield result.frame.image, found


def plain(url: str) -> Found:
    """The same, as it is mostly written."""
    import onnxruntime

    with contextlib.closing(load_model(MODEL)) as model:
        path, particle_filter = model.path, ParticleFilter.of(model.engine.info)
    session = onnxruntime.InferenceSession(str(path))
    capture = cv2.VideoCapture(url)
    if not capture.isOpened():
        raise EdgeError("this OpenCV cannot open MJPEG over HTTP, so there is nothing beside it")
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            probability = session.run([OUTPUT], {INPUT: rgb[None]})[0][0, 0]
            mask = particle_filter.mask(probability)
            _, _, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
            areas = stats[1:, cv2.CC_STAT_AREA].tolist()
            found = [
                (round(x, 2), round(y, 2), area)
                for (x, y), area in zip(centres[1:].tolist(), areas, strict=True)
            ]
            yield np.asarray(rgb, np.uint8), found
    finally:
        capture.release()


def _stretch(found: Found, seconds: float) -> tuple[list[Processed], float, float]:
    """Frames of a loop that runs for so long from its first one on; wall and CPU time."""
    frames: list[Processed] = []
    begin_s, cpu_s, end_s = 0.0, 0.0, math.inf
    for image, _ in found:
        now_s = time.time()
        if not begin_s:  # a start is not measured
            begin_s, cpu_s, end_s = now_s, time.process_time(), now_s + seconds
            continue
        if stamp := read_stamp(image, now_s):
            frames.append(Processed(*stamp, now_s))
        if now_s >= end_s:
            break
    used_s = time.process_time() - cpu_s
    found.close()  # type: ignore[attr-defined]
    if len(frames) < 2:
        raise EdgeError(f"only {len(frames)} frames came through: give more seconds")
    return frames, frames[-1].known_s - begin_s, used_s


def _same_particles(camera: Camera) -> bool:
    """Whether both loops find the same in one more frame, which the camera repeats meanwhile."""
    for _ in range(ATTEMPTS):
        camera.set(Mode.NORMAL)
        next(plain(camera.url))
        camera.set(Mode.FROZEN)
        seen = []
        for loop in (ours, plain):
            image, particles = next(loop(camera.url))
            seen.append((read_stamp(image, time.time()), sorted(particles)))
        # The stamps differ where the camera had not heard yet.
        if seen[0][0] and seen[0][0][0] == (seen[1][0] or (None,))[0]:
            return seen[0][1] == seen[1][1]
    raise EdgeError("both loops never got the same frame")
