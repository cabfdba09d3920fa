"""What the names that runtimes give to their layers say of the network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import onnx

from edge.engines.engine import INPUT
from export.graph import ConvNode, conv_nodes, producers_of

# Parts before the first convolution and behind the last.
IN, OUT = "in", "out"
# What ONNX Runtime and TensorRT put around the name of a node that they rewrite.
NCHWC, CAST = "_nchwc", "InsertedPrecisionFreeCast_"
MYELIN = re.compile(r"_myl\d+_\d+$")
REFORMAT = "Reformatting CopyNode"


def part_of(conv: str) -> str:
    """The part of the network that a convolution belongs to: "decoder.1.convs.0" is in "decoder 1".

    Only what has convolutions below its number is numbered: both of "bottom.0" and "bottom.1" are
    in "bottom".
    """
    stage, *rest = conv.split(".")
    return f"{stage} {rest[0]}" if len(rest) > 1 and rest[0].isdigit() else stage


class LayerNames:
    """The nodes of a graph of ours by the names of a runtime's layers.

    Attributes:
        convs: convolutions by the name of their node.
        parts: of the network, by the name of every node.
        order: all parts in the order of the network.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)
        found = [node for node in nodes if node.op_type == "Conv"]
        self._nodes = {node.name: node for node in nodes}
        self._producers = producers_of(model)
        self.convs = {node.name: conv for node, conv in zip(found, conv_nodes(model), strict=True)}
        self.parts = _parts(nodes, self.convs)
        self.order = list(
            dict.fromkeys((IN, *(part_of(conv.name) for conv in self.convs.values()), OUT))
        )

    def nodes(self, name: str, op: str) -> list[onnx.NodeProto]:
        """The nodes of the graph that a layer of the runtime computes, as far as its name tells.

        Args:
            op: the runtime's operator; empty where it tells none.
        """
        if name.startswith(REFORMAT):
            return []
        if name.endswith(NCHWC):
            # Named after the tensor behind all that was fused.
            tensor = name.removesuffix(NCHWC).removeprefix(CAST)
            node = self._conv_behind(tensor) if op == "Conv" else self._producers.get(tensor)
            return [node] if node else []
        words = re.findall(r"[\w./]+", MYELIN.sub("", name))
        return [self._nodes[word] for word in words if word in self._nodes]

    def _conv_behind(self, tensor: str) -> onnx.NodeProto | None:
        """The nearest convolution that `tensor` depends on."""
        level = [tensor]
        while level:
            nodes = [self._producers[name] for name in level if name in self._producers]
            for node in nodes:
                if node.op_type == "Conv":
                    return node
            level = [name for node in nodes for name in node.input]
        return None


def _parts(nodes: list[onnx.NodeProto], convs: Mapping[str, ConvNode]) -> dict[str, str]:
    """The part of every node by its name.

    It is that of what a node reads; where that is of several parts, as at a skip connection, or of
    none, as of weights, that of what reads it.
    """
    parts: dict[str, str] = {}
    of_tensor = {INPUT: {IN}}
    for node in nodes:
        read = set[str]().union(*(of_tensor.get(name, ()) for name in node.input))
        if node.name in convs:
            read = {part_of(convs[node.name].name)}
        elif len(read) > 1:
            read.discard(IN)  # the image's shape, which says nothing
        if len(read) == 1:
            (parts[node.name],) = read
        of_tensor |= dict.fromkeys(node.output, read)
    before_a_conv: dict[str, str] = {}
    for node in reversed(nodes):
        readers = [before_a_conv[name] for name in node.output if name in before_a_conv]
        if node.name not in convs:
            parts[node.name] = parts.get(node.name, readers[0]) if readers else OUT
        if node.name in convs or readers:
            before_a_conv |= dict.fromkeys(node.input, parts[node.name])
    return parts


def op_of(name: str, nodes: Sequence[onnx.NodeProto]) -> str:
    """What a layer of TensorRT is, which its profiler does not tell: by its name or its nodes."""
    if name.startswith(REFORMAT):
        return "Reformat"
    if nodes:
        ops = [node.op_type for node in nodes]
        return "Conv" if "Conv" in ops else ops[0]
    # Such as "__myl_CorrMulAddRelu_myl0_1".
    return MYELIN.sub("", name).removeprefix("__myl_") if MYELIN.search(name) else "other"
