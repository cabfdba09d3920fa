"""NVIDIA's management library, and the card in it that CUDA calls the first."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
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
    text = ctypes.create_string_buffer(32)
    if find_gpu() is None or ctypes.CDLL("libcuda.so.1").cuDeviceGetPCIBusId(text, len(text), 0):
        return None
    return text.value.decode()
