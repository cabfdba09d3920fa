"""What a run did: summary.json, always written, also after an error or an interrupt."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from edge.files import write_json

PACKAGES = (
    "microplastic-edge", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime",
    "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx",
)  # fmt: skip
Ended = Literal["complete", "limit", "truncated", "interrupted", "failed"]


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        ended: "complete": every frame of the source; "limit": as many as were asked for, or as
            fit into the time; "truncated": the source ended long before the expected number;
            "interrupted": stopped from outside; "failed": by an error.
        reason: the error, or the signal; None where there is none.
        source: as the user gave it, without user and password.
        sources: of each source its name in the records (empty where there is one only), its uri,
            its last state (None for files), how often it was connected again, and its decoding
            errors.
        started, finished: UTC, ISO 8601.
        engine_sha256: of the engine's file.
        source_sha256: of the FP32 graph that the engine was made from.
        threshold, min_diameter_px, max_diameter_px: of `ParticleFilter`, at the end.
        calibration: of the camera, as in its file; None where there is none.
        frames_expected: where the source knows; of those asked for.
        frames_processed, frames_dropped, frames_failed: with a result; replaced by newer ones
            before the engine took them; not readable. Those expected and in none of the three were
            not reached.
        problems: what was not read, not written, or is doubtful, a sentence each.
        time_base: what the frames' times count from, "unix" or "clip"; "mixed" where the sources
            differ.
        fps: frames processed per second, from the first capture to the last result.
        end_to_end_ms: p50, p99 and max of the time from a frame's capture to its particles; empty
            without frames.
        latency_ms: the same of each stage; stages run at the same time.
        versions: of what took part.
    """

    ended: Ended
    reason: str | None
    source: str
    sources: list[dict[str, Any]]
    started: str
    finished: str
    model: str
    engine: str
    engine_sha256: str
    source_sha256: str
    device: str
    policy: str
    every: int
    threshold: float
    min_diameter_px: float | None
    max_diameter_px: float | None
    calibration: dict[str, Any] | None
    frames_expected: int | None
    frames_processed: int
    frames_dropped: int
    frames_failed: int
    particles: int
    problems: list[str]
    time_base: str
    fps: float
    end_to_end_ms: dict[str, float]
    latency_ms: dict[str, dict[str, float]]
    versions: dict[str, str]

    def write(self, path: Path) -> None:
        """As JSON; an earlier file stays whole until the new one is."""
        write_json(path, asdict(self))


def versions() -> dict[str, str]:
    """Of Python and the installed packages that a run may use."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those of `packages` that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
