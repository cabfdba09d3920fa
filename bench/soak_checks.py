"""What a soak must show, each from what was recorded of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# How long after a fault log, metrics and recovery may take: the source waits up to 30 s between
# its attempts, and so does MQTT.
GRACE_S = 35.0
# How much memory may grow, MB per 1,000 frames, and the run from which on that can be told: before,
# the page still fills what it keeps of the newest frames.
MAX_MB_PER_1000_FRAMES, MIN_MEMORY_S = 1.0, 1200.0
# By how much the least numbers of open files and threads may differ, and the run from which on
# threads can be told.
MAX_MORE_FILES, MAX_MORE_THREADS, MIN_THREADS_S = 8, 2, 480.0
# A viewer that is let in sees a new picture at least so often while the source is live.
MAX_PICTURE_GAP_S = 3.0
SIGTERM_CODE = 143


@dataclass(frozen=True)
class Check:
    """`passed` is None where it could not be tried."""

    name: str
    passed: bool | None
    evidence: str


@dataclass(frozen=True)
class Fault:
    """A fault as it was injected; Unix times."""

    kind: str
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class SinkCounts:
    """As `edge.sinks.worker.SinkStatus`."""

    written: int = 0
    failed: int = 0
    waiting: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Sample:
    """The run at a moment: its metrics; memory (MB), threads and open files of its processes."""

    at_s: float
    memory_mb: float
    threads: int
    files: int
    processed: int
    dropped: int
    state: str
    reconnects: int
    decode_errors: int
    width: int
    sinks: Mapping[str, SinkCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class LogLine:
    """A line of the log, with the Unix time it came at."""

    at_s: float
    level: str
    message: str


@dataclass(frozen=True)
class Seen:
    """How a fault shows: in the log, and in the samples until `GRACE_S` after it, of which the
    first is from before it."""

    log: str
    metrics: Callable[[Sequence[Sample]], bool]


def _grows(of: Callable[[Sample], int]) -> Callable[[Sequence[Sample]], bool]:
    return lambda samples: of(samples[-1]) > of(samples[0])


def _sink(samples: Sequence[Sample], name: str) -> list[SinkCounts]:
    return [counts for sample in samples for sink, counts in sample.sinks.items() if name in sink]


SOURCE_FAULTS = {
    "frozen": Seen("nothing new for", lambda samples: any(s.state == "stale" for s in samples)),
    "gone": Seen(
        r"lost \(",
        lambda samples: (
            any(s.state == "lost" for s in samples) and _grows(lambda s: s.reconnects)(samples)
        ),
    ),
    "wrong size": Seen(
        r"frames of \d+x\d+, no longer",
        lambda samples: len({s.width for s in samples}) > 1,
    ),
    "corrupt": Seen("could not be decoded", _grows(lambda s: s.decode_errors)),
}
SOURCE_FAULTS["killed"] = SOURCE_FAULTS["gone"]
OTHER_FAULTS = {
    "broker away": Seen(
        "connection to the broker",
        lambda samples: max((c.waiting for c in _sink(samples, "mqtt")), default=0) > 0,
    ),
    "disk full": Seen(
        "No space left",
        lambda samples: all(
            _sink(samples, name)[-1].failed > _sink(samples, name)[0].failed
            for name in ("belt.mp4", "small.jsonl")
        ),
    ),
}


def no_crash(code: int | None, stderr: Sequence[str]) -> Check:
    """It ran until SIGTERM, ended as told, and raised nothing."""
    traces = [line for line in stderr if "Traceback" in line or '"exception"' in line]
    passed = code == SIGTERM_CODE and not traces
    return Check("no crash", passed, f"exit code {code} after SIGTERM, {len(traces)} tracebacks")


def faults_seen(
    faults: Sequence[Fault], log: Sequence[LogLine], samples: Sequence[Sample]
) -> list[Check]:
    """Of each kind: every one is in the log and in the metrics, and the source comes back."""
    checks = []
    for kind, seen in (SOURCE_FAULTS | OTHER_FAULTS).items():
        of_kind = [fault for fault in faults if fault.kind == kind]
        if not of_kind:
            checks.append(Check(f"{kind} seen", None, "not tried"))
            continue
        logged = measured = back = 0
        for fault in of_kind:
            end_s = fault.end_s + GRACE_S
            logged += any(
                fault.begin_s <= line.at_s <= end_s and re.search(seen.log, line.message)
                for line in log
            )
            around = _around(samples, fault.begin_s, end_s)
            measured += bool(around) and seen.metrics(around)
            back += any(s.at_s > fault.end_s and s.state == "live" for s in around)
        checks.append(
            Check(
                f"{kind} seen",
                logged == measured == back == len(of_kind),
                f"{len(of_kind)} times: {logged} in the log, {measured} in the metrics, "
                f"live again after {back}",
            )
        )
    return checks


def _around(samples: Sequence[Sample], begin_s: float, end_s: float) -> list[Sample]:
    before = [s for s in samples if s.at_s < begin_s][-1:]
    return before + [s for s in samples if begin_s <= s.at_s <= end_s]


def memory_slope(samples: Sequence[Sample]) -> float:
    """Of the second half, MB per 1,000 frames."""
    half = samples[len(samples) // 2 :]
    frames = [sample.processed for sample in half]
    if len(set(frames)) < 2:
        return float("nan")
    slope = float(np.polyfit(frames, [s.memory_mb for s in half], 1)[0])
    return round(slope * 1000, 4) + 0.0  # never -0.0


def memory_flat(samples: Sequence[Sample]) -> Check:
    """No growth over the second half."""
    slope = memory_slope(samples)
    seconds = samples[-1].at_s - samples[0].at_s
    middle, last = samples[len(samples) // 2].memory_mb, samples[-1].memory_mb
    evidence = (
        f"{slope:+.3f} MB per 1,000 frames over the second half, {middle:.1f} MB in the middle, "
        f"{last:.1f} MB at the end, at most {max(s.memory_mb for s in samples):.1f} MB"
    )
    if seconds < MIN_MEMORY_S:
        return Check("memory flat", None, f"{evidence}; too short to tell")
    return Check("memory flat", slope <= MAX_MB_PER_1000_FRAMES, evidence)


def files_flat(samples: Sequence[Sample]) -> Check:
    """Open files do not grow: the least of the last quarter against the first's."""
    quarter = max(1, len(samples) // 4)
    first, last = (min(s.files for s in part) for part in (samples[:quarter], samples[-quarter:]))
    return Check(
        "open files flat",
        last - first <= MAX_MORE_FILES,
        f"{first} at least in the first quarter, {last} in the last, at most "
        f"{max(s.files for s in samples)}",
    )


def threads_flat(samples: Sequence[Sample]) -> Check:
    """Nor do threads: the least of the last quarter against the second's, as pools fill first."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]
    second, last = (min(s.threads for s in part) for part in (early, late))
    evidence = (
        f"{second} at least in the second quarter, {last} in the last, at most "
        f"{max(s.threads for s in samples)}"
    )
    if samples[-1].at_s - samples[0].at_s < MIN_THREADS_S:
        return Check("threads flat", None, f"{evidence}; too short to tell")
    return Check("threads flat", last - second <= MAX_MORE_THREADS, evidence)


def complete(name: str, frames: Sequence[tuple[int, str]], counts: Mapping[str, int]) -> Check:
    """Every index once, in order, and as many of each status as the summary says.

    Args:
        frames: index and status, in the order of the records.
        counts: of `processed`, `dropped` and `failed` frames.
    """
    indices = [index for index, _ in frames]
    wrong = sum(index != i for i, index in enumerate(indices))
    found = Counter(status for _, status in frames)
    differ = {s: (found[s], n) for s, n in counts.items() if found[s] != n}
    differ |= {s: (n, 0) for s, n in found.items() if s not in counts}
    evidence = f"{len(frames)} frames, {wrong} not at their place; " + ", ".join(
        f"{n} {status}" for status, n in sorted(found.items())
    )
    if differ:
        evidence += f"; records and summary differ: {differ}"
    passed = not wrong and not differ and bool(frames)
    return Check(f"{name} complete and in order", passed, evidence)


def delivered(received: Sequence[int], processed: Sequence[int]) -> Check:
    """All processed frames came, in order; one may come twice, as QoS 1 has it."""
    first = list(dict.fromkeys(received))
    missing = set(processed) - set(first)
    ordered = first == sorted(first)
    return Check(
        "MQTT complete and in order",
        first == list(processed),
        f"{len(first)} of {len(processed)} processed frames received, {len(missing)} missing, "
        f"{'in order' if ordered else 'NOT in order'}, {len(received) - len(first)} twice",
    )


def rows_complete(
    name: str, rows: Sequence[int], particles: Mapping[int, int], missing: int = 0
) -> Check:
    """The rows of particles are in the order of their frames, and as many as were found, but for
    those of `missing` frames, which the sink counted as not written.

    Args:
        rows: the frame of each row.
        particles: their number, of each processed frame.
    """
    found = Counter(rows)
    ordered = list(rows) == sorted(rows)
    wanted = {frame for frame, count in particles.items() if count}
    partly = sum(found[frame] not in (0, particles.get(frame, 0)) for frame in found)
    absent = len(wanted - found.keys())
    return Check(
        f"{name} complete and in order",
        ordered and not partly and absent == missing and bool(rows),
        f"{len(rows)} rows of {len(found)} frames, {'in order' if ordered else 'NOT in order'}, "
        f"{partly} frames in part, {absent} absent, {missing} counted as not written",
    )


def video_complete(decoded: int, processed: int, counts: SinkCounts) -> Check:
    """As many frames can be decoded as were processed, less those that the sink counted."""
    return Check(
        "video complete",
        decoded == processed - counts.failed - counts.lost,
        f"{decoded} of {processed} frames decoded; counted as not written {counts.failed}, as lost "
        f"with a fragment {counts.lost}",
    )


def viewers_served(
    pictures: Sequence[Sequence[float]],
    stretches: Sequence[tuple[float, float]],
    places: int,
    told: str,
) -> Check:
    """In each stretch `places` viewers kept getting new pictures.

    Args:
        pictures: Unix times of the pictures of each healthy viewer.
        stretches: begin and end, while others stalled.
        told: more for the evidence.
    """
    served, gaps = [], []
    for begin_s, end_s in stretches:
        count = 0
        for times in pictures:
            inside = [begin_s, *(t for t in times if begin_s <= t <= end_s), end_s]
            gap_s = max(np.diff(inside))
            if len(inside) > 2 and gap_s <= MAX_PICTURE_GAP_S:
                count += 1
                gaps.append(gap_s)
        served.append(count)
    evidence = (
        f"{min(served, default=0)} to {max(served, default=0)} viewers at a time were shown new "
        f"pictures all the time, at most {max(gaps, default=0):.1f} s apart; {told}"
    )
    return Check("viewers", bool(served) and min(served) >= places, evidence)


def rate_with_viewers(without: float, beside: float, least: float) -> Check:
    """The frames per second beside viewers are at least a fraction `least` of those without."""
    return Check(
        "frame rate beside viewers",
        beside >= least * without if without else False,
        f"{beside:.2f} FPS with 20 viewers, {without:.2f} without: {beside / without:.2f}"
        if without
        else "no frames",
    )
