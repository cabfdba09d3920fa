"""NVIDIA's management library, and the card in it that CUDA calls the first."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
from dataclasses import dataclass
from typing import Any

from edge.gpu import find_gpu


def open_card() -> tuple[Any, Any] | None:
    """The module `pynvml` and its handle of that card; None where there is no NVML or no card."""
    try:
        import pynvml as nvml
    except ModuleNotFoundError:  # the rails of a Jetson do without
        return None
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlInit()
        atexit.register(nvml.nvmlShutdown)
        if address := _pci_address():
            return nvml, nvml.nvmlDeviceGetHandleByPciBusId(address)
    return None


def _pci_address() -> str | None:
    """Of the first CUDA device; NVML counts the cards in another order."""
    if find_gpu() is None:
        return None
    driver = ctypes.CDLL("libcuda.so.1")
    device, text = ctypes.c_int(), ctypes.create_string_buffer(32)
    if driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetPCIBusId(
        text, len(text), device
    ):
        return None
    return text.value.decode()


@dataclass(frozen=True)
class CardReadings:
    """Of a card, now; None is not readable.

    Attributes:
        name: of the card.
        memory_used_bytes, memory_total_bytes: by all processes.
        power_w: of the card.
    """

    name: str
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_w: float | None


class Card:
    """What `open_card` found."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    @classmethod
    def find(cls) -> Card | None:
        """None where there is no NVML or no card."""
        found = open_card()
        return cls(*found) if found else None

    def read(self) -> CardReadings:
        """What is readable now."""
        name = self._ask("nvmlDeviceGetName") or ""
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        milliwatts = self._ask("nvmlDeviceGetPowerUsage")
        return CardReadings(
            name,
            memory and int(memory.used),
            memory and int(memory.total),
            None if milliwatts is None else milliwatts / 1e3,
        )

    def _ask(self, function: str) -> Any:
        try:
            return getattr(self._nvml, function)(self._handle)
        except self._nvml.NVMLError:
            return None
