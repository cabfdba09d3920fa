import numpy as np
import onnx
import pytest

from edge.engines import shipped
from edge.engines.engine import OUTPUT
from edge.errors import ToolError
from export.calibration import METHODS
from export.graph import Probe, conv_nodes, precision_of, read_graph
from export.material import Material
from export.search import Choice, choose
from export.verify import Judge, max_abs_difference
from train.data.photos import Photo
from train.data.synth import scene


@pytest.fixture(scope="module")
def material() -> Material:
    rng = np.random.default_rng(5)
    scenes = [scene(rng, 96, 96, particles=12) for _ in range(16)]
    photos = [Photo(str(i), s.image, s.mask // 255) for i, s in enumerate(scenes)]
    return Material(photos[:4], photos[4:], "rendered scenes")


@pytest.fixture(scope="module")
def judge(material: Material) -> Judge:
    model, info = read_graph(shipped()["quarter_mrunet"])
    probe = Probe(model, [OUTPUT])
    return Judge(material.held_out, lambda tiles: probe.run(tiles)[OUTPUT], info.level)


@pytest.fixture(scope="module")
def choice(material: Material, judge: Judge) -> Choice:
    return choose(read_graph(shipped()["quarter_mrunet"])[0], material, judge, max_drop=0.01)


def test_the_shipped_model_keeps_its_score(choice: Choice, judge: Judge) -> None:
    assert judge.rw_f1 > 0.3
    assert choice.kept.comparison.drop <= 0.01
    assert choice.kept.comparison.mask_iou > 0.9
    assert precision_of(choice.model) == "int8"


def test_it_is_the_best_of_all_that_was_measured(choice: Choice) -> None:
    assert {trial.method for trial in choice.trials} == set(METHODS)
    assert len({str(trial.placement) for trial in choice.trials}) == 4
    assert choice.kept.rank == min(trial.rank for trial in choice.trials)


def test_it_says_why(choice: Choice) -> None:
    words = choice.as_text()
    assert f"calibration: {choice.kept.method}" in words
    assert all(method in words for method in METHODS)
    assert f"{choice.kept.int8_share:.1%}" in words


def with_one_loud_channel() -> onnx.ModelProto:
    """The same network, but one channel of the stem a thousand times as large as the others."""
    model, _ = read_graph(shipped()["quarter_mrunet"])
    weights = {weight.name: weight for weight in model.graph.initializer}

    def scale(name: str, where: tuple[slice | int, ...], factor: float) -> None:
        values = onnx.numpy_helper.to_array(weights[name]).copy()
        values[where] *= np.float32(factor)
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values, name))

    scale("network.stem.weight", (0,), 1e3)
    scale("network.stem.bias", (0,), 1e3)
    for reader in ("convs.0", "shortcut"):
        scale(f"network.encoder.0.{reader}.weight", (slice(None), 0), 1e-3)
    return model


def test_sensitive_convolutions_fall_back_to_fp16(material: Material, judge: Judge) -> None:
    """Only those that read the loud channel lose their score in INT8."""
    fallen = choose(with_one_loud_channel(), material, judge, max_drop=0.01)
    assert min(trial.comparison.drop for trial in fallen.trials[:3]) > 0.05
    assert fallen.kept.comparison.drop <= 0.01
    assert set(fallen.fell_back) & {"encoder.0.convs.0", "encoder.0.shortcut"}
    assert len(fallen.fell_back) <= 6
    in_fp16 = {conv.name for conv in conv_nodes(fallen.model) if not conv.int8}
    assert in_fp16 >= set(fallen.fell_back)
    assert "back to FP16, most sensitive first: " + fallen.fell_back[0] in fallen.as_text()


def test_a_loss_that_nothing_brings_down_is_an_error(material: Material, judge: Judge) -> None:
    model, _ = read_graph(shipped()["quarter_mrunet"])
    with pytest.raises(ToolError, match="only with every convolution in FP16"):
        choose(model, material, judge, max_drop=-1.0)


def test_a_judge_knows_a_worse_engine(judge: Judge) -> None:
    model, _ = read_graph(shipped()["half_mrunet"])
    probe = Probe(model, [OUTPUT])
    other = judge.compare("another network", lambda tiles: probe.run(tiles)[OUTPUT])
    assert other.max_grey_levels > 50
    assert other.mask_iou < 0.9
    assert other.drop == pytest.approx(judge.rw_f1 - other.rw_f1)


def test_the_largest_difference_does_not_wrap_around() -> None:
    low, high = np.uint8([[0, 9]]), np.uint8([[255, 8]])
    assert max_abs_difference(low, high) == max_abs_difference(high, low) == 255
    assert np.isnan(max_abs_difference(np.float32([np.nan, 1]), np.float32([0, 1])))
