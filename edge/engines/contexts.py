"""The execution contexts of an engine, one for each frame in flight.

They are set up before anything runs in them, as a CUDA graph keeps whatever it captured: kernels
are those specialised for the shape, and memory is not allocated on the way.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.cuda.cuda import Cuda, Stream
from edge.engines.cache import read_cache, warn_ignored, write_cache
from edge.engines.engine import INPUT
from edge.engines.variant import CollectingLog, TensorRtVariant, without_collector
from edge.errors import EdgeError


class ExecutionContexts:
    """Makes the contexts of `engine`, and keeps the kernels that they compile.

    A CUDA context must be current whenever it is called.

    Args:
        log: of the engine's runtime.
        cache: file for compiled kernels, where the variant compiles any; None keeps them in memory.
    """

    def __init__(
        self, engine: Any, variant: TensorRtVariant, log: CollectingLog, cache: Path | None = None
    ) -> None:
        self._engine, self._log = engine, log
        self._title = variant.title
        # Where there are several, each context has one of its own: before TensorRT 10, contexts do
        # not share one unless the builder was told so.
        profiles = engine.num_optimization_profiles
        self._free_profiles = deque(range(profiles)) if profiles > 1 else None
        self._profiles = profiles
        self._config: Any = None
        self._kernels: CompiledKernels | None = None
        self._own_memory = variant.requires_user_allocation
        if variant.compiles_at_run_time:
            module = variant.module
            self._config = engine.create_runtime_config()
            # Otherwise fallback kernels run first, and a graph of them would for ever.
            self._config.dynamic_shapes_kernel_specialization_strategy = (
                module.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            if self._own_memory:
                self._config.set_execution_context_allocation_strategy(
                    module.ExecutionContextAllocationStrategy.USER_MANAGED
                )
            self._kernels = CompiledKernels(self._config, cache, variant.title)

    @contextlib.contextmanager
    def context(
        self,
        cuda: Cuda,
        stream: Stream,
        shape: tuple[int, ...],
        addresses: Mapping[str, int],
    ) -> Iterator[Any]:
        """An IExecutionContext for input of `shape`, whose work goes to `stream`.

        It is freed at the end, when its work must be done; nothing else may hold it then.

        Args:
            addresses: of the tensors, by name.

        Raises:
            EdgeError: the engine has no more contexts, or the device no more memory.
        """
        with contextlib.ExitStack() as stack:
            profile = None
            if self._free_profiles is not None:
                if not self._free_profiles:
                    raise EdgeError(
                        f"{self._title} has profiles for {self._profiles} frames in flight, which "
                        f"are open already: run sources of one size, or one source"
                    )
                profile = self._free_profiles.popleft()
                stack.callback(self._free_profiles.append, profile)
            memory, size = 0, self._engine.device_memory_size_v2 if self._own_memory else 0
            if size:
                memory = stack.enter_context(cuda.device_memory(size))
            with_config = [] if self._config is None else [self._config]
            with without_collector():
                held = [self._engine.create_execution_context(*with_config)]
            stack.callback(held.clear)
            context = held[0]
            if context is None:
                raise self._refusal()
            # Its copies come before the work that is queued on the same stream.
            if profile is not None and not context.set_optimization_profile_async(
                profile, stream.handle
            ):
                raise self._refusal()
            if not context.set_input_shape(INPUT, shape):
                raise self._refusal()
            if self._own_memory:
                context.set_device_memory(memory, size)
            for name, address in addresses.items():
                if not context.set_tensor_address(name, address):
                    raise self._refusal()
            del context
            stack.callback(self.keep_kernels)
            yield held[0]

    def keep_kernels(self) -> None:
        """Write what was compiled since the last time."""
        if self._kernels:
            self._kernels.keep()

    def close(self) -> None:
        """Free what must be freed before the engine."""
        del self._engine, self._config, self._kernels

    def _refusal(self) -> EdgeError:
        return EdgeError(
            f"{self._title} has no execution context for one more frame in flight "
            f"({self._log.last_errors()}): write the engine again here with export-trt"
        )


class CompiledKernels:
    """What TensorRT-RTX compiles for this machine when a shape is first met, kept in a file."""

    def __init__(self, config: Any, path: Path | None, title: str) -> None:
        self._path = path
        self._cache = config.create_runtime_cache()
        self._kept = read_cache(path) if path else b""
        if path and self._kept and not self._cache.deserialize(self._kept):
            warn_ignored(path, title)
        config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Write the file, unless it holds all there is."""
        if self._path:
            content = bytes(self._cache.serialize())
            if content != self._kept:
                # Once: where it cannot be written now, it cannot for the next frame either.
                self._kept = content
                write_cache(self._path, content)


def is_capturable(context: Any, stream: Stream) -> bool:
    """Whether a CUDA graph may be captured of the context's work; if unknown, it is tried."""
    ask = getattr(context, "is_stream_capturable", None)
    return ask is None or bool(ask(stream.handle))
