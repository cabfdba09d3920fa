"""One run: every frame of a source through a model and into the sinks."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from os import PathLike
from typing import Any

from edge.belt.settings import BeltSettings
from edge.belt.source import BeltSource
from edge.belt.stage import BeltStage
from edge.calibration.calibration import Calibration
from edge.engines import DEFAULT_MODEL
from edge.engines.sidecar import sha256
from edge.errors import BadArgumentError, describe
from edge.model import Model, load_model
from edge.particles import ParticleFilter
from edge.pipeline import Pipeline, Policy, Settings, Stage, Statistics
from edge.report import Ended, Report, versions
from edge.result import Result
from edge.sinks.sink import Sink
from edge.sources import SourceArgument, open_sources
from edge.sources.source import Source

_log = logging.getLogger(__name__)


class Run(Iterator[Result]):
    """Iterates over the results of a run, made by `run`. Closing it, or dropping it, ends the run.

    Installs no signal handlers. Iterate in one thread; the methods may be called from any.
    """

    def __init__(
        self, pipeline: Pipeline, model: Model, calibration: Calibration | None = None
    ) -> None:
        self._pipeline, self._model, self._calibration = pipeline, model, calibration
        self._started = _now()
        self._outcome: list[BaseException | None] = []
        # Not of `self`, so that a run nobody holds any more is closed at once.
        self._results = _results(pipeline, self._outcome)
        next(self._results)  # starts it, so that closing it always closes source and sinks

    @property
    def particle_filter(self) -> ParticleFilter:
        """Threshold and size limits; what is set holds from the next result on."""
        return self._pipeline.settings.particle_filter

    @particle_filter.setter
    def particle_filter(self, particle_filter: ParticleFilter) -> None:
        self._pipeline.settings.particle_filter = particle_filter

    @property
    def expected(self) -> int | None:
        """Frames that are due, where the source knows."""
        return _expected(self._pipeline.source, self._pipeline.settings)

    @property
    def truncated(self) -> bool:
        """Whether the source ended long before the expected number of frames."""
        return self._ended()[0] == "truncated"

    def __next__(self) -> Result:
        result = next(self._results)
        assert result is not None
        return result

    def stop(self, reason: str = "stopped") -> None:
        """Take no more frames; the results of those captured still come."""
        self._pipeline.stop(reason)

    def close(self) -> None:
        """End the run; frames in flight are finished without a result, what is written is whole."""
        if not self._outcome:
            self._pipeline.stop("closed")
        self._results.close()

    def cancel(self) -> None:
        """End at once, without the frames in flight; the engine may still be at work on one."""
        self._pipeline.stop("cancelled")
        self._pipeline.cancel()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def statistics(self) -> Statistics:
        """Of the run so far."""
        return self._pipeline.statistics()

    def report(self) -> Report:
        """What the run did; once it has ended."""
        pipeline, info = self._pipeline, self._model.engine.info
        source, settings, statistics = pipeline.source, pipeline.settings, pipeline.statistics()
        counts = statistics.counts
        ended, reason = self._ended()
        return Report(
            ended=ended,
            reason=reason,
            source=source.uri,
            sources=_sources(source),
            started=self._started,
            finished=_now(),
            model=info.model,
            engine=str(self._model.path),
            engine_sha256=sha256(self._model.path),
            source_sha256=info.content_hash,
            device=self._model.device,
            policy=settings.policy.value,
            every=settings.every,
            **asdict(settings.particle_filter),
            calibration=asdict(self._calibration) if self._calibration else None,
            frames_expected=self.expected,
            frames_processed=counts.processed,
            frames_dropped=counts.dropped,
            frames_failed=counts.failed,
            particles=counts.particles,
            problems=list(pipeline.problems),
            time_base=source.time_base,
            fps=statistics.fps,
            end_to_end_ms=statistics.end_to_end_ms,
            latency_ms=statistics.latency_ms,
            versions=versions(),
        )

    def _ended(self) -> tuple[Ended, str | None]:
        error = self._outcome[0] if self._outcome else None
        stopped = self._pipeline.stop_reason
        if error is not None and not isinstance(error, GeneratorExit | KeyboardInterrupt):
            return "failed", describe(error)
        if stopped == "limit":
            return "limit", None
        if stopped or error:
            return "interrupted", stopped or "stopped"
        truncated = any(part.truncated for part in self._pipeline.source.parts().values())
        return ("truncated" if truncated else "complete"), None


def run(
    source: SourceArgument | Sequence[SourceArgument],
    model: Model | str = DEFAULT_MODEL,
    *,
    sinks: Sequence[Sink] = (),
    stages: Sequence[Stage] = (),
    threshold: float | None = None,
    min_diameter_px: float | None = None,
    max_diameter_px: float | None = None,
    policy: Policy | None = None,
    frames: int | None = None,
    seconds: float | None = None,
    every: int = 1,
    calibration: Calibration | None = None,
    belt: BeltSettings | None = None,
) -> Run:
    """Find the particles in every frame of a source; iterate over the results.

    Args:
        source: path or URI, as of `open_source`, or an opened source; or several of them, which
            are read side by side.
        model: of `load_model`, or its name.
        sinks: where results go besides; they are closed at the end.
        stages: what happens to each result before.
        threshold, min_diameter_px, max_diameter_px: see `Model.particle_filter`.
        policy: by default every frame of a file, and the latest of a live source; must be given
            where there are both.
        frames, seconds: stop after as many frames, or as long.
        every: process one frame in so many.
        calibration: of the camera; gives the records their mm, after all stages.
        belt: the source is one camera above a belt, whose strip is read in chunks; the results are
            `BeltResult`s, and `frames` counts chunks. Takes neither `every` nor a calibration.

    Raises:
        BadArgumentError: there is no such source or model, a limit is out of range, or it does not
            go with a belt.
        EdgeError: the source cannot be opened. While iterating: it fails, or the engine does; the
            sinks are closed all the same.
        OSError: while iterating: a sink cannot write.
    """
    if not isinstance(model, Model):
        model = load_model(model)
    particle_filter = model.particle_filter(threshold, min_diameter_px, max_diameter_px)
    source = open_sources([source] if isinstance(source, str | PathLike | Source) else source)
    try:
        if belt:
            source = _belt(source, model, belt, every, calibration)
            stages = [BeltStage(belt.eject_px, belt.segment_px), *stages]
            # A chunk that is dropped would be a hole in the strip; frames of the camera may be.
            policy = policy or Policy.EVERY
        policy = policy or default_policy(source)
        settings = Settings(particle_filter, policy, frames, seconds, every)
    except BadArgumentError:
        source.close()
        raise
    _log.info("%s through %s on %s, %s", source.uri, model.name, model.device, settings)
    stages = [*stages, calibration] if calibration else stages
    return Run(Pipeline(source, model.engine, settings, sinks, stages), model, calibration)


def default_policy(source: Source) -> Policy:
    """Every frame of files, the latest of live sources.

    Raises:
        BadArgumentError: there are both.
    """
    live = {part.live for part in source.parts().values()}
    if len(live) > 1:
        raise BadArgumentError("live sources and files in one run: choose a policy")
    return Policy.LATEST if live == {True} else Policy.EVERY


def _belt(
    source: Source,
    model: Model,
    settings: BeltSettings,
    every: int,
    calibration: Calibration | None,
) -> Source:
    if every > 1:
        raise BadArgumentError("a belt needs every frame of its camera; leave out every")
    if calibration:
        raise BadArgumentError("a calibration is of frames, not of a belt; give mm per pixel")
    return BeltSource(source, model.engine, settings)


def _results(
    pipeline: Pipeline, outcome: list[BaseException | None]
) -> Generator[Result | None, None, None]:
    """None once a pipeline runs, then its results; how it ended goes to `outcome`."""
    try:
        with pipeline:
            yield None
            yield from pipeline
    except BaseException as error:
        outcome.append(error)
        if not isinstance(error, GeneratorExit):
            _log.debug("the run failed", exc_info=True)
        raise
    outcome.append(None)


def _sources(source: Source) -> list[dict[str, Any]]:
    """As `Report.sources`."""
    return [
        {
            "name": name,
            "uri": part.uri,
            "state": status.state.value if part.live else None,
            "reconnects": status.reconnects,
            "decode_errors": status.decode_errors,
        }
        for name, part in source.parts().items()
        for status in part.statuses()
    ]


def _expected(source: Source, settings: Settings) -> int | None:
    """Frames that were due: those of the sources, or fewer where fewer were asked for."""
    due = 0
    for part in source.parts().values():
        if part.expected is None:
            return settings.frames
        due += -(-part.expected // settings.every)
    return due if settings.frames is None else min(due, settings.frames)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
