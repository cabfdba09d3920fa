"""Facts about an ONNX graph of ours: where it came from, its precision, its convolutions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from edge.engines import shipped
from edge.engines.engine import INPUT, EngineInfo
from edge.errors import BadArgumentError, EdgeError

PRECISIONS = ("fp32", "fp16", "int8")
# Side of the image that shapes are worked out for, px: a multiple of every network's pooling.
SIDE = 64


@dataclass(frozen=True)
class ConvNode:
    """One convolution: `pixels` is the fraction of the image's pixels that it computes."""

    name: str
    kernel: int
    cin: int
    cout: int
    pixels: float
    int8: bool

    @property
    def flops_per_pixel(self) -> float:
        """Floating point operations for one pixel of the image, by the rule of Table 4."""
        return (2 * self.kernel**2 * self.cin + 1) * self.cout * self.pixels


def check_is_file(path: Path) -> None:
    """Raises BadArgumentError where there is no file to read a network from."""
    if not path.is_file():
        raise BadArgumentError(
            f"{path}: no such file; give a .pt of 'train fit', an .onnx of export-trt, or one of "
            f"{', '.join(shipped())}"
        )


def read_graph(path: Path) -> tuple[onnx.ModelProto, EngineInfo]:
    """An .onnx file that `export-trt` wrote.

    Raises:
        BadArgumentError: there is no such file.
        EdgeError: it is damaged or not ours.
    """
    check_is_file(path)
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError):
        raise EdgeError(
            f"{path}: not an ONNX model, or a damaged one; write it again with export-trt"
        ) from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return model, EngineInfo.from_metadata(metadata, str(path))


def content_hash(model: onnx.ModelProto) -> str:
    """SHA-256 of the graph and its weights, without the model's metadata."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def precision_of(model: onnx.ModelProto) -> str:
    """One of `PRECISIONS`."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    halves = (item.data_type == onnx.TensorProto.FLOAT16 for item in model.graph.initializer)
    return "fp16" if any(halves) else "fp32"


def weights_of(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """The graph's constant tensors by name."""
    return {item.name: item for item in model.graph.initializer}


def producers_of(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that writes each tensor."""
    return {name: node for node in model.graph.node for name in node.output}


def probability_tensor(model: onnx.ModelProto) -> str:
    """The tensor that holds the probability, 0..1, before it is rounded to uint8."""
    (name,) = [node.output[0] for node in model.graph.node if node.op_type == "Sigmoid"]
    return str(name)


def conv_name(weight: str) -> str:
    """The convolution with that weight, as `torch` names it within the network."""
    return weight.removeprefix("network.").removesuffix(".weight")


def conv_nodes(model: onnx.ModelProto) -> list[ConvNode]:
    """Every convolution, in the order of the graph."""
    producers, weights = producers_of(model), weights_of(model)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    # Asked of ONNX Runtime: shape inference does not see through SegNet's unpooling.
    hook = ActivationHook(model, [node.output[0] for node in nodes])
    outputs = hook.run(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    found = []
    for node in nodes:
        source = producers.get(node.input[1])
        int8 = source is not None and producers[node.input[0]].op_type == "DequantizeLinear"
        weight = source.input[0] if source else node.input[1]
        cout, cin, kernel, _ = weights[weight].dims
        height, width = outputs[node.output[0]].shape[2:]
        found.append(ConvNode(conv_name(weight), kernel, cin, cout, height * width / SIDE**2, int8))
    return found


def int8_fraction(convs: list[ConvNode]) -> float:
    """Fraction of the convolutions' FLOPs that is computed in INT8, 0..1."""
    in_int8 = sum(conv.flops_per_pixel for conv in convs if conv.int8)
    return in_int8 / sum(conv.flops_per_pixel for conv in convs)


class ActivationHook:
    """Reads inner tensors of a graph as ONNX Runtime runs it."""

    def __init__(self, model: onnx.ModelProto, tensors: Sequence[str]) -> None:
        hooked = onnx.ModelProto()
        hooked.CopyFrom(model)
        del hooked.graph.output[:]
        hooked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
        self._tensors = list(tensors)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # constants that it cannot fold are no news
        self._session = onnxruntime.InferenceSession(
            hooked.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, tiles: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Each tensor for `tiles` uint8 (N,H,W,3)."""
        values = self._session.run(self._tensors, {INPUT: tiles})
        return dict(zip(self._tensors, values, strict=True))
