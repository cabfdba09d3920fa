"""The machine a number was measured on."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.errors import EdgeError
from edge.gpu import find_gpu
from edge.nvml import open_card
from edge.report import installed

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
    "openvino",
    "sahi",
    "trackers",
)
CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")


def machine_info() -> dict[str, str | int | float]:
    """What can be read of CPU, memory, load, GPU, clocks, power mode and versions installed.

    Clocks are in MHz and of this moment, memory is in 10**9 bytes, load the average of a minute.
    """
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        **_cpu_state(),
        **_gpu(),
        **_power_mode(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **installed(PACKAGES),
    }


def describe(machine: Mapping[str, str | int | float]) -> str:
    """What `machine_info` returned, in one line."""
    return ", ".join(f"{key} {value}" for key, value in machine.items())


def gpu_memory_mb(pid: int) -> float | None:
    """Memory of a process on the first GPU, MB of 10**6 bytes; None where the driver does not tell.

    A Jetson's does not: there it is part of the process's own memory.
    """
    if found := open_card():
        nvml, card = found
        with contextlib.suppress(nvml.NVMLError):
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(card):
                if process.pid == pid and process.usedGpuMemory:
                    return round(float(process.usedGpuMemory) / 1e6, 1)
    return None


def memory_mb(pid: int | str, line: Literal["VmRSS", "VmHWM"]) -> float:
    """Resident memory of a process, now or at its peak, MB of 10**6 bytes.

    From /proc, since what the system tells of an ended process counts its parent in.

    Raises:
        EdgeError: the system has no /proc.
        OSError: the process is gone.
    """
    if not Path("/proc/self/status").is_file():
        raise EdgeError("memory is read from /proc, which this system does not have; use Linux")
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


def _gpu() -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {}
    gpu = find_gpu()
    if gpu:
        found |= {"gpu": gpu.name, "compute_capability": gpu.compute_capability}
    opened = open_card()
    if opened is None:
        return found
    nvml, card = opened
    asked: dict[str, Callable[[], Any]] = {
        "gpu_driver": nvml.nvmlSystemGetDriverVersion,
        "gpu_mhz": lambda: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
        "gpu_mhz_max": lambda: nvml.nvmlDeviceGetMaxClockInfo(card, nvml.NVML_CLOCK_SM),
        "gpu_memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM),
        "gpu_power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(card) / 1e3,
    }
    for key, ask in asked.items():
        with contextlib.suppress(nvml.NVMLError):  # not every card tells everything
            found[key] = ask()
    return found


def _cpu_state() -> dict[str, str | int | float]:
    found: dict[str, str | int | float] = {}
    with contextlib.suppress(OSError):
        found["load"] = round(os.getloadavg()[0], 2)
    with contextlib.suppress(OSError):
        found["governor"] = (CPU / "scaling_governor").read_text(encoding="utf-8").strip()
    with contextlib.suppress(OSError):
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        found["memory_gb"] = round(int(text.split()[1]) * 1024 / 1e9, 1)
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if clocks := re.findall(r"^cpu MHz\s*:\s*([\d.]+)", info, re.MULTILINE):
            found["cpu_mhz"] = round(max(map(float, clocks)))
    return found


def _power_mode() -> dict[str, str]:
    """What a Jetson was set to, such as "MAXN"."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = subprocess.run(
            ["nvpmodel", "-q"], capture_output=True, text=True, check=True, timeout=10
        )
        if mode := re.search(r"NV Power Mode:\s*(\S+)", asked.stdout):
            return {"power_mode": mode[1]}
    return {}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            # Arm boards name themselves under "Model", x86 under "model name".
            key, _, value = line.partition(":")
            if key.strip().lower() in {"model name", "model"} and not value.strip().isdigit():
                return value.strip()
    return platform.processor() or "unknown"
