"""A network of the model registry with its weights, and its graph in every precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch

from edge.engines import shipped
from edge.engines.engine import EngineInfo
from export.calibration import histograms
from export.fp16 import fp16
from export.graph import PRECISIONS, read_graph
from export.int8 import Placement, activations, int8
from export.trace import check_trace, to_onnx
from train.checkpoint import Checkpoint, Normalisation, open_checkpoint
from train.data.synth import scene
from train.models.registry import MODELS, build

# The networks of `--all-models`: groups share their rounds, so that drift hits variants alike.
GROUPS = (
    ("unet",),
    ("half_unet",),
    ("mrunet",),
    ("half_mrunet", "half_mrunet8", "half_mrunet_lite", "mrunet_lite"),
    ("quarter_mrunet", "quarter_mrunet8"),
)
ALL_MODELS = tuple(key for group in GROUPS for key in group)
FRAME_HW = (1440, 1440)
# Side of the rendered scene that calibrates, px: a multiple of every network's pooling.
SIDE = 128


@dataclass(frozen=True)
class BenchNetwork:
    """The shipped weights where there are some, or else random ones, which are no slower.

    Attributes:
        graphs: one in each of `PRECISIONS`; INT8 is calibrated on one rendered scene.
    """

    checkpoint: Checkpoint
    info: EngineInfo
    graphs: dict[str, onnx.ModelProto]


def open_network(key: str) -> BenchNetwork:
    """The network of that key.

    Raises:
        EdgeError: an export differs from torch.
    """
    if key in shipped():
        model, info = read_graph(shipped()[key])
        checkpoint = open_checkpoint(key)
    else:
        torch.manual_seed(0)
        spec = MODELS[key]
        normalisation = Normalisation((128.0,) * 3, (40.0,) * 3)
        checkpoint = Checkpoint(spec, normalisation, 0.5, 0.5, {}, build(spec).state_dict())
        model, info = to_onnx(checkpoint)
        check_trace(model, checkpoint)
    image = scene(np.random.default_rng(0), SIDE, SIDE, particles=5).image
    seen = histograms(model, activations(model), [image])
    ranges = {name: histogram.minmax() for name, histogram in seen.items()}
    made = (model, fp16(model), int8(model, ranges, Placement()))
    for graph in made:
        onnx.helper.set_model_props(graph, info.metadata())
    return BenchNetwork(checkpoint, info, dict(zip(PRECISIONS, made, strict=True)))
