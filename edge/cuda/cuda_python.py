"""CUDA through NVIDIA's cuda-bindings, which has graphs."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any

import numpy as np

from edge.cuda.cuda import Graph, HostMemory, PitchedPointer, Stream, failure, no_device
from edge.errors import EdgeError, MissingExtraError


class CudaPython:
    """The adapter; see `Cuda`.

    Raises:
        EdgeError: cuda-bindings is not installed, or no device can be used.
    """

    def __init__(self) -> None:
        try:
            from cuda.bindings import driver
        except ModuleNotFoundError as error:
            raise MissingExtraError("cuda-bindings", "rtx") from error
        self._driver = driver
        self.title = f"cuda-bindings {version('cuda-bindings')}"
        try:
            (answer,) = driver.cuInit(0)
        except RuntimeError as error:
            raise no_device("its driver's library libcuda.so.1 cannot be loaded") from error
        if answer:
            raise no_device(f"cuInit: {self._named(answer)}")
        self._device = self._call(driver.cuDeviceGet, 0)
        integrated = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED
        self.integrated = bool(self._call(driver.cuDeviceGetAttribute, integrated, self._device))

    def __enter__(self) -> CudaPython:
        self._context = self._call(self._driver.cuDevicePrimaryCtxRetain, self._device)
        return self

    def __exit__(self, *error: object) -> None:
        self._driver.cuDevicePrimaryCtxRelease(self._device)

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        self._call(self._driver.cuCtxPushCurrent, self._context)
        try:
            yield
        finally:
            self._driver.cuCtxPopCurrent()

    @contextlib.contextmanager
    def stream(self) -> Iterator[Stream]:
        flags = self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        stream = self._call(self._driver.cuStreamCreate, flags)
        with self._freed(self._driver.cuStreamDestroy, stream):
            yield _Stream(self, int(stream))

    @contextlib.contextmanager
    def host_memory(self, size: int) -> Iterator[HostMemory]:
        flags = self._driver.CU_MEMHOSTALLOC_DEVICEMAP if self.integrated else 0
        pointer = self._call(self._driver.cuMemHostAlloc, size, flags)
        with self._freed(self._driver.cuMemFreeHost, pointer):
            device_pointer = None
            if self.integrated:
                device_pointer = int(self._call(self._driver.cuMemHostGetDevicePointer, pointer, 0))
            array = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))
            yield HostMemory(array, pointer, device_pointer)

    @contextlib.contextmanager
    def device_memory(self, size: int) -> Iterator[int]:
        pointer = self._call(self._driver.cuMemAlloc, size)
        with self._freed(self._driver.cuMemFree, pointer):
            yield int(pointer)

    def copy(
        self,
        target: PitchedPointer,
        source: PitchedPointer,
        width: int,
        height: int,
        stream: Stream,
    ) -> None:
        copy = self._driver.CUDA_MEMCPY2D()
        # The driver tells host from device by the address.
        copy.srcMemoryType = copy.dstMemoryType = self._driver.CUmemorytype.CU_MEMORYTYPE_UNIFIED
        copy.srcDevice, copy.srcPitch = source.pointer, source.pitch
        copy.dstDevice, copy.dstPitch = target.pointer, target.pitch
        copy.WidthInBytes, copy.Height = width, height
        self._call(self._driver.cuMemcpy2DAsync, copy, stream.handle)

    def capture(
        self, stream: Stream, work: Callable[[], None]
    ) -> AbstractContextManager[Graph] | None:
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        (error,) = self._driver.cuStreamBeginCapture(stream.handle, mode)
        if error:
            return None
        done, executable = False, None
        try:
            with contextlib.suppress(EdgeError):  # comes again where it is no matter of the capture
                work()
                done = True
        finally:
            error, graph = self._driver.cuStreamEndCapture(stream.handle)
            if not error:
                if done:
                    error, executable = self._driver.cuGraphInstantiate(graph, 0)
                self._driver.cuGraphDestroy(graph)
        return self._graph(executable) if done and not error else None

    @contextlib.contextmanager
    def _graph(self, executable: Any) -> Iterator[Graph]:
        with self._freed(self._driver.cuGraphExecDestroy, executable):
            yield _Graph(self, executable)

    @contextlib.contextmanager
    def _freed(self, free: Callable[..., Any], handle: Any) -> Iterator[None]:
        """Free `handle` after the block; an error inside counts more than one that follows it."""
        try:
            yield
        except BaseException:
            free(handle)
            raise
        self._call(free, handle)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of one of the driver's functions; None where it has none.

        Raises:
            EdgeError: it fails.
        """
        error, *results = function(*arguments)
        if error:
            out_of_memory = error == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
            raise failure(f"{function.__name__}: {self._named(error)}", out_of_memory)
        return results[0] if results else None

    def _named(self, error: Any) -> str:
        """An error with its description, in the driver's words."""
        _, name = self._driver.cuGetErrorName(error)
        _, description = self._driver.cuGetErrorString(error)
        return f"{name.decode()}, {description.decode()}"


class _Stream:
    def __init__(self, cuda: CudaPython, handle: int) -> None:
        self._cuda = cuda
        self.handle = handle

    def synchronize(self) -> None:
        self._cuda._call(self._cuda._driver.cuStreamSynchronize, self.handle)


class _Graph:
    def __init__(self, cuda: CudaPython, executable: Any) -> None:
        self._cuda = cuda
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        self._cuda._call(self._cuda._driver.cuGraphLaunch, self._executable, stream.handle)
