"""The metrics of a run, asked for over HTTP while it runs."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import endless
import pytest

import edge
from edge.errors import EdgeError
from edge.frame import Frame, SkippedFrame
from edge.result import Result
from edge.sinks.prometheus import PrometheusSink
from edge.sinks.sink import Sink
from edge.sources.source import SourceStatus, State
from edge.stage_timer import BOUNDS_S, StageTimer

parser = pytest.importorskip("prometheus_client.parser")
Samples = dict[tuple[str, tuple[str, ...]], float]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    deadline = time.monotonic() + 20  # that of a request may outlive its answer a little
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def scrape(sink: PrometheusSink) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{sink.port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def samples(text: str) -> Samples:
    """Values by name and the labels' values."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


class Lossy(Sink):
    """Cannot write frame 2, and counts as MQTT does."""

    name, on_error = 'lossy "1"', "drop"
    waiting, lost = 7, 3

    def write(self, result: Result) -> None:
        if result.frame.index == 2:
            raise OSError(5, "no")


class Unsteady(endless.EndlessSource):
    """Cannot read frame 1."""

    def __iter__(self) -> Iterator[Frame | SkippedFrame]:
        for frame in super().__iter__():
            yield SkippedFrame(1, "x", None, "failed") if frame.index == 1 else frame

    def statuses(self) -> tuple[SourceStatus, ...]:
        return (SourceStatus("rtsp://left", State.LOST, 1e9, 4, 2, (640, 480)),)


def test_the_numbers_are_those_of_the_run() -> None:
    sink = edge.open_sink("prometheus://:0")
    assert isinstance(sink, PrometheusSink)
    source = Unsteady(10)
    texts = []

    class Last(Sink):
        """Asks for the metrics when it gets the last result."""

        name = "last"

        def write(self, result: Result) -> None:
            if result.frame.index == 9:
                texts.append(scrape(sink))

    run = edge.run(
        source, "quarter_mrunet", sinks=[Lossy(), Lossy(), Last(), sink]
    )  # closed in this order
    results = list(run)
    (text,) = texts
    found = samples(text)
    particles = sum(len(result.particles) for result in results)
    for name, labels, value in (
        ("frames_captured_total", (), 9),
        ("frames_processed_total", (), 9),
        ("frames_dropped_total", ("newer_frame",), 0),
        ("frames_dropped_total", ("unreadable",), 1),
        ("particles_total", (), particles),
        ("source_state", ("rtsp://left", "lost"), 1),
        ("source_state", ("rtsp://left", "live"), 0),
        ("source_state_start_time_seconds", ("rtsp://left",), 1e9),
        ("source_reconnects_total", ("rtsp://left",), 4),
        ("source_decode_errors_total", ("rtsp://left",), 2),
        ("source_width_pixels", ("rtsp://left",), 640),
        ("source_height_pixels", ("rtsp://left",), 480),
        ("queue_depth", ("capture",), 0),
        ("sink_failed_total", ('lossy "1"',), 1),
        ("sink_lost_total", ('lossy "1"',), 3),
        ("sink_waiting", ('lossy "1"',), 7),
        ("sink_failed_total", ('lossy "1" (2)',), 1),
        ("end_to_end_latency_seconds_count", (), 9),
        ("end_to_end_latency_seconds_bucket", ("+Inf",), 9),
    ):
        assert found[f"edge_{name}", labels] == value, name
    (engine,) = [labels for name, labels in found if name == "edge_engine_info"]
    assert "quarter_mrunet" in engine
    stages = {labels[0] for name, labels in found if name == "edge_stage_duration_seconds_count"}
    assert {"read", "engine", "particles", "write last"} <= stages
    assert found["process_resident_memory_bytes", ()] > 1e6
    assert not [name for name, _ in found if "gpu" in name]
    assert found["edge_end_to_end_latency_seconds_sum", ()] > 0


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_promtool_has_no_complaint() -> None:
    sink = edge.open_sink("prometheus://:0")
    assert isinstance(sink, PrometheusSink)
    with edge.run(endless.EndlessSource(3), "quarter_mrunet", sinks=[sink]) as run:
        next(run)
        text = scrape(sink)
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EdgeError, match=rf"cannot listen at 127.0.0.1:{port} \(Address alr"):
            edge.open_sink(f"prometheus://:{port}")
    with pytest.raises(EdgeError, match=r"cannot listen at 192\.0\.2\.1:9"):
        edge.open_sink("prometheus://192.0.2.1:9")


def test_only_this_machine_is_answered() -> None:
    sink = edge.open_sink("prometheus://:0")
    assert isinstance(sink, PrometheusSink)
    assert sink._server.server_address[0] == "127.0.0.1"
    sink.close()


def test_histograms_count_every_duration() -> None:
    timer = StageTimer()
    for seconds in [0.0005, 0.0006, 3.0, 100.0] * 10_000:
        timer.add("engine", seconds)
    histogram = timer.histograms()["engine"]
    assert histogram.sum_s == pytest.approx(10_000 * 103.0011)
    assert histogram.counts == (10_000, 10_000, *[0] * 10, 10_000, 0, 10_000)
    assert len(histogram.counts) == len(BOUNDS_S) + 1


CUDA = """
#include <string.h>
int cuInit(unsigned f) { return f; }
int cuDeviceGetCount(int *n) { return *n = 1, 0; }
int cuDeviceGet(int *d, int i) { return *d = i, 0; }
int cuDeviceGetName(char *t, int n, int d) { return strncpy(t, "GeForce", n), d; }
int cuDeviceGetAttribute(int *v, int a, int d) { return *v = a == 75 ? 8 : 6, d; }
int cuDeviceGetPCIBusId(char *t, int n, int d) { return strncpy(t, "0000:65:00.0", n), d; }
"""
NVML = """
#include <string.h>
typedef struct { unsigned long long total, free, used; } Memory;
int nvmlInitWithFlags(unsigned f) { return f; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *a, void **card) { return *card = 0, 0; }
int nvmlDeviceGetName(void *card, char *t, unsigned n) { return strncpy(t, "GeForce", n), 0; }
int nvmlDeviceGetMemoryInfo(void *card, Memory *m) {
    return m->total = 8000, m->free = 5000, m->used = 3000, 0;
}
int nvmlDeviceGetPowerUsage(void *card, unsigned *mw) { return POWER; }
"""
ASK = """
import endless, edge, urllib.request
sink = edge.open_sink("prometheus://:0")
with edge.run(endless.EndlessSource(3), "quarter_mrunet", sinks=[sink]) as run:
    next(run)
    print(urllib.request.urlopen(f"http://127.0.0.1:{sink.port}/metrics").read().decode())
"""


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize(("power", "watts"), [("*mw = 30500, 0", 30.5), ("3", None)])
def test_gpu_memory_and_power_where_readable(
    power: str, watts: float | None, tmp_path: Path
) -> None:
    pytest.importorskip("pynvml")
    for name, source in {"libcuda.so.1": CUDA, "libnvidia-ml.so.1": NVML}.items():
        text = source.replace("POWER", power)
        command = ["cc", "-std=gnu11", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / name]
        subprocess.run(command, input=text, text=True, check=True)
    path = f"{Path(endless.__file__).parent}:{os.environ.get('PYTHONPATH', '')}"
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    found = samples(done.stdout)
    assert found["edge_gpu_memory_used_bytes", ("GeForce",)] == 3000
    assert found["edge_gpu_memory_total_bytes", ("GeForce",)] == 8000
    assert found.get(("edge_gpu_power_watts", ("GeForce",))) == watts
