import numpy as np
import onnx
import pytest

from edge.engines import shipped
from edge.engines.engine import OUTPUT
from edge.errors import EdgeError
from export.calibration import METHODS
from export.calibration_data import CalibrationData
from export.graph import ActivationHook, conv_nodes, precision_of, read_graph
from export.search import Choice, choose
from export.verify import Evaluator, max_abs_difference
from train.data.samples import Sample
from train.data.synth import scene


@pytest.fixture(scope="module")
def data() -> CalibrationData:
    rng = np.random.default_rng(5)
    scenes = [scene(rng, 96, 96, particles=12) for _ in range(16)]
    photos = [Sample(str(i), s.image, s.mask // 255) for i, s in enumerate(scenes)]
    return CalibrationData(photos[:4], photos[4:], "rendered scenes")


@pytest.fixture(scope="module")
def evaluator(data: CalibrationData) -> Evaluator:
    model, info = read_graph(shipped()["quarter_mrunet"])
    hook = ActivationHook(model, [OUTPUT])
    return Evaluator(data.held_out, lambda tiles: hook.run(tiles)[OUTPUT], info.threshold_u8)


@pytest.fixture(scope="module")
def choice(data: CalibrationData, evaluator: Evaluator) -> Choice:
    return choose(read_graph(shipped()["quarter_mrunet"])[0], data, evaluator, max_drop=0.01)


def test_the_shipped_model_keeps_its_score(choice: Choice, evaluator: Evaluator) -> None:
    assert evaluator.rw_f1 > 0.25
    assert choice.kept.comparison.drop <= 0.01
    assert choice.kept.comparison.mask_iou > 0.9
    assert precision_of(choice.model) == "int8"


def test_it_is_the_best_of_all_that_was_measured(choice: Choice) -> None:
    assert {trial.method for trial in choice.trials} == set(METHODS)
    assert len({str(trial.placement) for trial in choice.trials}) == 4
    assert choice.kept.rank == min(trial.rank for trial in choice.trials)


def test_it_says_why(choice: Choice) -> None:
    words = choice.describe()
    assert f"calibration: {choice.kept.method}" in words
    assert all(method in words for method in METHODS)
    assert f"{choice.kept.int8_fraction:.1%}" in words


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


def test_sensitive_convolutions_fall_back_to_fp16(
    data: CalibrationData, evaluator: Evaluator
) -> None:
    """Only those that read the loud channel lose their score in INT8."""
    fallen = choose(with_one_loud_channel(), data, evaluator, max_drop=0.01)
    assert min(trial.comparison.drop for trial in fallen.trials[:3]) > 0.05
    assert fallen.kept.comparison.drop <= 0.01
    assert set(fallen.fp16_fallback) & {"encoder.0.convs.0", "encoder.0.shortcut"}
    assert len(fallen.fp16_fallback) <= 6
    in_fp16 = {conv.name for conv in conv_nodes(fallen.model) if not conv.int8}
    assert in_fp16 >= set(fallen.fp16_fallback)
    assert "FP16 fallback, most sensitive first: " + fallen.fp16_fallback[0] in fallen.describe()


def test_a_loss_that_nothing_brings_down_is_an_error(
    data: CalibrationData, evaluator: Evaluator
) -> None:
    model, _ = read_graph(shipped()["quarter_mrunet"])
    with pytest.raises(EdgeError, match="only with every convolution in FP16"):
        choose(model, data, evaluator, max_drop=-1.0)


def test_the_evaluator_knows_a_worse_engine(evaluator: Evaluator) -> None:
    model, _ = read_graph(shipped()["half_mrunet"])
    hook = ActivationHook(model, [OUTPUT])
    other = evaluator.compare("another network", lambda tiles: hook.run(tiles)[OUTPUT])
    assert other.max_abs_difference > 50
    assert other.mask_iou < 0.9
    assert other.drop == pytest.approx(evaluator.rw_f1 - other.rw_f1)


def test_the_largest_difference_does_not_wrap_around() -> None:
    low, high = np.uint8([[0, 9]]), np.uint8([[255, 8]])
    assert max_abs_difference(low, high) == max_abs_difference(high, low) == 255
    assert np.isnan(max_abs_difference(np.float32([np.nan, 1]), np.float32([0, 1])))
