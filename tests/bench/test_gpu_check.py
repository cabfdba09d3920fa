"""What `bench` would do on a GPU, on the driver for the CPU: all of gpu-check, and its rows."""

import itertools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import bench.backends
import bench.gpu_check
import bench.gpu_questions
import bench.models
import bench.roofline
from bench.gpu_check import measure
from bench.peak import Peak
from edge.engines.variant import TensorRtVariant
from edge.errors import EdgeError
from edge.gpu import find_gpu
from export.build import Built
from export.graph import PRECISIONS
from tests.driver import succeeds
from tests.edge import stand_in, test_tensorrt


def use_stand_in(folder: str) -> TensorRtVariant:
    """Plans are of the stand-in wherever `bench` builds or opens one."""
    test_tensorrt.use_stand_in()
    numbers = itertools.count()

    def build(graph, variant, profile) -> Built:
        path = Path(folder) / f"{next(numbers)}.onnx"
        path.write_bytes(graph.SerializeToString())
        return Built(stand_in.plan(path, profile.tile_hw, profile.batch), 0.1, "CPU 0", ("8.7",))

    bench.backends.build_engine = build
    return TensorRtVariant("rtx", sys.modules[stand_in.__name__])


def check(folder: str) -> None:
    """One network, small frames: the stand-in computes what ONNX Runtime does, to the last bit."""
    variant = use_stand_in(folder)
    bench.gpu_questions.FRAME_HW, bench.gpu_questions.FRAMES = (160, 128), 4
    for name, value in {
        "ALL_MODELS": ("half_mrunet_lite",),
        "FRAME_HW": (160, 128),
        "WARM_UP": 4,
        "TIMED": 4,
        "PIPELINED": 4,
        "SMALL_FRAMES": 40,
    }.items():
        setattr(bench.gpu_check, name, value)
    result = measure(variant)
    assert (result.gpu, result.compute_capability) == ("CPU 0", "8.7")
    assert [row.precision for row in result.engines] == ["fp32", "fp16", "int8"]
    assert {row.max_abs_difference for row in result.engines} == {0}
    assert all(row.engine_fps > 0 and row.frame_ms["p50"] > 0 for row in result.engines)
    verdicts = {verdict.name: verdict for verdict in result.verdicts}
    # The others are of times, or of what is not here.
    for name in ("copies by cuda-python", "engine", "two frames in flight", "CUDA graph",
                 "threads", "networks", "maps"):  # fmt: skip
        assert verdicts[name].ok, verdicts[name]
    assert verdicts["ONNX Runtime's TensorRT"].ok is None
    assert "at the second" in verdicts["second start"].found
    assert verdicts["networks"].found == "3 measured"
    assert "\nok      threads: 2 maps of 2 threads, equal\n" in result.describe()
    assert "half_mrunet_lite" in result.describe()

    # An engine that does not load, as on a Hopper, which TensorRT-RTX does not serve.
    build = bench.backends.build_engine
    bench.backends.build_engine = lambda *arguments: replace(build(*arguments), engine=b"no plan")
    result = measure(variant)
    assert [verdict.name for verdict in result.problems] == ["engine"], result.describe()
    assert "magic tag does not match" in result.problems[0].found
    assert not result.engines
    assert "\nok      copies by cuda-python: directly exact, in a graph exact" in result.describe()


def rows(folder: str) -> None:
    """The rows of TensorRT in `bench --model`, tiles in batches and whole frames."""
    variant = use_stand_in(folder)

    def opened(name: str) -> TensorRtVariant:
        if name != variant.name:
            raise EdgeError("not here")
        return variant

    bench.backends.open_variant = opened
    bench.backends._cannot_compile = lambda: "takes long"
    bench.models.FRAME_HW, bench.models.TILE, bench.models.BATCHES = (160, 200), 96, (1, 2)
    bench.roofline.SIDE, bench.roofline.BYTES = 256, 1 << 20
    # A process of its own would not know the stand-in.
    bench.models.peak_memory = lambda *_: Peak(1.0, None)
    result = bench.models.measure(["quarter_mrunet"], 0.05)
    assert result.unavailable["TensorRT"] == "not here"
    found = {(row.backend, row.precision): row for row in result.rows}
    for precision in PRECISIONS:
        row = found["TensorRT-RTX", precision]
        assert row.mask_iou == found["ONNX Runtime CPU", precision].mask_iou
        assert row.device.startswith("TensorRT-RTX")
        assert row.tiles == "1 x 160x200"
        assert row.batch in bench.models.BATCHES
        assert row.tile_ms["p50"] > 0


@pytest.mark.parametrize("scenario", [check, rows], ids=lambda s: s.__name__)
def test_on_the_driver(scenario: Callable[[str], None], fake_driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    succeeds(scenario, str(tmp_path), fake_driver)


def test_without_a_gpu() -> None:
    if find_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EdgeError, match="there is no GPU here"):
        measure(TensorRtVariant("rtx", stand_in))
