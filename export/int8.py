"""INT8 in the graph itself, as pairs of QuantizeLinear and DequantizeLinear (Q/DQ).

Inputs of convolutions are quantised with one symmetric scale a tensor, weights with one a channel;
nothing stands between a convolution and its ReLU, and what stays float is float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.fp16 import fp16
from export.graph import conv_name, producers_of, weights_of

# The first opset whose Q/DQ take float16.
OPSET = 19
# Tensor cores work on 16 channels at a time; narrower convolutions may not be worth the rounding.
NARROW = 16
LARGEST = 127
# Of a dead tensor: TensorRT wants scales above zero, and this is one in float16.
SMALLEST_SCALE = 2.0**-20


@dataclass(frozen=True)
class Placement:
    """Which convolutions compute in INT8.

    Attributes:
        concats: those that read a concatenation, whose inputs then share its scale.
        additions: what is added to a convolution's output is quantised too, so that TensorRT can
            add inside the convolution.
        narrow: those with fewer than `NARROW` channels in or out.
        floats: names of others that stay in FP16.
    """

    concats: bool = True
    additions: bool = True
    narrow: bool = True
    floats: frozenset[str] = frozenset()

    def __str__(self) -> str:
        parts = (
            f"concatenations {'INT8' if self.concats else 'FP16'}",
            f"shortcuts {'INT8' if self.additions else 'FP16'}",
            f"narrow convolutions {'INT8' if self.narrow else 'FP16'}",
        )
        return ", ".join(parts)


def activations(model: onnx.ModelProto) -> list[str]:
    """Tensors of a float graph that some placement quantises: their ranges must be known."""
    convs = _chosen(model, Placement())
    names = [node.input[0] for node in convs]
    names += [node.input[place] for node, place in _shortcuts(model, convs)]
    return list(dict.fromkeys(names))


def int8(
    model: onnx.ModelProto, ranges: Mapping[str, float], placement: Placement
) -> onnx.ModelProto:
    """`model` (float32) with Q/DQ where `placement` says, the rest in float16.

    Args:
        ranges: largest magnitude to represent of each tensor of `activations`.
    """
    quantised = onnx.ModelProto()
    quantised.CopyFrom(model)
    quantised.opset_import[0].version = max(OPSET, quantised.opset_import[0].version)
    graph = quantised.graph
    weights = weights_of(quantised)
    graph.initializer.append(_constant("zero", np.int8(0)))
    inserted: dict[str, list[onnx.NodeProto]] = {}

    # Tensors and scales that stay float32 when the rest becomes float16.
    singles: set[str] = set()

    def dequantised(tensor: str, largest: float, reader: str, *, single: bool = False) -> str:
        """The tensor behind a Q/DQ pair for `reader`, made where it is not there yet."""
        name = f"{tensor}.{reader}"
        if name not in inserted:
            values, scale = f"{name}.single", f"{name}.single_scale"
            scale_back = scale if single else f"{name}.scale"
            singles.update((values, scale))
            for constant in dict.fromkeys((scale, scale_back)):
                graph.initializer.append(_constant(constant, _scale(largest)))
            # Many ONNX Runtimes truncate where they quantise float16 (onnxruntime#32452).
            cast = helper.make_node("Cast", [tensor], [values], values, to=TensorProto.FLOAT)
            steps = f"{name}.steps"
            quantise = helper.make_node("QuantizeLinear", [values, scale, "zero"], [steps], steps)
            back = helper.make_node("DequantizeLinear", [steps, scale_back, "zero"], [name], name)
            inserted[name] = [cast, quantise, back]
        return name

    convs = _chosen(quantised, placement)
    shortcuts = _shortcuts(quantised, convs) if placement.additions else []
    for concat in _int8_concats(quantised, convs):
        # ONNX Runtime concatenates INT8 only between scales in float32.
        concat.input[:] = [
            dequantised(name, ranges[concat.output[0]], concat.output[0], single=True)
            for name in concat.input
        ]
    for node in convs:
        tensor, weight = node.input[:2]
        node.input[0] = dequantised(tensor, ranges[tensor], "int8")
        inserted[f"{weight}.float"] = [_quantise_weight(weights[weight], graph)]
        node.input[1] = f"{weight}.float"
    for node, place in shortcuts:
        node.input[place] = dequantised(node.input[place], ranges[node.input[place]], "int8")
    _sort_in(graph, inserted)
    return fp16(quantised, keep=singles)


def _chosen(model: onnx.ModelProto, placement: Placement) -> list[onnx.NodeProto]:
    """The convolutions of a float graph that compute in INT8."""
    producers, weights = producers_of(model), weights_of(model)

    def chosen(node: onnx.NodeProto) -> bool:
        cout, cin, *_ = weights[node.input[1]].dims
        return (
            conv_name(node.input[1]) not in placement.floats
            and (placement.narrow or min(cin, cout) >= NARROW)
            and (placement.concats or producers[node.input[0]].op_type != "Concat")
        )

    return [node for node in model.graph.node if node.op_type == "Conv" and chosen(node)]


def _int8_concats(model: onnx.ModelProto, convs: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The concatenations that nothing but `convs` reads."""
    in_int8 = {node.output[0] for node in convs}
    others = [node for node in model.graph.node if node.output[0] not in in_int8]
    read, read_by_others = (
        {name for node in nodes for name in node.input} for nodes in (convs, others)
    )
    return [
        node
        for node in model.graph.node
        if node.op_type == "Concat" and node.output[0] in read - read_by_others
    ]


def _shortcuts(
    model: onnx.ModelProto, convs: list[onnx.NodeProto]
) -> list[tuple[onnx.NodeProto, int]]:
    """Additions to the output of one of `convs`, and which of their inputs the other one is."""
    weights, outputs = weights_of(model), {node.output[0] for node in convs}
    found = []
    for node in model.graph.node:
        if node.op_type == "Add" and not any(name in weights for name in node.input):
            place = 0 if node.input[1] in outputs else 1
            if node.input[1 - place] in outputs:
                found.append((node, place))
    return found


def _quantise_weight(weight: onnx.TensorProto, graph: onnx.GraphProto) -> onnx.NodeProto:
    """Put int8 values in place of a weight; returns the node that gives it back as float."""
    values = numpy_helper.to_array(weight)
    scales = _scale(np.abs(values).max(axis=(1, 2, 3)))
    steps = np.rint(values / scales[:, None, None, None]).clip(-LARGEST, LARGEST)
    name = weight.name
    weight.CopyFrom(numpy_helper.from_array(steps.astype(np.int8), name))
    graph.initializer.append(_constant(f"{name}.scale", scales))
    graph.initializer.append(_constant(f"{name}.zero", np.zeros(len(scales), np.int8)))
    return helper.make_node(
        "DequantizeLinear",
        [name, f"{name}.scale", f"{name}.zero"],
        [f"{name}.float"],
        f"{name}.float",
        axis=0,
    )


def _scale(largest: float | NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale of values up to `largest`; a float16 already, so that its rounding is no error."""
    scale = np.maximum(np.asarray(largest) / LARGEST, SMALLEST_SCALE)
    return scale.astype(np.float16).astype(np.float32)


def _constant(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values), name)


def _sort_in(graph: onnx.GraphProto, inserted: dict[str, list[onnx.NodeProto]]) -> None:
    """Put each inserted pair before the first node that reads it."""
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        for name in node.input:
            graph.node.extend(inserted.pop(name, ()))
        graph.node.append(node)
