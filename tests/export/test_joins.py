import numpy as np
import onnx
import pytest

from export.graph import TOLERANCE, Probe, probability_tensor
from export.joins import faster, joined
from train.data.synth import scene


@pytest.mark.parametrize("key", ["half_mrunet", "quarter_mrunet"])
def test_joined_convolutions_compute_the_same(key, traced) -> None:
    model, *_ = traced(key)
    twin = joined(model)
    onnx.checker.check_model(twin, full_check=True)
    convs = [sum(n.op_type == "Conv" for n in graph.graph.node) for graph in (model, twin)]
    # A pair of each residual unit, and a pair of each block.
    assert convs == ([38, 25] if key == "half_mrunet" else [22, 15])
    name = probability_tensor(model)
    image = scene(np.random.default_rng(0), 48, 32, particles=5).image
    apart, together = (Probe(graph, [name]).run(image[None])[name] for graph in (model, twin))
    assert apart.std() > 1e-4
    assert np.abs(apart - together).max() <= TOLERANCE / 10


def test_networks_without_shared_inputs_stay_as_they_are(traced) -> None:
    model, *_ = traced("half_unet")
    image = scene(np.random.default_rng(0), 32, 32, particles=5).image
    assert joined(model) is None
    assert faster(model, image) == (model, None)


def test_the_faster_one_is_kept(traced) -> None:
    model, *_ = traced("quarter_mrunet")
    kept, ratio = faster(model, scene(np.random.default_rng(0), 64, 64, particles=5).image)
    assert 0.1 < ratio < 10
    assert (kept is model) == (ratio >= 0.97)
