"""A checkpoint as an ONNX graph that keeps the engine contract.

Input `image` uint8 (N,H,W,3) RGB, output `probability` uint8 (N,1,H,W), 0..255; batch, height and
width are dynamic.
"""

from __future__ import annotations

import hashlib
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn

from edge.engines.engine import INPUT, OUTPUT, EngineInfo
from train.checkpoint import Checkpoint, probability

OPSET = 18


class EngineGraph(nn.Module):
    """The network between uint8 tiles and uint8 probabilities."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.module()
        self.prior = checkpoint.prior
        normalisation = checkpoint.normalisation
        mean, std = torch.tensor(normalisation.mean), torch.tensor(normalisation.std)
        # (x - mean) / std as one multiplication and one addition.
        self.register_buffer("scale", (1 / std).view(1, 3, 1, 1))
        self.register_buffer("shift", (-mean / std).view(1, 3, 1, 1))
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, image: Tensor) -> Tensor:
        # Cast before transposing: TensorRT's parser does not transpose uint8.
        x = image.to(torch.float32).permute(0, 3, 1, 2)
        logits = self.network(x * self.scale + self.shift)
        return probability(logits, self.prior)


def to_onnx(checkpoint: Checkpoint) -> onnx.ModelProto:
    """The ONNX model of `checkpoint`, with its `EngineInfo` as metadata."""
    spec = checkpoint.spec
    multiple = spec.multiple
    # Two of everything, so that the exporter does not take a size of one for a constant.
    example = torch.zeros(2, 4 * multiple, 6 * multiple, 3, dtype=torch.uint8)
    sizes = {0: torch.export.Dim("batch")}
    sizes |= {
        axis: multiple * torch.export.Dim(f"{name}_over_{multiple}", min=2)
        for axis, name in ((1, "height"), (2, "width"))
    }
    with warnings.catch_warnings():
        # The exporter's notes on its own internals.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            EngineGraph(checkpoint).eval(),
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamic_shapes=({**sizes},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    info = EngineInfo(
        model=spec.key,
        halo=spec.receptive_field_radius(),
        multiple=multiple,
        threshold=checkpoint.threshold,
        mean=checkpoint.normalisation.mean,
        std=checkpoint.normalisation.std,
        training=checkpoint.training,
        content_hash=content_hash(model),
    )
    onnx.helper.set_model_props(model, info.metadata())
    onnx.checker.check_model(model, full_check=True)
    return model


def content_hash(model: onnx.ModelProto) -> str:
    """SHA-256 of the graph and its weights, without the model's metadata."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes (source lines, stack traces), which differ by machine."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.initializer, *graph.value_info):
        item.doc_string = ""
        del item.metadata_props[:]
