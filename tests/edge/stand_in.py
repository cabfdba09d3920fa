"""A TensorRT whose networks run in ONNX Runtime, on the CUDA driver of driver.c.

It has as much of the module `tensorrt` as `edge.engines.tensorrt` uses. A plan is JSON: the .onnx
that it computes, its tile and its batches.
"""

import ctypes
import json
import time
from collections.abc import Iterator
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


def plan(onnx: Path, tile_hw: tuple[int, int], batch: tuple[int, int, int]) -> bytes:
    return json.dumps({"onnx": str(onnx), "tile_hw": tile_hw, "batch": batch}).encode()


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
            return Engine(**json.loads(blob))
        except ValueError:
            self._log.log(ILogger.ERROR, "magic tag does not match")
            return None


class Engine:
    num_io_tensors = 2

    def __init__(self, onnx: str, tile_hw: list[int], batch: list[int]) -> None:
        self._network = OnnxEngine(Path(onnx))
        self._path = Path(onnx)
        self._tile_hw, self._batch = tile_hw, batch

    def get_tensor_name(self, index: int) -> str:
        return (INPUT, OUTPUT)[index]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8

    def get_tensor_profile_shape(self, name: str, profile: int) -> Iterator[list[int]]:
        return ([count, *self._tile_hw, 3] for count in self._batch)

    def create_engine_inspector(self) -> "Inspector":
        return Inspector()

    def create_execution_context(self) -> "Context":
        return Context(self._network, self._path)


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

    def __init__(self, network: OnnxEngine, onnx: Path) -> None:
        self._network, self._onnx = network, onnx
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        # The driver calls it when the stream comes to it, in a capture as often as it is launched.
        self._function = _HOST_FUNCTION(lambda _: self._compute())

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        driver = ctypes.CDLL("libcuda.so.1")
        start = time.perf_counter()
        failed = driver.cuLaunchHostFunc(ctypes.c_void_p(stream), self._function, None)
        if self.profiler:
            driver.cuStreamSynchronize(ctypes.c_void_p(stream))
            milliseconds = (time.perf_counter() - start) * 1e3
            names = layer_names(self._onnx)
            for name in names:
                self.profiler.report_layer_time(name, milliseconds / len(names))
        return not failed

    def _compute(self) -> None:
        count, height, width, _ = self._shape
        tiles = self._at(INPUT, self._shape)
        self._at(OUTPUT, (count, 1, height, width))[:] = self._network.run(tiles)

    def _at(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        memory = (ctypes.c_uint8 * int(np.prod(shape))).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).reshape(shape)
