"""From a checkpoint to its graph and back."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from edge.engines import open_engine, shipped
from edge.errors import EdgeError
from export.fp16 import fp16
from export.graph import read_graph
from export.trace import EngineGraph, from_onnx, to_onnx
from train.data.synth import scene


def test_there_and_back(traced) -> None:
    model, info, checkpoint = traced("quarter_mrunet")
    found = from_onnx(model, info)
    assert found.weights.keys() == checkpoint.weights.keys()
    for name, weight in checkpoint.weights.items():
        assert torch.equal(found.weights[name], weight)
    assert vars(found) | {"weights": None} == vars(checkpoint) | {"weights": None}


def test_the_prior_comes_back(traced) -> None:
    checkpoint = replace(traced("quarter_mrunet")[2], prior=0.01)
    assert from_onnx(*to_onnx(checkpoint)).prior == pytest.approx(0.01, rel=1e-5)


@pytest.mark.parametrize("name", shipped())
def test_shipped_weights_run_in_torch(name: str) -> None:
    checkpoint = from_onnx(*read_graph(shipped()[name]))
    assert 0 < checkpoint.prior <= 0.5
    tiles = scene(np.random.default_rng(29), 160, 200, particles=14).image[None]
    found = EngineGraph(checkpoint).eval().run(tiles).astype(np.int16)
    assert found.max() > 128
    assert np.abs(found - open_engine(name).run(tiles)).max() <= 1


def test_graphs_that_are_no_network_in_torch(traced) -> None:
    model, info, _ = traced("quarter_mrunet")
    with pytest.raises(EdgeError, match="own: not in the model registry"):
        from_onnx(model, replace(info, model="own"))
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    for initializer in renamed.graph.initializer:
        initializer.name = initializer.name.replace("stem", "trunk")
    for changed in (renamed, fp16(model)):
        with pytest.raises(EdgeError, match="export it again with --precision fp32"):
            from_onnx(changed, info)
