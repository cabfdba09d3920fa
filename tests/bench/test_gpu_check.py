"""The whole of `bench gpu-check` on the driver for the CPU: what it would do on a GPU."""

import sys
from pathlib import Path

import pytest

import bench.backends
import bench.gpu_check
from bench.gpu_check import measure
from edge.engines.flavour import Flavour
from edge.errors import ToolError
from edge.gpu import find_gpu
from export.build import Built
from tests.driver import succeeds
from tests.edge import test_tensorrt, twin


def check(folder: str) -> None:
    """One network, small frames: the twin computes what ONNX Runtime does, to the last bit."""
    test_tensorrt.use_twin()
    graphs = iter(range(3))

    def build(graph, flavour, profile) -> Built:
        path = Path(folder) / f"{next(graphs)}.onnx"
        path.write_bytes(graph.SerializeToString())
        return Built(twin.plan(path, profile.tile_hw, profile.batch), 0.1, "CPU 0", ("8.7",))

    bench.backends.build_plan = build
    for name, value in {
        "ALL_MODELS": ("half_mrunet",),
        "FRAME_HW": (160, 128),
        "WARM_UP": 4,
        "TIMED": 4,
        "PIPELINED": 4,
        "SMALL_FRAMES": 40,
    }.items():
        setattr(bench.gpu_check, name, value)
    result = measure(Flavour("rtx", sys.modules[twin.__name__]))
    assert (result.gpu, result.compute_capability) == ("CPU 0", "8.7")
    assert [row.precision for row in result.engines] == ["fp32", "fp16", "int8"]
    assert {row.max_grey_levels for row in result.engines} == {0}
    assert all(row.engine_fps > 0 and row.frame_ms["p50"] > 0 for row in result.engines)
    assert all("of the engine's frame rate" in problem or "grows" in problem
               for problem in result.problems)  # fmt: skip
    assert "half_mrunet" in result.as_text()


def test_on_the_driver(fake_driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    succeeds(check, str(tmp_path), fake_driver)


def test_without_a_gpu() -> None:
    if find_gpu():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ToolError, match="there is no GPU here"):
        measure(Flavour("rtx", twin))
