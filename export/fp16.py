"""FP16 in the graph itself, so that every engine and every TensorRT computes in the same types."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SINGLE, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def fp16(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """`model` with every float32 tensor in float16; image and probability stay uint8.

    Args:
        keep: names of weights, and of what casts give, that stay float32.
    """
    converted = _with_weights(model, SINGLE, np.float16, keep)
    _cast_to(converted, SINGLE, HALF, keep)
    return converted


def fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, of `fp16`, with the same numbers in float32, which rounds no more."""
    converted = _with_weights(model, HALF, np.float32)
    _cast_to(converted, HALF, SINGLE)
    return converted


def emulate_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """FP16 emulation: a float32 graph that rounds to float16 wherever `model` does on a GPU.

    ONNX Runtime has no float16 convolutions for CPUs and leaves out the rounding between its
    float32 ones: an overflow would go unseen. It keeps the casts that are in the graph.
    """
    graph = fp32(model)
    nodes = list(graph.graph.node)
    del graph.graph.node[:]
    for node in nodes:
        graph.graph.node.append(node)
        if node.op_type not in ("Cast", "QuantizeLinear"):
            (name,) = node.output
            exact, half = f"{name}.exact", f"{name}.half"
            graph.graph.node[-1].output[0] = exact
            graph.graph.node.append(helper.make_node("Cast", [exact], [half], to=HALF))
            graph.graph.node.append(helper.make_node("Cast", [half], [name], to=SINGLE))
    return graph


def _with_weights(
    model: onnx.ModelProto,
    replaced: int,
    dtype: type[np.floating],
    keep: Collection[str] = (),
) -> onnx.ModelProto:
    """A copy whose weights of type `replaced` are of `dtype`, without the old tensor types."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    # By ONNX, the factors of a Resize are float32 whatever it resizes.
    factors = {node.input[2] for node in copy.graph.node if node.op_type == "Resize"}
    kept = factors.union(keep)
    for weight in copy.graph.initializer:
        if weight.data_type == replaced and weight.name not in kept:
            values = numpy_helper.to_array(weight).astype(dtype)
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return copy


def _cast_to(
    model: onnx.ModelProto, replaced: int, target: int, keep: Collection[str] = ()
) -> None:
    for node in model.graph.node:
        if node.op_type == "Cast" and node.output[0] not in keep:
            (attribute,) = node.attribute
            attribute.i = target if attribute.i == replaced else attribute.i
