"""Edge-run at a moment, seen from outside."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.machine import memory_mb
from bench.soak_checks import Sample, SinkCounts


def sample(pid: int, port: int) -> Sample:
    """Of the process, and of what it answers at /metrics.

    Raises:
        OSError: it is gone, or does not answer.
        KeyError: it has not begun.
    """
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    values: dict[str, float] = {}
    sinks: dict[str, dict[str, int]] = {}
    state = ""
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            if name == "edge_source_state":
                state = labels["state"] if value else state
            elif name.startswith("edge_sink_"):
                what = name.removeprefix("edge_sink_").removesuffix("_total")
                sinks.setdefault(labels["sink"], {})[what] = int(value)
            elif labels.get("reason", "newer_frame") == "newer_frame":
                values[name] = value
    pids = list(processes(pid))
    return Sample(
        at_s=time.time(),
        memory_mb=sum(memory_mb(one, "VmRSS") for one in pids),
        threads=sum(len(os.listdir(f"/proc/{one}/task")) for one in pids),
        files=sum(len(os.listdir(f"/proc/{one}/fd")) for one in pids),
        processed=int(values["edge_frames_processed_total"]),
        dropped=int(values["edge_frames_dropped_total"]),
        state=state,
        reconnects=int(values["edge_source_reconnects_total"]),
        decode_errors=int(values["edge_source_decode_errors_total"]),
        width=int(values.get("edge_source_width_pixels", 0)),
        sinks={name: SinkCounts(**counts) for name, counts in sinks.items()},
    )


def processes(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text(encoding="utf-8").split():
                yield from processes(int(child))
