"""Every network in every precision: right in ONNX Runtime, and taken by TensorRT-RTX."""

import numpy as np
import onnx
import pytest

from edge.engines.engine import INPUT, OUTPUT
from edge.engines.profile import Profile
from edge.engines.variant import open_variant
from export.build import build_engine
from export.calibration import histograms
from export.fp16 import emulate_fp16, fp16
from export.graph import ActivationHook, conv_nodes, int8_fraction, precision_of
from export.int8 import Placement, activations, int8
from export.search import fp16_emulator
from export.trace import check_trace
from tests.specs import THIN
from train.data.synth import scene
from train.models.registry import PAPER_MODELS


def quantised(model: onnx.ModelProto, image: np.ndarray, placement: Placement) -> onnx.ModelProto:
    found = histograms(model, activations(model), [image])
    return int8(model, {name: seen.minmax() for name, seen in found.items()}, placement)


def in_precision(model: onnx.ModelProto, precision: str, image: np.ndarray) -> onnx.ModelProto:
    if precision == "fp32":
        return model
    return fp16(model) if precision == "fp16" else quantised(model, image, Placement())


def probability(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    return ActivationHook(model, [OUTPUT]).run(image[None])[OUTPUT].astype(np.int16)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize(
    "key",
    [pytest.param(key, marks=[pytest.mark.slow] if key in THIN else []) for key in PAPER_MODELS]
    + ["thin_unet", "thin_mrunet", "strided"],
)
def test_runs_in_onnx_runtime_and_builds_for_rtx(key, precision, traced, record_property) -> None:
    float_model, info, checkpoint = traced(key)
    side = 4 * info.multiple
    image = scene(np.random.default_rng(58), side, side, particles=5).image
    model = in_precision(float_model, precision, image)
    onnx.checker.check_model(model, full_check=True)
    assert precision_of(model) == precision
    if precision == "fp32":
        check_trace(model, checkpoint)
    allowed = {"fp32": 0, "fp16": 1, "int8": 6}[precision]
    found = probability(model, image)
    assert np.abs(found - probability(float_model, image)).max() <= allowed
    if precision != "fp32":
        emulated = fp16_emulator(model)(image[None]).astype(np.int16)
        # Not one step of rounding more, which is what ONNX Runtimes get wrong in float16.
        assert np.abs(found - emulated).mean() < 0.2
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    built = build_engine(
        model, open_variant("rtx"), Profile((side, side), (1, 2, 4)), compute_capabilities=["8.6"]
    )
    assert len(built.engine) > 10_000


def test_an_overflow_of_float16_is_seen(traced) -> None:
    """ONNX Runtime on a CPU computes FP16 graphs in float32: there it would go unseen."""
    model = onnx.ModelProto()
    model.CopyFrom(traced("quarter_mrunet")[0])
    up, down = (
        next(w for w in model.graph.initializer if w.name == f"network.{name}.weight")
        for name in ("stem", "encoder.0.shortcut")
    )
    for weight, factor in ((up, 1e5), (down, 1e-5)):
        values = onnx.numpy_helper.to_array(weight) * np.float32(factor)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    image = scene(np.random.default_rng(3), 16, 16, particles=2).image
    stem = model.graph.node[4]
    assert stem.op_type == "Conv"
    tensor = stem.output[0]
    half = fp16(model)
    seen_by_runtime = ActivationHook(half, [tensor]).run(image[None])[tensor]
    seen_emulated = ActivationHook(emulate_fp16(half), [tensor]).run(image[None])[tensor]
    assert np.isinf(seen_emulated).any()
    assert seen_emulated.dtype == np.float32
    assert seen_by_runtime.dtype == np.float16


def test_no_pair_stands_between_a_convolution_and_its_relu(traced) -> None:
    model, *_ = traced("half_mrunet")
    image = scene(np.random.default_rng(3), 32, 32, particles=5).image
    graph = quantised(model, image, Placement()).graph
    producers = {name: node for node in graph.node for name in node.output}
    relus = [node for node in graph.node if node.op_type == "Relu"]
    assert {producers[node.input[0]].op_type for node in relus} == {"Conv", "Add"}
    # What is added to a convolution comes quantised, so that both fuse.
    adds = [[producers.get(name) for name in n.input] for n in graph.node if n.op_type == "Add"]
    kinds = {tuple(sorted(p.op_type for p in pair)) for pair in adds if None not in pair}
    assert ("Conv", "DequantizeLinear") in kinds
    assert ("Concat", "Conv") not in kinds


def test_inputs_of_a_concatenation_share_its_scale(traced) -> None:
    model, *_ = traced("half_unet")
    image = scene(np.random.default_rng(3), 32, 32, particles=5).image
    graph = quantised(model, image, Placement()).graph
    producers = {name: node for node in graph.node for name in node.output}
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    concats = [node for node in graph.node if node.op_type == "Concat"]
    assert len(concats) == 2
    for concat in concats:
        cast = next(node for node in graph.node if concat.output[0] in node.input)
        quantise = next(node for node in graph.node if cast.output[0] in node.input)
        scales = {float(values[producers[name].input[1]]) for name in concat.input}
        assert scales == {float(values[quantise.input[1]])}


def test_weights_are_symmetric_with_a_scale_a_channel(traced) -> None:
    model, *_ = traced("quarter_mrunet")
    image = scene(np.random.default_rng(3), 16, 16, particles=5).image
    graph = quantised(model, image, Placement()).graph
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    exact = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    kernels = [name for name in exact if name.endswith(".weight")]
    assert len(kernels) == 24
    for name in kernels:
        scales = values[f"{name}.scale"].astype(np.float64)
        assert scales.shape == values[name].shape[:1]
        assert values[name].dtype == np.int8
        assert not values[f"{name}.zero"].any()
        error = np.abs(values[name] * scales[:, None, None, None] - exact[name])
        # Half a step, but for the last one, where the scale was rounded down to float16.
        assert (error <= 0.51 * scales[:, None, None, None] + 1e-3 * np.abs(exact[name])).all()


@pytest.mark.parametrize(
    ("key", "placement", "floats"),
    [
        ("quarter_mrunet", Placement(), 0),
        ("quarter_mrunet", Placement(narrow=False), 12),
        ("thin_unet", Placement(concats=False), 3),
        ("quarter_mrunet", Placement(floats=frozenset(["head", "stem"])), 2),
    ],
)
def test_placement_says_what_stays_float(key, placement, floats, traced) -> None:
    model, *_ = traced(key)
    image = scene(np.random.default_rng(3), 16, 16, particles=5).image
    convs = conv_nodes(quantised(model, image, placement))
    assert sum(not conv.int8 for conv in convs) == floats
    assert (int8_fraction(convs) == 1) == (floats == 0)


def test_flops_of_the_convolutions_are_at_most_those_of_the_network(traced) -> None:
    model, _, checkpoint = traced("half_mrunet")
    counted = sum(conv.flops_per_pixel for conv in conv_nodes(model)) * 512 * 512
    # The network counts pooling and residual additions too.
    pooling = sum(
        4 * c * (512 >> level + 1) ** 2 for level, c in enumerate(checkpoint.spec.pooled_channels())
    )
    additions = sum(c * (512 >> level) ** 2 for c, level in checkpoint.spec.additions())
    # 1x1 kernels of doubled maps are computed at half the size.
    assert 0.98 < (counted + pooling + additions) / checkpoint.spec.flops() < 1


def test_contract_of_the_quantised_graph(traced) -> None:
    model, *_ = traced("quarter_mrunet")
    image = scene(np.random.default_rng(3), 16, 16, particles=5).image
    graph = quantised(model, image, Placement()).graph
    (read,) = [node for node in graph.node if INPUT in node.input]
    assert read.op_type == "Cast"
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
