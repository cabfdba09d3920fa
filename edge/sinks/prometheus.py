"""The run as metrics for Prometheus, over HTTP."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, cast

from edge.belt.frame import BeltFrame
from edge.belt.result import BeltResult
from edge.errors import BadArgumentError, EdgeError, printable, require_extra
from edge.jetson import ModulePower
from edge.nvml import Card
from edge.result import Result
from edge.sinks.sink import Sink
from edge.sinks.uri import SinkUri
from edge.sources.source import State
from edge.stage_timer import BOUNDS_S, Histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from edge.pipeline import Pipeline, Statistics

# Nobody else's business until the user says so.
HOST = "127.0.0.1"


class PrometheusSink(Sink):
    """Answers http://HOST:PORT/metrics from `Pipeline.statistics`, so a frame costs nothing.

    Args:
        host: address to listen at; empty is this machine alone.
        port: 0 is any that is free.

    Attributes:
        port: the one that it listens at.

    Raises:
        EdgeError: it cannot listen there.
        MissingExtraError: prometheus-client is not installed.
    """

    name = "prometheus"
    on_error: Literal["fail", "drop"] = "drop"

    def __init__(self, host: str, port: int) -> None:
        with require_extra("live"):
            from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        try:
            self._server, self._thread = start_http_server(port, host or HOST, self._registry)
        except OSError as error:
            raise EdgeError(
                f"prometheus: cannot listen at {host or HOST}:{port} ({error.strerror}); give "
                f"another port, such as prometheus://{host}:{port + 1}"
            ) from None
        self.port = self._server.server_port

    @classmethod
    def from_uri(cls, uri: SinkUri) -> PrometheusSink:
        """Of prometheus://HOST:PORT, where HOST may be left out.

        Raises:
            BadArgumentError: it is not of this form.
            EdgeError: as the class.
        """
        host, port, path = uri.address()
        uri.options()
        if port is None or path:
            raise BadArgumentError(
                f"{uri.text}: write it as prometheus://:9090, or as prometheus://0.0.0.0:9090 to "
                f"be reached from other machines"
            )
        return cls(host, port)

    def attach(self, pipeline: Pipeline) -> None:
        """As `Sink.attach`."""
        self._collector = _Collector(pipeline)
        self._registry.register(self._collector)

    def write(self, result: Result) -> None:
        """As `Sink.write`: all but what is of a belt is in the statistics already."""
        if isinstance(result, BeltResult):
            self._collector.belt = result

    def close(self) -> None:
        """As `Sink.close`."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._card, self._module = Card.find(), ModulePower.find()
        self.belt: BeltResult | None = None

    def describe(self) -> list[Metric]:
        """Nothing: the registry then does not ask for all of it when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        statistics = self._pipeline.statistics()
        yield from _of_frames(statistics)
        yield from _of_sources(statistics)
        yield from _of_sinks(statistics)
        if self.belt:
            yield from _of_belt(self.belt)
        yield from self._of_engine()

    def _of_engine(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

        engine = self._pipeline.engine
        labels = {"model": engine.info.model, "device": engine.device}
        yield InfoMetricFamily("edge_engine", "What runs the network.", labels)
        if self._module:
            with contextlib.suppress(OSError):
                watts = self._module.watts()
                yield GaugeMetricFamily("edge_module_power_watts", "Power of the Jetson.", watts)
        if self._card is None:
            return
        readings = self._card.read()
        for name, text, value in (
            ("memory_used_bytes", "Memory of the GPU in use, by all processes.",
             readings.memory_used_bytes),
            ("memory_total_bytes", "Memory of the GPU.", readings.memory_total_bytes),
            ("power_watts", "Power of the GPU.", readings.power_w),
        ):  # fmt: skip
            if value is not None:
                family = GaugeMetricFamily(f"edge_gpu_{name}", text, labels=["gpu"])
                family.add_metric([readings.name], value)
                yield family


def _of_frames(statistics: Statistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    counts = statistics.counts
    for name, text, count in (
        ("frames_captured", "Frames taken from the source.", counts.captured),
        ("frames_processed", "Frames with a result.", counts.processed),
        ("particles", "Particles found.", counts.particles),
    ):
        yield CounterMetricFamily(f"edge_{name}", text, count)
    dropped = CounterMetricFamily(
        "edge_frames_dropped", "Frames without a result, by reason.", labels=["reason"]
    )
    dropped.add_metric(["newer_frame"], counts.dropped)
    dropped.add_metric(["unreadable"], counts.failed)
    yield dropped
    stages = HistogramMetricFamily(
        "edge_stage_duration_seconds", "Time of a frame in each stage.", labels=["stage"]
    )
    for stage, histogram in statistics.latency_histograms.items():
        stages.add_metric([printable(stage)], _buckets(histogram), histogram.sum_s)
    yield stages
    if whole := statistics.end_to_end_histogram:
        yield HistogramMetricFamily(
            "edge_end_to_end_latency_seconds",
            "Time from the capture of a frame to its particles.",
            _buckets(whole),
            whole.sum_s,
        )


def _of_sources(statistics: Statistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    labels = ["source"]
    state = GaugeMetricFamily(
        "edge_source_state", "1 for the state a source is in, else 0.", labels=["source", "state"]
    )
    since = GaugeMetricFamily(
        "edge_source_state_start_time_seconds", "Unix time of that state's begin.", labels=labels
    )
    reconnects = CounterMetricFamily(
        "edge_source_reconnects", "Connections made again.", labels=labels
    )
    errors = CounterMetricFamily(
        "edge_source_decode_errors", "Frames that could not be decoded.", labels=labels
    )
    width = GaugeMetricFamily("edge_source_width_pixels", "Of its last frame.", labels=labels)
    height = GaugeMetricFamily("edge_source_height_pixels", "Of its last frame.", labels=labels)
    for source in statistics.sources:
        name = printable(source.name)
        for one in State:
            state.add_metric([name, one.value], one is source.state)
        since.add_metric([name], source.since_s)
        reconnects.add_metric([name], source.reconnects)
        errors.add_metric([name], source.decode_errors)
        if source.size_wh:
            width.add_metric([name], source.size_wh[0])
            height.add_metric([name], source.size_wh[1])
    yield from (state, since, reconnects, errors, width, height)


def _of_sinks(statistics: Statistics) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    depth = GaugeMetricFamily("edge_queue_depth", "Frames that wait in a queue.", labels=["queue"])
    for queue, count in statistics.queues.items():
        depth.add_metric([queue], count)
    labels = ["sink"]
    written = CounterMetricFamily("edge_sink_written", "Results written.", labels=labels)
    failed = CounterMetricFamily(
        "edge_sink_failed", "Results not written, since writing failed.", labels=labels
    )
    lost = CounterMetricFamily(
        "edge_sink_lost", "Results written, but dropped before delivery.", labels=labels
    )
    waiting = GaugeMetricFamily(
        "edge_sink_waiting", "Results written that are still to be delivered.", labels=labels
    )
    seen: Counter[str] = Counter()
    for sink in statistics.sinks:
        name = printable(sink.name)
        seen[name] += 1
        if seen[name] > 1:  # x.csv in two folders, say: labels must differ
            name += f" ({seen[name]})"
        depth.add_metric([f"sink {name}"], sink.queue)
        written.add_metric([name], sink.written)
        failed.add_metric([name], sink.failed)
        lost.add_metric([name], sink.lost)
        waiting.add_metric([name], sink.waiting)
    yield from (depth, written, failed, lost, waiting)


def _of_belt(result: BeltResult) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    frame = cast(BeltFrame, result.frame)
    yield CounterMetricFamily("edge_belt_rows", "Rows of the belt so far.", frame.valid[1])
    if motion := frame.motion:
        yield GaugeMetricFamily(
            "edge_belt_speed_pixels_per_second", "Speed of the belt.", motion.speed_px_s
        )
        yield GaugeMetricFamily(
            "edge_belt_registration_quality",
            "Peak of the last registration, in standard deviations of unrelated pictures.",
            motion.quality,
        )


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Upper bound and number of all durations up to it."""
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
