"""The little of CUDA that frames need on their way through an engine.

Everything that lives on the device is a context manager and is freed in the order opposite to that
in which it was made. An adapter is one file beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError


@dataclass(frozen=True)
class PitchedPointer:
    """Rows of bytes: `pointer` to the first, `pitch` bytes from one row to the next."""

    pointer: int
    pitch: int


@dataclass(frozen=True)
class HostMemory:
    """Page-locked memory: `array` (n,) uint8 for the host, at `pointer`.

    `device_pointer` is where the device sees the same bytes, on devices that share the host's
    memory; None on others.
    """

    array: NDArray[np.uint8]
    pointer: int
    device_pointer: int | None


class Stream(Protocol):
    """Work in order; `handle` is what TensorRT takes."""

    handle: int

    def synchronize(self) -> None:
        """Wait until all of it is done.

        Raises:
            EdgeError: some of it failed.
        """
        ...


class Graph(Protocol):
    """Captured work, as one launch."""

    def launch(self, stream: Stream) -> None: ...


class Cuda(Protocol):
    """The first device, through one of the packages that speak to it.

    As a context manager it holds the device's primary context, which it shares with TensorRT; each
    thread that calls it must be `current`.

    Attributes:
        title: package and version, such as "pycuda 2026.1".
        integrated: whether device and host share their memory, as on a Jetson.
    """

    title: str
    integrated: bool

    def __enter__(self) -> Cuda: ...

    def __exit__(self, *error: object) -> None: ...

    def current(self) -> AbstractContextManager[None]:
        """The calling thread may use the device within the block."""
        ...

    def stream(self) -> AbstractContextManager[Stream]: ...

    def host_memory(self, size: int) -> AbstractContextManager[HostMemory]:
        """`size` bytes, page-locked; mapped where the device is integrated."""
        ...

    def device_memory(self, size: int) -> AbstractContextManager[int]:
        """Pointer to `size` bytes on the device.

        Raises:
            EdgeError: the device has no room for them.
        """
        ...

    def copy(
        self,
        target: PitchedPointer,
        source: PitchedPointer,
        width: int,
        height: int,
        stream: Stream,
    ) -> None:
        """Queue a copy of `height` rows of `width` bytes between any two memories of this device.

        Raises:
            EdgeError: a region leaves its memory.
        """
        ...

    def capture(
        self, stream: Stream, work: Callable[[], None]
    ) -> AbstractContextManager[Graph] | None:
        """The work that `work` queues on `stream`, as a graph; None where that cannot be."""
        ...


def no_device(why: str) -> EdgeError:
    """The error of a machine where no device can be used; `why` in the driver's words."""
    return EdgeError(
        f"no CUDA device can be used ({why}): see whether nvidia-smi lists one here, or run an "
        ".onnx engine"
    )


def failure(why: str, out_of_memory: bool) -> EdgeError:
    """The error of a device that failed; `why` in the driver's words."""
    if out_of_memory:
        return EdgeError(
            f"the GPU is out of memory ({why}): stop what else uses it, or run export-trt with a "
            "smaller --tile or --batch"
        )
    return EdgeError(
        f"the GPU failed ({why}): start again, and if it fails again, look for Xid in the kernel's "
        "log (dmesg)"
    )
