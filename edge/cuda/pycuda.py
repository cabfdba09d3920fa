"""CUDA through pycuda, which has no graphs."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from edge.cuda.cuda import HostMemory, PitchedPointer, Stream, failure, no_device
from edge.errors import MissingExtraError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which pycuda does not name


class PyCuda:
    """The adapter; see `Cuda`.

    Raises:
        EdgeError: pycuda is not installed, or no device can be used.
    """

    def __init__(self) -> None:
        try:
            from pycuda import driver
        except ModuleNotFoundError as error:
            raise MissingExtraError("pycuda", "jetson") from error
        except ImportError as error:  # one of CUDA's libraries
            raise no_device(str(error)) from error
        self._driver = driver
        self.title = f"pycuda {version('pycuda')}"
        try:
            driver.init()
            self._device = driver.Device(0)
            self.integrated = bool(self._device.get_attribute(driver.device_attribute.INTEGRATED))
        except driver.Error as error:
            raise no_device(str(error)) from error

    def __enter__(self) -> PyCuda:
        with self._errors():
            self._context = self._device.retain_primary_context()
        self._thread = threading.get_ident()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.detach()
        # In the thread that retained the context, `detach` makes it current and releases it, and
        # leaves the former to a pop that a release is not; in another it does nothing.
        driver = ctypes.CDLL("libcuda.so.1")
        if self._thread == threading.get_ident():
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        else:
            device = ctypes.c_int()
            driver.cuDeviceGet(ctypes.byref(device), 0)
            driver.cuDevicePrimaryCtxRelease_v2(device)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        with self._errors():
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    @contextlib.contextmanager
    def stream(self) -> Iterator[Stream]:
        with self._errors():
            stream = _Stream(self, self._driver.Stream(_NON_BLOCKING))
        try:
            yield stream
        finally:
            del stream.native  # the last reference, which frees it

    @contextlib.contextmanager
    def host_memory(self, size: int) -> Iterator[HostMemory]:
        flags = self._driver.host_alloc_flags.DEVICEMAP if self.integrated else 0
        with self._errors():
            array = self._driver.pagelocked_empty(size, np.uint8, mem_flags=flags)
        memory = array.base
        try:
            device_pointer = None
            if self.integrated:
                with self._errors():
                    device_pointer = memory.get_device_pointer()
            yield HostMemory(array, array.ctypes.data, device_pointer)
        finally:
            memory.free()

    @contextlib.contextmanager
    def device_memory(self, size: int) -> Iterator[int]:
        with self._errors():
            memory = self._driver.mem_alloc(size)
        try:
            yield int(memory)
        finally:
            memory.free()

    def copy(
        self,
        target: PitchedPointer,
        source: PitchedPointer,
        width: int,
        height: int,
        stream: Stream,
    ) -> None:
        assert isinstance(stream, _Stream)
        copy = self._driver.Memcpy2D()
        copy.set_src_device(source.pointer)
        copy.set_dst_device(target.pointer)
        # The driver tells host from device by the address.
        copy.src_memory_type = copy.dst_memory_type = self._driver.memory_type.UNIFIED
        copy.src_pitch, copy.dst_pitch = source.pitch, target.pitch
        copy.width_in_bytes, copy.height = width, height
        with self._errors():
            copy(stream.native)

    def capture(self, stream: Stream, work: Callable[[], None]) -> None:
        return None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn an error of pycuda's into `EdgeError`."""
        try:
            yield
        except self._driver.Error as error:
            raise failure(str(error), isinstance(error, self._driver.MemoryError)) from error


class _Stream:
    def __init__(self, cuda: PyCuda, native: Any) -> None:
        self._cuda = cuda
        self.native = native
        self.handle: int = native.handle

    def synchronize(self) -> None:
        with self._cuda._errors():
            self.native.synchronize()
