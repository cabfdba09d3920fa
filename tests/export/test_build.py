import re
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import export.build
from edge.engines import shipped
from edge.engines.profile import Profile
from edge.engines.variant import VARIANTS, TensorRtVariant, collecting_log, open_variant
from edge.errors import BadArgumentError, EdgeError
from edge.gpu import Gpu
from export.build import build_engine, weakly_typed
from export.fp16 import fp16
from export.graph import ActivationHook, producers_of, weights_of
from export.int8 import Placement, activations, int8

SMALLEST = Profile((16, 16), (1, 1, 2))
ORIN = Gpu("Orin (nvgpu)", "8.7")
RTX_3090 = Gpu("NVIDIA GeForce RTX 3090", "8.6")
TILES = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)


def int8_for_tiles(model: onnx.ModelProto) -> onnx.ModelProto:
    values = ActivationHook(model, activations(model)).run(TILES)
    ranges = {name: float(np.abs(tensor).max()) for name, tensor in values.items()}
    return int8(model, ranges, Placement())


PRECISIONS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "fp32": lambda model: model,
    "fp16": fp16,
    "int8": int8_for_tiles,
}
# What export and engines ask of a module, whichever version it is.
NAMES = {
    "Builder": {
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    },
    "IBuilderConfig": {
        "add_optimization_profile",
        "create_timing_cache",
        "get_timing_cache",
        "set_preview_feature",
        "set_flag",
        "set_memory_pool_limit",
        "set_timing_cache",
    },
    "ILogger": {"ERROR", "INTERNAL_ERROR", "WARNING", "log"},
    "IOptimizationProfile": {"set_shape"},
    "ICudaEngine": {
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_name",
        "get_tensor_profile_shape",
        "num_io_tensors",
        "num_optimization_profiles",
    },
    "IExecutionContext": {
        "execute_async_v3",
        "profiler",
        "set_input_shape",
        "set_optimization_profile_async",
        "set_tensor_address",
    },
    "ITimingCache": {"serialize"},
    "Runtime": {"deserialize_cuda_engine"},
    "MemoryPoolType": {"WORKSPACE"},
    "OnnxParser": {"get_error", "num_errors", "parse"},
    "ParserError": {"code", "desc", "node"},
}
WEAK = {
    "BuilderFlag": {"FP16", "INT8"},
    "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH"},
}
RTX_ONLY = {
    "BuilderFlag": {"REQUIRE_USER_ALLOCATION"},
    "DynamicShapesKernelSpecializationStrategy": {"EAGER"},
    "ExecutionContextAllocationStrategy": {"USER_MANAGED"},
    "ICudaEngine": {"create_runtime_config", "device_memory_size_v2"},
    "IExecutionContext": {"is_stream_capturable", "set_device_memory"},
    "IRuntimeCache": {"deserialize", "serialize"},
    "IRuntimeConfig": {
        "create_runtime_cache",
        "dynamic_shapes_kernel_specialization_strategy",
        "set_execution_context_allocation_strategy",
        "set_runtime_cache",
    },
    "ComputeCapability": {"SM75", "SM86"},
    "IBuilderConfig": {"num_compute_capabilities", "set_compute_capability"},
}


@pytest.fixture(scope="module")
def rtx() -> TensorRtVariant:
    pytest.importorskip(VARIANTS["rtx"], reason="TensorRT-RTX is not installed")
    return open_variant("rtx")


@pytest.fixture(scope="module")
def quarter() -> onnx.ModelProto:
    return onnx.load(shipped()["quarter_mrunet"])


@pytest.fixture
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gpu | None:
    """This machine's GPU, whichever it has: by default, none."""
    found: Gpu | None = getattr(request, "param", None)
    monkeypatch.setattr(export.build, "find_gpu", lambda: found)
    return found


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def missing(module: types.ModuleType, names: dict[str, set[str]]) -> set[str]:
    return {
        f"{owner}.{name}"
        for owner, wanted in names.items()
        for name in wanted
        if not hasattr(getattr(module, owner, None), name)
    }


def test_names_of_tensorrt() -> None:
    """Held against 8.6.0, 10 and 11 wherever one of them is installed."""
    try:
        module = open_variant("native").module
    except EdgeError as error:
        pytest.skip(str(error))
    assert not missing(module, NAMES)
    assert not missing(module, WEAK) or hasattr(
        module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"
    )


def test_names_of_tensorrt_rtx(rtx: TensorRtVariant) -> None:
    assert not missing(rtx.module, NAMES)
    assert not missing(rtx.module, RTX_ONLY)
    assert missing(rtx.module, WEAK)
    assert hasattr(rtx.module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    assert re.fullmatch(r"TensorRT-RTX [\d.]+", rtx.title)


def test_profile() -> None:
    assert Profile((64, 32), (1, 4, 9)).shapes == ((1, 64, 32, 3), (4, 64, 32, 3), (9, 64, 32, 3))


@pytest.mark.parametrize(
    ("tile_hw", "batch", "words"),
    [
        ((0, 32), (1, 1, 1), "0x32 px"),
        ((32, 32), (0, 1, 1), "0, 1 and 1"),
        ((32, 32), (2, 1, 4), "2, 1 and 4"),
        ((32, 32), (1, 4, 2), "1, 4 and 2"),
    ],
)
def test_a_profile_that_is_none(
    tile_hw: tuple[int, int], batch: tuple[int, int, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Profile(tile_hw, batch)


@pytest.mark.parametrize("gpu", [None, ORIN], indirect=True)  # neither is one it serves
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_builds(
    precision: str, rtx: TensorRtVariant, quarter: onnx.ModelProto, gpu: Gpu | None
) -> None:
    built = build_engine(PRECISIONS[precision](quarter), rtx, SMALLEST)
    assert built.engine
    assert built.seconds > 0
    assert built.device == (gpu.name if gpu else "CPU")
    # All that this version serves, but Turing.
    assert {"8.6", "8.9", "12.0"} <= set(built.compute_capabilities)
    assert "7.5" not in built.compute_capabilities


@pytest.mark.parametrize(
    ("gpu", "asked", "expected"),
    [
        (None, ("8.6", "12.0", "8.6"), ("8.6", "12.0")),
        (RTX_3090, (), ("8.6",)),
        (RTX_3090, ("8.9",), ("8.9",)),
        (ORIN, ("8.6",), ("8.6",)),
    ],
    indirect=["gpu"],
)
def test_compute_capabilities(
    gpu: Gpu | None,
    asked: tuple[str, ...],
    expected: tuple[str, ...],
    rtx: TensorRtVariant,
    quarter: onnx.ModelProto,
) -> None:
    built = build_engine(quarter, rtx, SMALLEST, asked)
    assert built.compute_capabilities == expected
    assert built.device == (gpu.name if gpu else "CPU")


def test_turing_is_told_to_the_builder(
    rtx: TensorRtVariant, quarter: onnx.ModelProto, gpu: None
) -> None:
    without, turing = (
        build_engine(quarter, rtx, SMALLEST, (name,)).engine for name in ("8.6", "7.5")
    )
    assert len(turing) > 1.5 * len(without)


def test_an_unknown_compute_capability(
    rtx: TensorRtVariant, quarter: onnx.ModelProto, gpu: None
) -> None:
    with pytest.raises(BadArgumentError, match=r"^8\.7: .* only for 7\.5, .*8\.6, 8\.9"):
        build_engine(quarter, rtx, SMALLEST, ["8.6", "8.7"])


def test_a_graph_that_the_parser_refuses(
    rtx: TensorRtVariant, quarter: onnx.ModelProto, gpu: None
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(quarter)
    model.graph.node[5].op_type = "Frobnicate"
    with pytest.raises(EdgeError, match=r"conv2d_1 \(Frobnicate\): INVALID_NODE, .*not found") as e:
        build_engine(model, rtx, SMALLEST)
    assert "\n" not in str(e.value)
    # Nobody writes the output: an error about no node.
    model.CopyFrom(quarter)
    del model.graph.node[-1]
    with pytest.raises(EdgeError, match=r"cannot read the graph: [A-Z_]+, "):
        build_engine(model, rtx, SMALLEST)


def test_tiles_that_the_network_cannot_take(
    rtx: TensorRtVariant, quarter: onnx.ModelProto, gpu: None
) -> None:
    with pytest.raises(EdgeError, match=r"cannot build .* must be conformable") as e:
        build_engine(quarter, rtx, Profile((33, 32), (1, 1, 1)))
    assert "\n" not in str(e.value)


# TensorRT-RTX's builder, which needs no GPU, in the place of plain TensorRT's: it has the same
# interface, but says that it has no use for measurements.
measures = pytest.mark.filterwarnings("ignore:.*no-ops in TensorRT-RTX:DeprecationWarning")


@pytest.fixture
def native(rtx: TensorRtVariant) -> TensorRtVariant:
    return TensorRtVariant("native", rtx.module)


def test_plain_tensorrt_needs_a_gpu(
    native: TensorRtVariant, quarter: onnx.ModelProto, gpu: None
) -> None:
    with pytest.raises(EdgeError, match=r"has none .* --target rtx .* --out X\.onnx"):
        build_engine(quarter, native, SMALLEST)


def test_plain_tensorrt_builds_for_its_own_gpu(
    native: TensorRtVariant, quarter: onnx.ModelProto, gpu: None
) -> None:
    with pytest.raises(BadArgumentError, match=r"^8\.7: .* builds for the GPU it runs on"):
        build_engine(quarter, native, SMALLEST, ("8.7",))


@measures
@pytest.mark.parametrize("gpu", [ORIN], indirect=True)
@pytest.mark.parametrize("before", [None, b"", b"no measurements" * 99])
def test_measurements_are_kept(
    before: bytes | None,
    gpu: Gpu,
    cache: Path,
    native: TensorRtVariant,
    quarter: onnx.ModelProto,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = cache / "microplastic-edge" / f"TensorRT-{native.version}-Orin-nvgpu-.timings"
    if before is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(before)
    built = build_engine(quarter, native, SMALLEST)
    assert (built.device, built.compute_capabilities) == (ORIN.name, ("8.7",))
    assert file.read_bytes() not in (b"", before)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert ("does not take it" in caplog.text) == bool(before)


@measures
@pytest.mark.parametrize("gpu", [ORIN], indirect=True)
def test_a_build_that_fails_keeps_its_measurements(
    gpu: Gpu, cache: Path, native: TensorRtVariant, quarter: onnx.ModelProto
) -> None:
    with pytest.raises(EdgeError, match="cannot build"):
        build_engine(quarter, native, Profile((33, 32), (1, 1, 1)))
    assert len(list((cache / "microplastic-edge").iterdir())) == 1


@measures
@pytest.mark.parametrize("gpu", [ORIN], indirect=True)
def test_a_cache_folder_that_cannot_be_used(
    gpu: Gpu,
    cache: Path,
    native: TensorRtVariant,
    quarter: onnx.ModelProto,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache.write_text("a file")
    assert build_engine(quarter, native, SMALLEST).engine
    assert "cannot be kept" in caplog.text
    assert cache.read_text() == "a file"


def test_rtx_measures_nothing(
    rtx: TensorRtVariant, quarter: onnx.ModelProto, gpu: None, cache: Path
) -> None:
    build_engine(quarter, rtx, SMALLEST)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("typing", "sharing", "profiles"),
    [("STRONGLY_TYPED", True, 1), ("STRONGLY_TYPED", False, 1), ("EXPLICIT_BATCH", True, 1),
     ("EXPLICIT_BATCH", False, 2)],
    ids=["10", "11", "8.6.1", "8.6.0"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Use del obj:DeprecationWarning")
@measures
@pytest.mark.parametrize("gpu", [ORIN], indirect=True)
def test_two_frames_in_flight(
    typing: str,
    sharing: bool,
    profiles: int,
    gpu: Gpu,
    cache: Path,
    rtx: TensorRtVariant,
    quarter: onnx.ModelProto,
) -> None:
    """Contexts share a profile where they can; another of its flags stands for the one that says
    so."""
    real, asked = rtx.module, []
    flag = real.PreviewFeature.ALIASED_PLUGIN_IO_10_03

    class Builder(real.Builder):
        def build_serialized_network(self, network, config):
            asked.extend([config.num_optimization_profiles, config.get_preview_feature(flag)])
            assert config.get_flag(real.BuilderFlag.REQUIRE_USER_ALLOCATION)
            return super().build_serialized_network(network, config)

    typed = int(real.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    module = types.SimpleNamespace(
        **vars(real)
        | {
            "Builder": Builder,
            "NetworkDefinitionCreationFlag": types.SimpleNamespace(**{typing: typed}),
            "PreviewFeature": types.SimpleNamespace(
                **({"PROFILE_SHARING_0806": flag} if sharing else {})
            ),
        }
    )
    assert build_engine(quarter, TensorRtVariant("native", module), SMALLEST).engine
    assert asked == [profiles, sharing]


@measures
@pytest.mark.parametrize("gpu", [ORIN], indirect=True)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_module_without_strong_typing(
    precision: str, gpu: Gpu, cache: Path, rtx: TensorRtVariant, quarter: onnx.ModelProto
) -> None:
    """TensorRT 8.6's flags before TensorRT-RTX's builder, where TF32 changes nothing."""
    real = rtx.module
    flags = {"FP16": real.BuilderFlag.TF32, "INT8": real.BuilderFlag.TF32}
    older = types.SimpleNamespace(
        **vars(real)
        | {
            "BuilderFlag": types.SimpleNamespace(**flags),
            "NetworkDefinitionCreationFlag": types.SimpleNamespace(EXPLICIT_BATCH=0),
        }
    )
    model = PRECISIONS[precision](quarter)
    assert build_engine(model, TensorRtVariant("native", older), SMALLEST).engine


@pytest.mark.parametrize(("precision", "apart"), [("fp32", 0), ("fp16", 0.2), ("int8", 4)])
def test_weakly_typed(precision: str, apart: float, quarter: onnx.ModelProto) -> None:
    """The same network as in float32, with nothing that TensorRT 8.6 refuses."""
    model = PRECISIONS[precision](quarter)
    untouched = model.SerializeToString()
    weak = weakly_typed(model)
    assert model.SerializeToString() == untouched
    onnx.checker.check_model(weak, full_check=True)
    weights, before, producers = weights_of(weak), weights_of(model), producers_of(weak)
    assert TensorProto.FLOAT16 not in {weight.data_type for weight in weights.values()}
    for node in weak.graph.node:
        if node.op_type == "DequantizeLinear":
            quantiser = producers[node.input[0]]
            assert quantiser.op_type == "QuantizeLinear"
            name = quantiser.input[0]
            if name in weights:
                assert quantiser.input[1:] == node.input[1:]
                values, scales, steps = (
                    numpy_helper.to_array(tensor)
                    for tensor in (weights[name], weights[node.input[1]], before[name])
                )
                assert np.array_equal(np.rint(values / scales[:, None, None, None]), steps)
    expected, found = (
        ActivationHook(graph, ["probability"]).run(TILES)["probability"].astype(int)
        for graph in (quarter, weak)
    )
    assert expected.std() > 10
    assert np.abs(found - expected).mean() <= apart


STUBS = [
    "raise ImportError('no wheel')",
    "raise OSError('no library')",
    "raise RuntimeError('x\\ny')",
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stub", [*STUBS, ""])
def test_a_module_that_cannot_be_used(
    stub: str, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = VARIANTS[variant]
    # With one there before, monkeypatch takes away what the import puts there.
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    if stub:
        del sys.modules[name]
        (tmp_path / f"{name}.py").write_text(stub)
        monkeypatch.syspath_prepend(tmp_path)
    way_out = {"native": "JetPack .* --target rtx .* --out X.onnx", "rtx": r"pip install .*\[rtx\]"}
    with pytest.raises(EdgeError, match=f"cannot be used .*{way_out[variant]}") as e:
        open_variant(variant)
    assert "\n" not in str(e.value)


def test_the_log(rtx: TensorRtVariant) -> None:
    severity, log = rtx.module.ILogger, collecting_log(rtx.module)
    assert log.last_errors() == ""
    log.log(severity.INFO, "loading")
    log.log(severity.WARNING, "slow\n  here")
    assert log.last_errors() == "slow here"
    for number in range(30):
        log.log(severity.ERROR, f"error {number}")
    assert log.last_errors() == "error 27; error 28; error 29"
    assert list(log.warnings) == ["slow\n  here"]
