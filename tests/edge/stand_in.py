"""A TensorRT whose networks run in ONNX Runtime, on the CUDA driver of driver.c.

It has as much of the modules `tensorrt` and `tensorrt_rtx` as `edge.engines` uses, and refuses what
they refuse. A plan is JSON: the .onnx that it computes, its tile, its batches, and how it behaves.

Like TensorRT-RTX it compiles kernels for a shape when it meets it. Unless told to do so at once
(EAGER), it runs fallback kernels in the first two batches of a context meanwhile; a graph keeps
those that were captured.
"""

import ctypes
import json
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from onnx import load

from edge.engines.engine import INPUT, OUTPUT
from edge.engines.onnx import OnnxEngine

__version__ = "1.0"
_HOST_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class DataType(Enum):
    UINT8, FLOAT = range(2)


class DynamicShapesKernelSpecializationStrategy(Enum):
    LAZY, EAGER, NONE = range(3)


class ExecutionContextAllocationStrategy(Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class BuilderFlag(Enum):
    REQUIRE_USER_ALLOCATION = 0


# Shapes that were compiled, and the kernels of each batch that ran: "fallback" or "specialised".
compiled: list[tuple[int, ...]] = []
kernels_run: list[str] = []


def plan(
    onnx: Path,
    tile_hw: tuple[int, int],
    batch: tuple[int, int, int],
    *,
    profiles: int = 1,
    shared: bool = True,
    allocates: bool = False,
) -> bytes:
    """A serialized engine.

    Args:
        profiles: optimisation profiles, of the same shapes.
        shared: whether several contexts may use one of them, as from TensorRT 10 on, or earlier
            with `PreviewFeature.PROFILE_SHARING_0806`.
        allocates: whether each batch allocates memory, which no capture allows.
    """
    return json.dumps(
        {
            "onnx": str(onnx),
            "tile_hw": tile_hw,
            "batch": batch,
            "profiles": profiles,
            "shared": shared,
            "allocates": allocates,
        }
    ).encode()


class IProfiler:
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class LayerInformationFormat(Enum):
    ONELINE, JSON = range(2)


class Runtime:
    def __init__(self, log: Any) -> None:
        self._log = log

    def deserialize_cuda_engine(self, blob: bytes) -> "Engine | None":
        try:
            return Engine(self._log, **json.loads(blob))
        except ValueError:
            self._log.log(ILogger.ERROR, "magic tag does not match")
            return None


class Engine:
    num_io_tensors = 2
    device_memory_size_v2 = 64

    def __init__(
        self,
        log: Any,
        onnx: str,
        tile_hw: list[int],
        batch: list[int],
        profiles: int,
        shared: bool,
        allocates: bool,
    ) -> None:
        self.log, self.shared, self.allocates = log, shared, allocates
        self.network, self.onnx = OnnxEngine(Path(onnx)), Path(onnx)
        self.num_optimization_profiles = profiles
        # By profile, the contexts that use it.
        self.users = [0] * profiles
        self._tile_hw, self._batch = tile_hw, batch

    def get_tensor_name(self, index: int) -> str:
        return (INPUT, OUTPUT)[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8

    def get_tensor_profile_shape(self, name: str, profile: int) -> Iterator[list[int]]:
        return ([count, *self._tile_hw, 3] for count in self._batch)

    def create_engine_inspector(self) -> "Inspector":
        return Inspector()

    def create_runtime_config(self) -> "RuntimeConfig":
        return RuntimeConfig()

    def create_execution_context(self, config: "RuntimeConfig | None" = None) -> "Context":
        return Context(self, config or RuntimeConfig())

    def use_profile(self, index: int) -> bool:
        if self.users[index] and not self.shared:
            self.log.log(
                ILogger.ERROR,
                f"Profile {index} has been chosen by another IExecutionContext. Use another "
                f"profileIndex or destroy the IExecutionContext that use this profile.",
            )
            return False
        self.users[index] += 1
        return True


class RuntimeConfig:
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def __init__(self) -> None:
        self.cache = IRuntimeCache()
        self.strategy = ExecutionContextAllocationStrategy.STATIC

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> "IRuntimeCache":
        return IRuntimeCache()

    def set_runtime_cache(self, cache: "IRuntimeCache") -> bool:
        self.cache = cache
        return True


class IRuntimeCache:
    """The shapes whose kernels are compiled."""

    def __init__(self) -> None:
        self.shapes: set[tuple[int, ...]] = set()

    def serialize(self) -> bytes:
        return json.dumps([__version__, sorted(self.shapes)]).encode()

    def deserialize(self, blob: bytes) -> bool:
        context = ctypes.c_void_p()
        ctypes.CDLL("libcuda.so.1").cuCtxGetCurrent(ctypes.byref(context))
        assert context.value, "no CUDA context is current"
        try:
            version, shapes = json.loads(blob)
        except ValueError:
            return False
        if version == __version__:
            self.shapes = {tuple(shape) for shape in shapes}
        return bool(version == __version__)


class Inspector:
    def get_engine_information(self, form: LayerInformationFormat) -> str:
        return json.dumps({"Layers": ["conv"] * 22})


def layer_names(onnx: Path) -> list[str]:
    """Layers as TensorRT names them: fused, through Myelin, inserted, and none of the graph's."""
    nodes = list(load(onnx).graph.node)
    relus = {node.input[0]: node for node in nodes if node.op_type == "Relu"}
    first = next(node for node in nodes if node.op_type == "Conv")
    names = [f"Reformatting CopyNode for Input Tensor 0 to {first.name}"]
    for node in nodes:
        relu = relus.get(node.output[0])
        if node.op_type == "Conv":
            names.append(f"{node.name} + {relu.name}" if relu else node.name)
        elif node.op_type != "Relu":
            names.append(f"{node.name}_myl0_{len(names)}")
    return [*names, f"__myl_MulRound_myl0_{len(names)}"]


class Context:
    # A profiled run is waited for, and reports the same time of each layer.
    profiler: IProfiler | None = None

    def __init__(self, engine: Engine, config: RuntimeConfig) -> None:
        self._engine, self._cache = engine, config.cache
        strategies = DynamicShapesKernelSpecializationStrategy
        self._eager = config.dynamic_shapes_kernel_specialization_strategy is strategies.EAGER
        # What memory is missing, bytes.
        managed = config.strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        self._missing = engine.device_memory_size_v2 if managed else 0
        self._batches = 0
        self._tensors = Tensors(engine.network)
        self.active_optimization_profile = 0 if engine.use_profile(0) else -1

    def __del__(self) -> None:
        if self.active_optimization_profile >= 0:
            self._engine.users[self.active_optimization_profile] -= 1

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        if index != self.active_optimization_profile:
            if not self._engine.use_profile(index):
                return False
            if self.active_optimization_profile >= 0:
                self._engine.users[self.active_optimization_profile] -= 1
            self.active_optimization_profile = index
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.active_optimization_profile < 0:
            self._engine.log.log(ILogger.ERROR, "Parameter check failed, condition: profile >= 0")
            return False
        self._tensors.shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._tensors.addresses[name] = address
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0
        self._missing -= size

    def is_stream_capturable(self, stream: int) -> bool:
        return not self._engine.allocates

    def execute_async_v3(self, stream: int) -> bool:
        driver = ctypes.CDLL("libcuda.so.1")
        start = time.perf_counter()
        if self.active_optimization_profile < 0 or self._missing > 0:
            return False
        if self._engine.allocates:
            memory = ctypes.c_void_p()
            if driver.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1)):
                return False
            driver.cuMemFree_v2(memory)
        function = self._tensors.fallback
        if self._eager or self._batches >= 2 or self._tensors.shape in self._cache.shapes:
            self._compile()
            function = self._tensors.specialised
        self._batches += 1
        failed = driver.cuLaunchHostFunc(ctypes.c_void_p(stream), function, None)
        if self.profiler:
            driver.cuStreamSynchronize(ctypes.c_void_p(stream))
            milliseconds = (time.perf_counter() - start) * 1e3
            names = layer_names(self._engine.onnx)
            for name in names:
                self.profiler.report_layer_time(name, milliseconds / len(names))
        return not failed

    def _compile(self) -> None:
        if self._tensors.shape not in self._cache.shapes:
            compiled.append(self._tensors.shape)
            self._cache.shapes.add(self._tensors.shape)


class Tensors:
    """The memory of a context, and the kernels that work on it."""

    def __init__(self, network: OnnxEngine) -> None:
        self._network = network
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        # The driver calls one when the stream comes to it, in a capture as often as it is launched.
        self.fallback, self.specialised = self._kernel("fallback"), self._kernel("specialised")

    def _kernel(self, name: str) -> Callable[[int], None]:
        def compute(_: int) -> None:
            kernels_run.append(name)
            count, height, width, _channels = self.shape
            tiles = self._at(INPUT, self.shape)
            self._at(OUTPUT, (count, 1, height, width))[:] = self._network.run(tiles)

        return _HOST_FUNCTION(compute)

    def _at(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        memory = (ctypes.c_uint8 * int(np.prod(shape))).from_address(self.addresses[name])
        return np.ctypeslib.as_array(memory).reshape(shape)
