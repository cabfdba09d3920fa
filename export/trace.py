"""A checkpoint as an ONNX graph that keeps the engine contract.

Input `image` uint8 (N,H,W,3) RGB, output `probability` uint8 (N,1,H,W), 0..255; batch, height and
width are dynamic.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.engines.engine import INPUT, OUTPUT, EngineInfo
from edge.errors import EdgeError
from export.graph import ActivationHook, content_hash, probability_tensor
from export.low_resolution import at_low_resolution
from export.verify import max_abs_difference
from train.checkpoint import Checkpoint, prior_corrected_probability, probability
from train.data.synth import scene

OPSET = 18
# Probabilities, 0..1, of the graph and of torch may differ by this before rounding.
TOLERANCE = 1e-4
# (tiles, height, width) that are compared with torch.
SHAPES = ((1, 96, 160), (3, 64, 64))


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

    @torch.inference_mode()
    def run(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """As `edge.engines.engine.Engine.run`."""
        found: NDArray[np.uint8] = self(torch.from_numpy(tiles)).numpy()
        return found

    def logits(self, image: Tensor) -> Tensor:
        # Cast before transposing: TensorRT's parser does not transpose uint8.
        x = image.to(torch.float32).permute(0, 3, 1, 2)
        logits: Tensor = self.network(x * self.scale + self.shift)
        return logits

    def forward(self, image: Tensor) -> Tensor:
        return probability(self.logits(image), self.prior)


def to_onnx(checkpoint: Checkpoint) -> tuple[onnx.ModelProto, EngineInfo]:
    """The float32 ONNX graph of `checkpoint`, with its `EngineInfo`, which is also its metadata."""
    multiple = checkpoint.spec.multiple
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
    model = at_low_resolution(model)
    info = info_of(checkpoint, content_hash(model))
    onnx.helper.set_model_props(model, info.metadata())
    onnx.checker.check_model(model, full_check=True)
    return model, info


def info_of(checkpoint: Checkpoint, hash_: str) -> EngineInfo:
    """What an engine of `checkpoint` says about itself, with that content hash."""
    spec, normalisation = checkpoint.spec, checkpoint.normalisation
    return EngineInfo(
        model=spec.key,
        halo=spec.receptive_field_radius(),
        multiple=spec.multiple,
        threshold=checkpoint.threshold,
        mean=normalisation.mean,
        std=normalisation.std,
        training=checkpoint.training,
        content_hash=hash_,
        min_diameter_px=checkpoint.min_diameter_px,
    )


def check_trace(model: onnx.ModelProto, checkpoint: Checkpoint) -> None:
    """Compare `to_onnx`'s graph with torch on rendered scenes of several shapes.

    Raises:
        EdgeError: a probability differs by more than `TOLERANCE` before rounding.
    """
    reference = EngineGraph(checkpoint).eval()
    name = probability_tensor(model)
    hook = ActivationHook(model, [name])
    rng = np.random.default_rng(0)
    for count, height, width in SHAPES:
        tiles = np.stack([scene(rng, height, width, particles=20).image for _ in range(count)])
        with torch.inference_mode():
            logits = reference.logits(torch.from_numpy(tiles))
            expected = prior_corrected_probability(logits, checkpoint.prior).numpy()
        difference = max_abs_difference(hook.run(tiles)[name], expected)
        if not difference <= TOLERANCE:  # a NaN is no agreement
            raise EdgeError(
                f"the exported graph differs from torch by {difference:.1e} in a probability "
                f"(at most {TOLERANCE} allowed): nothing was written"
            )


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes (source lines, stack traces), which differ by machine."""
    graph = model.graph
    for item in (graph, *graph.node, *graph.initializer, *graph.value_info):
        item.doc_string = ""
        del item.metadata_props[:]
