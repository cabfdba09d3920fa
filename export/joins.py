"""Convolutions that read the same tensor as one: exact, and worth it where launches cost most."""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge.errors import ToolError
from export.graph import TOLERANCE, Probe, probability_tensor, weights_of

REPEATS = 5
# Timings of one run are no better than this; a smaller gain is none.
WORTHWHILE = 0.97


def faster(
    model: onnx.ModelProto, image: NDArray[np.uint8]
) -> tuple[onnx.ModelProto, float | None]:
    """`model` or its joined twin, whichever ONNX Runtime runs faster on `image` uint8 (H,W,3).

    Returns:
        The graph, and the joined one's time over the other's (medians, runs in turn); None where
        there is nothing to join.

    Raises:
        ToolError: the two differ before rounding, which is a defect of `joined`.
    """
    twin = joined(model)
    if twin is None:
        return model, None
    name, tiles = probability_tensor(model), image[None]
    probes = [Probe(graph, [name]) for graph in (model, twin)]
    apart, together = (probe.run(tiles)[name] for probe in probes)
    difference = float(np.abs(apart - together).max())
    if difference > TOLERANCE:
        raise ToolError(f"joined convolutions change probabilities by {difference:.1e}: a defect")
    seconds: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        for times, probe in zip(seconds, probes, strict=True):
            start = time.perf_counter()
            probe.run(tiles)
            times.append(time.perf_counter() - start)
    ratio = float(np.median(seconds[1]) / np.median(seconds[0]))
    return (twin if ratio < WORTHWHILE else model), ratio


def joined(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """`model` with every group of convolutions of one tensor joined and split again behind.

    Smaller kernels are padded with zeros to the largest of their group: a residual unit's 1x1 and
    3x3 become one, and a MultiRes block's shortcut and its first convolution (Eqs. 10-16).

    Returns:
        The new graph, or None where no two convolutions read the same tensor.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, weights = copy.graph, weights_of(copy)
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        if node.op_type == "Conv":
            readers[node.input[0]].append(node)
    groups = {nodes[0].output[0]: nodes for nodes in readers.values() if len(nodes) > 1}
    if not groups:
        return None
    replaced = {node.output[0] for nodes in groups.values() for node in nodes}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.output[0] in groups:
            graph.node.extend(_join(groups[node.output[0]], graph, weights))
        elif node.output[0] not in replaced:
            graph.node.append(node)
    return copy


def _join(
    group: list[onnx.NodeProto], graph: onnx.GraphProto, weights: dict[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """One convolution and the Split behind it, in place of `group`."""
    kernels = [numpy_helper.to_array(weights[node.input[1]]) for node in group]
    biases = [numpy_helper.to_array(weights[node.input[2]]) for node in group]
    side = max(kernel.shape[-1] for kernel in kernels)
    name = group[0].input[1].removesuffix(".weight") + ".joined"
    for node in group:
        for weight in node.input[1:]:
            graph.initializer.remove(weights[weight])
    graph.initializer.extend(
        (
            numpy_helper.from_array(
                np.concatenate([_padded(kernel, side) for kernel in kernels]), f"{name}.weight"
            ),
            numpy_helper.from_array(np.concatenate(biases), f"{name}.bias"),
            numpy_helper.from_array(
                np.array([len(bias) for bias in biases], np.int64), f"{name}.widths"
            ),
        )
    )
    return [
        helper.make_node(
            "Conv",
            [group[0].input[0], f"{name}.weight", f"{name}.bias"],
            [name],
            name,
            kernel_shape=[side, side],
            pads=[side // 2] * 4,
        ),
        helper.make_node(
            "Split",
            [name, f"{name}.widths"],
            [node.output[0] for node in group],
            f"{name}.split",
            axis=1,
        ),
    ]


def _padded(kernel: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    border = (side - kernel.shape[-1]) // 2
    return np.pad(kernel, ((0, 0), (0, 0), (border, border), (border, border)))
