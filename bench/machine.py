"""The machine a number was measured on, in words."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np

from edge.errors import ToolError

PACKAGES = (
    "microplastic-edge",
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnx",
    "tensorrt",
    "tensorrt-rtx",
    "torch",
    "lightning",
    "kornia",
)


def describe() -> dict[str, str | int]:
    """CPU, cores usable, system, Python and the versions of what is installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }


def memory_mb(pid: int | str, line: Literal["VmRSS", "VmHWM"]) -> float:
    """Resident memory of a process, now or at its peak, MB of 10**6 bytes.

    From /proc, since what the system tells of an ended process counts its parent in.

    Raises:
        ToolError: the system has no /proc.
        OSError: the process is gone.
    """
    if not Path("/proc/self/status").is_file():
        raise ToolError("memory is read from /proc, which this system does not have; use Linux")
    for entry in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = entry.partition(":")
        if name == line:
            return int(value.split()[0]) * 1024 / 1e6
    raise ProcessLookupError(f"process {pid} has ended")


def mb_per_1000_frames(memory: Sequence[float]) -> float:
    """Slope of a line through `memory`, MB after each frame, the first tenth left out."""
    settled = memory[len(memory) // 10 :]
    slope = np.polyfit(np.arange(len(settled)), settled, 1)[0]
    return round(float(slope) * 1000, 4)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            # Arm boards name themselves under "Model", x86 under "model name".
            key, _, value = line.partition(":")
            if key.strip().lower() in {"model name", "model"} and not value.strip().isdigit():
                return value.strip()
    return platform.processor() or "unknown"
