"""Convolutions of an enlarged map, computed before it is enlarged.

A decoder concatenates a skip connection with a map that nearest-neighbour upsampling has doubled,
and convolves both. A convolution of a concatenation is the sum of two. That of the doubled map
repeats itself: a 1x1 kernel commutes with the upsampling, and a 3x3 kernel sees only 2x2 different
pixels, by a kernel of its own for each of the four places in a doubled pixel. So it is computed at
half the size, and nothing is concatenated. The function is the same but for rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.graph import producers_of, weights_of

FACTOR = 2
# Output channels up to which the four kernels, within 3x3 ones, cost less than the one: runtimes
# compute 16 channels at a time, also where there are fewer.
MAX_CHANNELS = 16


def at_low_resolution(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` (float32) as the same function with such convolutions at half the size, where all
    that reads a concatenation are convolutions that gain by it."""
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(model)
    producers, weights = producers_of(rewritten), weights_of(rewritten)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in rewritten.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    split: dict[str, tuple[str, onnx.NodeProto]] = {}
    for node in rewritten.graph.node:
        if node.op_type != "Concat" or len(node.input) != 2:
            continue
        skip, enlarged = node.input
        resize = producers.get(enlarged)
        if _doubles(resize, weights) and all(_gains(n, weights) for n in readers[node.output[0]]):
            assert resize
            split[node.output[0]] = skip, resize
    if not split:
        return model
    channels = _channels(rewritten, [skip for skip, _ in split.values()])
    nodes = []
    for node in rewritten.graph.node:
        if node.op_type == "Conv" and node.input[0] in split:
            nodes += _parts(node, *split[node.input[0]], channels, rewritten.graph)
        else:
            nodes.append(node)
    _replace(rewritten.graph, nodes)
    return rewritten


def _channels(model: onnx.ModelProto, tensors: list[str]) -> dict[str, int]:
    """Number of channels of each tensor."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        item.name: item.type.tensor_type.shape.dim[1].dim_value
        for item in (*graph.input, *graph.value_info)
        if item.name in tensors
    }


def _doubles(node: onnx.NodeProto | None, weights: dict[str, onnx.TensorProto]) -> bool:
    """Whether it is nearest-neighbour upsampling to twice the height and width."""
    if node is None or node.op_type != "Resize" or node.input[2] not in weights:
        return False
    attributes = _attributes(node)
    scales = numpy_helper.to_array(weights[node.input[2]]).tolist()
    return (
        scales == [1, 1, FACTOR, FACTOR]
        and attributes.get("mode") == b"nearest"
        and attributes.get("coordinate_transformation_mode") == b"asymmetric"
        and attributes.get("nearest_mode") == b"floor"
    )


def _gains(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> bool:
    """Whether it is a convolution with a 1x1 or narrow 3x3 kernel that keeps the size."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    attributes = _attributes(node)
    channels, _, *kernel = weights[node.input[1]].dims
    plain = bool(
        attributes.get("group", 1) == 1
        and attributes.get("strides", [1, 1]) == [1, 1]
        and attributes.get("dilations", [1, 1]) == [1, 1]
    )
    pads = attributes.get("pads", [0] * 4)
    narrow = kernel == [3, 3] and pads == [1] * 4 and channels <= MAX_CHANNELS
    return plain and (narrow or (kernel == [1, 1] and pads == [0] * 4))


def _parts(
    conv: onnx.NodeProto,
    skip: str,
    resize: onnx.NodeProto,
    channels: dict[str, int],
    graph: onnx.GraphProto,
) -> list[onnx.NodeProto]:
    """The sum of both convolutions, in place of the one of the concatenation."""
    (weight,) = [numpy_helper.to_array(w) for w in graph.initializer if w.name == conv.input[1]]
    # As `conv_name` wants them: "a.skip.weight" of "a.weight".
    stem = conv.input[1].removesuffix(".weight")
    of_skip, of_low = f"{stem}.skip.weight", f"{stem}.low.weight"
    name, out = conv.name, conv.output[0]
    low, enlarged, beside = f"{out}_low", f"{out}_enlarged", f"{out}_skip"
    kernels = weight[:, channels[skip] :]
    narrow = kernels.shape[2] == 3
    for key, values in (
        (of_skip, weight[:, : channels[skip]]),
        (of_low, _four_kernels(kernels) if narrow else kernels),
    ):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), key))
    options = _attributes(conv)
    enlarge = (
        helper.make_node(
            "DepthToSpace", [low], [enlarged], f"{name}_enlarged", blocksize=FACTOR, mode="CRD"
        )
        if narrow
        else helper.make_node(
            "Resize", [low, *resize.input[1:]], [enlarged], f"{name}_enlarged",
            **_attributes(resize),
        )
    )  # fmt: skip
    return [
        helper.make_node("Conv", [resize.input[0], of_low], [low], f"{name}_low", **options),
        enlarge,
        helper.make_node(
            "Conv", [skip, of_skip, *conv.input[2:]], [beside], f"{name}_skip", **options
        ),
        helper.make_node("Add", [beside, enlarged], [out], f"{name}_sum"),
    ]


def _four_kernels(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a kernel (O,C,3,3) of a doubled map, those (4O,C,3,3) of the map itself, as DepthToSpace
    sorts them: by output channel, then by row and column in a doubled pixel."""
    channels, inputs = kernel.shape[:2]
    found = np.zeros((channels, FACTOR, FACTOR, inputs, 3, 3), kernel.dtype)
    for row, column, y, x in np.ndindex(FACTOR, FACTOR, 3, 3):
        # The pixel before the first of a doubled one is the last of the one before.
        at = (row + y - 1) // FACTOR + 1, (column + x - 1) // FACTOR + 1
        found[:, row, column, :, at[0], at[1]] += kernel[:, :, y, x]
    return found.reshape(-1, inputs, 3, 3)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Make the graph of `nodes`, without those that nothing reads, and their constants."""
    needed = {item.name for item in graph.output}
    kept = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    constants = [item for item in graph.initializer if item.name in needed]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}
