"""Energy of a block of work, read from an NVIDIA GPU or from a Jetson's rails."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge.errors import EdgeError
from edge.jetson import SYSFS, ModulePower, whole_module
from edge.nvml import open_card

SAMPLE_S = 0.05
TEGRASTATS_MS = 100
# "VDD_IN 4067/4067" (JetPack 4), "VDD_IN 5299mW/5299mW" (5 and 6), three of them (7): in mW, now
# and averaged. Memory ("SWAP 139/3886MB") looks like the first, but for its unit.
RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*)\s+(\d+)(?:mW)?(?:/\d+(?:mW)?)+(?!\S)")


@dataclass
class Energy:
    """Of a measured block; known once it is over."""

    joules: float = 0.0
    seconds: float = 0.0

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


class Meter(Protocol):
    """Reads power.

    Attributes:
        description: what is read.
        gpu_only: whether that is the graphics card without the rest of the machine.
    """

    description: str
    gpu_only: bool

    def measure(self) -> AbstractContextManager[Energy]:
        """Measure the block.

        Raises:
            EdgeError: the readings fail or end.
        """
        ...


def open_meter() -> Meter:
    """The first that is readable of NVML, INA3221 and tegrastats.

    Raises:
        EdgeError: none is.
    """
    meter = NvmlMeter.find() or Ina3221Meter.find(SYSFS) or TegrastatsMeter.find()
    if meter is None:
        raise EdgeError(
            "energy is not measurable here: neither NVML nor the INA3221 rails in /sys nor "
            "tegrastats gives power, so take a machine with an NVIDIA GPU, its driver with NVML "
            "and nvidia-ml-py, or a Jetson with readable INA3221 rails or tegrastats on the PATH"
        )
    return meter


class NvmlMeter:
    """The card that CUDA calls the first: its energy counter, or its power where it counts none."""

    gpu_only = True

    def __init__(self, nvml: Any, card: Any) -> None:
        self._nvml, self._card = nvml, card
        name = nvml.nvmlDeviceGetName(card)
        self._ask, self._counts = nvml.nvmlDeviceGetTotalEnergyConsumption, True
        try:
            self._ask(card)
            self.description = f"NVML energy counter of {name}, the card alone"
        except nvml.NVMLError:
            self._ask, self._counts = nvml.nvmlDeviceGetPowerUsage, False
            self._ask(card)
            self.description = f"NVML power of {name}, the card alone"

    @classmethod
    def find(cls) -> NvmlMeter | None:
        """None where there is no NVML, or where it tells neither energy nor power."""
        found = open_card()
        if found is None:
            return None
        nvml, card = found
        with contextlib.suppress(nvml.NVMLError):
            return cls(nvml, card)
        return None

    def measure(self) -> AbstractContextManager[Energy]:
        """As `Meter.measure`."""
        return self._counted() if self._counts else _polled(self._read)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[Energy]:
        energy = Energy()
        start, before = time.perf_counter(), self._read()
        yield energy
        energy.joules = self._read() - before
        energy.seconds = time.perf_counter() - start

    def _read(self) -> float:
        """The counter in J, or the power in W."""
        try:
            return float(self._ask(self._card)) / 1e3
        except self._nvml.NVMLError as error:
            raise EdgeError(f"{self.description}: cannot be read any more ({error})") from error


class Ina3221Meter:
    """The rails of a Jetson as the kernel shows them."""

    gpu_only = False

    def __init__(self, power: ModulePower) -> None:
        self._power = power
        self.description = f"INA3221, {_describe(power.rails)}"

    @classmethod
    def find(cls, sysfs: Path) -> Ina3221Meter | None:
        """None where there are no rails, or where they may not be read."""
        power = ModulePower.find(sysfs)
        return cls(power) if power else None

    def measure(self) -> AbstractContextManager[Energy]:
        """As `Meter.measure`."""
        return _polled(self._power.watts)


class TegrastatsMeter:
    """The rails of a Jetson as NVIDIA's tegrastats prints them."""

    gpu_only = False

    def __init__(self, program: str, rails: Sequence[str]) -> None:
        self._program, self._rails = program, rails
        self.description = f"tegrastats, {_describe(rails)}"

    @classmethod
    def find(cls) -> TegrastatsMeter | None:
        """None where it is not on the PATH, or its first line has no rails."""
        program = shutil.which("tegrastats")
        if program is None:
            return None
        with _lines(program) as (lines, _):
            rails = whole_module(tegrastats_rails(next(lines, "")))
        return cls(program, rails) if rails else None

    @contextlib.contextmanager
    def measure(self) -> Iterator[Energy]:
        """As `Meter.measure`."""
        with (
            _lines(self._program) as (lines, stop),
            _sampled(self._watts(lines), stop) as energy,
        ):
            yield energy

    def _watts(self, lines: Iterable[str]) -> Iterator[float]:
        for line in lines:
            rails = tegrastats_rails(line)
            if rails.keys() >= set(self._rails):  # the last line may be cut off
                yield sum(rails[rail] for rail in self._rails)


def tegrastats_rails(line: str) -> dict[str, float]:
    """The power of each rail at the moment of a line of tegrastats, W."""
    return {name: int(milliwatts) / 1e3 for name, milliwatts in RAIL.findall(line)}


@contextlib.contextmanager
def _lines(program: str) -> Iterator[tuple[Iterator[str], Callable[[], None]]]:
    """What a tegrastats of its own prints, and how to stop it."""
    with subprocess.Popen(
        [program, "--interval", str(TEGRASTATS_MS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout, process.terminate
        finally:
            process.terminate()


def _describe(rails: Iterable[str]) -> str:
    match tuple(rails):
        case (rail,):
            return f"rail {rail}"
        case several:
            return f"sum of the rails {', '.join(several)} (none is the whole)"


def joules(samples: Sequence[tuple[float, float]], start: float, end: float) -> float:
    """Energy from `start` to `end`, s, by the trapezoid rule over samples (s, W) in order.

    Before the first sample and after the last the power is taken to be as there.
    """
    times, watts = np.array(samples).T
    at = np.array([start, *times[(start < times) & (times < end)], end])
    power = np.interp(at, times, watts)
    return float(np.diff(at) @ (power[1:] + power[:-1]) / 2)


def _polled(watts: Callable[[], float]) -> AbstractContextManager[Energy]:
    """The block's energy from power that is asked every `SAMPLE_S`."""
    over = threading.Event()

    def samples() -> Iterator[float]:
        while True:
            yield watts()
            if over.wait(SAMPLE_S):
                return

    return _sampled(samples(), over.set)


@contextlib.contextmanager
def _sampled(watts: Iterator[float], stop: Callable[[], None]) -> Iterator[Energy]:
    """The block's energy from power as it comes, until `stop` ends it."""
    samples: list[tuple[float, float]] = []

    def collect() -> None:
        for power in watts:
            samples.append((time.perf_counter(), power))

    ended = EdgeError("the readings of power ended before the work did; measure again")
    first = next(watts, None)
    if first is None:
        raise ended
    start = time.perf_counter()
    samples.append((start, first))
    energy = Energy()
    with ThreadPoolExecutor(1) as pool:
        collected = pool.submit(collect)
        try:
            yield energy
        finally:
            end, early = time.perf_counter(), collected.done()
            stop()
        collected.result()
    if early:
        raise ended
    energy.joules, energy.seconds = joules(samples, start, end), end - start
