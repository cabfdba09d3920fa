"""One run: every frame of a source through the engine and into the sinks."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge import tiling
from edge.engines.engine import Engine
from edge.files import write_json
from edge.latency import Stopwatch
from edge.particles import find_particles, particle_mask
from edge.sinks.sink import Result, Sink
from edge.sources.source import Source
from edge.writer import Writer

ENGINE_STAGE = "engine"


@dataclass(frozen=True)
class Summary:
    """What a run did; `latency_ms` holds p50 and p99 of each stage."""

    model: str
    content_hash: str
    device: str
    frames: int
    particles: int
    skipped: list[str]
    time_base: str
    latency_ms: dict[str, dict[str, float]]

    def write(self, path: Path) -> None:
        """As JSON; an earlier file stays whole until the new one is."""
        write_json(path, asdict(self))


def run(
    source: Source, engine: Engine, sinks: Sequence[Sink], report: Callable[[Result], None]
) -> Summary:
    """Process `source` to its end, or to Ctrl-C or SIGTERM; what is written by then is whole.

    Args:
        report: called after each frame, for progress.

    Raises:
        ToolError: the source or the engine fails; the sinks are closed all the same.
        OSError: a sink cannot write.
    """
    info = engine.info
    plan = functools.lru_cache(
        functools.partial(tiling.plan, multiple=info.multiple, halo=info.halo)
    )
    clock = Stopwatch()
    frames = particles = 0
    incoming = iter(source)
    with Writer(sinks, clock) as writer, _stop_signals() as stopping:
        while not stopping:
            with clock.stage("read"):
                frame = next(incoming, None)
            if frame is None:
                # The end of the source is no frame.
                clock.seconds["read"].pop()
                break
            layout = plan(frame.image.shape[:2])
            with clock.stage("cut"):
                tiles = tiling.cut(frame.image, layout)
            with clock.stage(ENGINE_STAGE):
                maps = engine.run(tiles)
            with clock.stage("stitch"):
                probability = tiling.stitch(maps, layout)
            with clock.stage("particles"):
                mask = particle_mask(probability, info.level)
                result = Result(frame, mask, find_particles(probability, mask))
            with clock.stage("queue"):
                writer.write(result)
            frames += 1
            particles += len(result.particles)
            report(result)
    return Summary(
        model=info.model,
        content_hash=info.content_hash,
        device=engine.device,
        frames=frames,
        particles=particles,
        skipped=source.skipped,
        time_base=source.time_base,
        latency_ms=clock.milliseconds(),
    )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is filled when Ctrl-C or SIGTERM arrives; a second signal ends at once."""
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for name, handler in earlier.items():
            signal.signal(name, handler)

    earlier = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        restore()
