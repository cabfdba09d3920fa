"""One run: every frame of a source through the engine and into the sinks."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.engines.engine import Engine
from edge.files import write_json
from edge.latency import Stopwatch
from edge.particles import ParticleFilter, find_particles
from edge.pipeline import Pipeline, Policy
from edge.sinks.sink import Result, Sink
from edge.sources.source import Source
from edge.writer import Writer


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        threshold, min_diameter_px, max_diameter_px: of `ParticleFilter`.
        frames: with a result.
        dropped: frames that newer ones replaced before the engine took them.
        frames_per_second: from the first frame taken to the last result, wall clock.
        age_ms: p50, p99 and max of the time from a frame's being taken to its particles being
            known; empty without frames.
        latency_ms: the same of each stage; "read", then "cut" to "stitch", then "particles" and
            "queue" (the wait for the sinks), then "write" go on at the same time.
    """

    model: str
    content_hash: str
    device: str
    policy: str
    threshold: float
    min_diameter_px: float | None
    max_diameter_px: float | None
    frames: int
    dropped: int
    particles: int
    skipped: list[str]
    time_base: str
    frames_per_second: float
    age_ms: dict[str, float]
    latency_ms: dict[str, dict[str, float]]

    def write(self, path: Path) -> None:
        """As JSON; an earlier file stays whole until the new one is."""
        write_json(path, asdict(self))


def run(
    source: Source,
    engine: Engine,
    sinks: Sequence[Sink],
    policy: Policy,
    report: Callable[[Result], None],
    particle_filter: ParticleFilter | None = None,
) -> Summary:
    """Process `source` to its end, or to Ctrl-C or SIGTERM; what is written by then is whole.

    Args:
        report: called after each frame, for progress.
        particle_filter: what is reported as a particle; by default all from the engine's own
            threshold on.

    Raises:
        ToolError: the source or the engine fails; the sinks are closed all the same.
        OSError: a sink cannot write.
    """
    info = engine.info
    particle_filter = particle_filter or ParticleFilter(info.threshold)
    clock, ages = Stopwatch(), Stopwatch()
    frames = particles = 0
    first_s = last_s = 0.0
    pipeline = Pipeline(source, engine, policy, clock)
    with (
        _stop_signals(pipeline.stop),
        Writer(sinks, clock, pipeline.stop) as writer,
        pipeline,
    ):
        for mapped in pipeline:
            with clock.stage("particles"):
                mask = particle_filter.mask(mapped.probability)
                found = find_particles(mapped.probability, mask)
            last_s = time.perf_counter()
            first_s = first_s or mapped.taken.at_s
            ages.add("age", last_s - mapped.taken.at_s)
            result = Result(mapped.taken.frame, mask, found)
            with clock.stage("queue"):
                writer.write(result)
            frames += 1
            particles += len(found)
            report(result)
    return Summary(
        model=info.model,
        content_hash=info.content_hash,
        device=engine.device,
        policy=policy.value,
        **asdict(particle_filter),
        frames=frames,
        dropped=pipeline.dropped,
        particles=particles,
        skipped=list(source.skipped),
        time_base=source.time_base,
        frames_per_second=round(frames / (last_s - first_s), 3) if frames else 0.0,
        age_ms=ages.milliseconds().get("age", {}),
        latency_ms=clock.milliseconds(),
    )


@contextlib.contextmanager
def _stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when Ctrl-C or SIGTERM arrives; a second signal ends at once."""

    def received(*_: object) -> None:
        stop()
        restore()

    def restore() -> None:
        for name, handler in earlier.items():
            signal.signal(name, handler)

    earlier = {name: signal.signal(name, received) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        restore()
