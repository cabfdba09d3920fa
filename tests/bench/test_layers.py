"""Layers of real engines: all precisions in ONNX Runtime, and TensorRT's stand_in on the driver."""

import shutil
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import cv2
import pytest

import bench.layers
from bench import flame_graph
from bench.layer_names import part_of
from bench.layers import LayersResult, measure
from bench.networks import open_network
from edge.engines import shipped
from edge.errors import BadArgumentError, EdgeError
from export.graph import conv_nodes, read_graph
from tests.driver import succeeds
from tests.edge import test_tensorrt

FRAME_HW = (128, 112)
PARTS = ["in", "stem", "encoder 0", "bottom", "residual 0", "decoder 0", "head", "out"]


@pytest.fixture(scope="module")
def result() -> LayersResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.layers, "FRAME_HW", FRAME_HW)
        return measure("quarter_mrunet", 3)


def check_convolutions(result: LayersResult, graph: Path) -> None:
    """Each convolution of the network is one layer, in its part and with its operations."""
    convs = {conv.name: conv for conv in conv_nodes(read_graph(graph)[0])}
    found = {layer.name: layer for layer in result.layers if layer.gflop is not None}
    assert found.keys() == convs.keys()
    assert len([layer for layer in result.layers if layer.gflop is not None]) == len(convs)
    height, width = result.tile_hw
    for name, layer in found.items():
        assert layer.part == part_of(name)
        flops = convs[name].flops_per_pixel * result.batch * height * width
        assert layer.gflop == pytest.approx(flops / 1e9, abs=1e-4)
        assert layer.gflop_per_s == pytest.approx(flops / layer.ms / 1e6, rel=0.05)


def parts(result: LayersResult) -> list[str]:
    return [part for part, _ in groupby(layer.part for layer in result.layers)]


def test_layers_of_the_shipped_network(result: LayersResult) -> None:
    check_convolutions(result, shipped()["quarter_mrunet"])
    assert parts(result) == PARTS
    assert (result.tile_hw, result.batch) == (FRAME_HW, 1)
    by_name = {layer.name: layer for layer in result.layers}
    stem = (2 * 9 * 3 + 1) * 16 * 128 * 112 / 1e9
    assert by_name["stem"].gflop == pytest.approx(stem, abs=1e-4)
    # Nodes without weights are where they work.
    assert by_name["node_max_pool2d"].part == "encoder 0"
    assert by_name["node_conv2d_17_enlarged"].part == "decoder 0"
    assert by_name["node__to_copy"].part == "in"
    assert by_name["node_round_1"].part == "out"
    inserted = [layer for layer in result.layers if layer.op == "ReorderOutput"]
    assert inserted
    assert all(layer.name.startswith("ReorderOutput after ") for layer in inserted)


def test_the_least_time_is_that_at_the_peak(result: LayersResult) -> None:
    assert result.peak_gflop_per_s
    assert result.least_ms
    assert f"the convolutions alone would take {result.least_ms:.3f} ms" in result.describe()
    gflop = sum(layer.gflop or 0 for layer in result.layers)
    assert result.least_ms == pytest.approx(gflop / result.peak_gflop_per_s * 1e3)


def test_times_add_up(result: LayersResult) -> None:
    assert sum(layer.fraction for layer in result.layers) == pytest.approx(1, abs=0.01)
    # Loose, as the machine may be busy with anything else.
    assert 0.3 < result.layers_ms / result.profiled_ms < 1.1
    assert 0.2 < result.whole_ms / result.profiled_ms < 5


def test_the_table_begins_with_the_slowest(result: LayersResult) -> None:
    rows = [line.split("|")[1:-1] for line in result.describe().splitlines() if line[:1] == "|"]
    names = [row[0].strip() for row in rows[2:]]
    assert len(names) == len(result.layers)
    assert names[0] == max(result.layers, key=lambda layer: layer.ms).name
    times = [float(row[3]) for row in rows[2:]]
    assert times == sorted(times, reverse=True)


def test_every_precision_and_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Casts, Q/DQ pairs, and widths with which ONNX Runtime fuses more, hide no convolution."""
    monkeypatch.setattr(bench.layers, "FRAME_HW", FRAME_HW)
    for precision, graph in open_network("quarter_mrunet8").graphs.items():
        path = tmp_path / f"{precision}.onnx"
        path.write_bytes(graph.SerializeToString())
        found = measure(str(path), 1)
        check_convolutions(found, path)
        assert set(parts(found)) <= set(PARTS)


def in_tensorrt(folder: str) -> None:
    """A plan with its network beside it, and without."""
    test_tensorrt.use_stand_in()
    path = test_tensorrt.written(Path(folder))
    alone = measure(str(path), 2)
    graph = shipped()["quarter_mrunet"]
    beside = Path(shutil.copy(graph, path.with_suffix(".onnx")))
    named = measure(str(path), 2)
    for result in (alone, named):
        assert "TensorRT-RTX 1.0" in result.device
        assert (result.batch, result.tile_hw) == (test_tensorrt.BATCH[1], test_tensorrt.TILE)
        assert 0 < result.layers_ms < 1.1 * result.profiled_ms
    assert {layer.part for layer in alone.layers} == {"quarter_mrunet"}
    assert "node_conv2d_1 + node_relu" in {layer.name for layer in alone.layers}
    assert {layer.gflop for layer in alone.layers} == {None}
    check_convolutions(named, graph)
    assert parts(named) == PARTS
    ops = {layer.name: layer.op for layer in named.layers}
    assert ops["Reformatting CopyNode for Input Tensor 0 to node_conv2d"] == "Reformat"
    assert ops["stem"] == "Conv"
    assert [op for name, op in ops.items() if name.startswith("node_cat_myl0_")] == ["Concat"]
    assert "MulRound" in ops.values()
    # Another network's graph names nothing.
    shutil.copy(shipped()["half_mrunet"], beside)
    assert {layer.part for layer in measure(str(path), 1).layers} == {"quarter_mrunet"}


@pytest.mark.parametrize("integrated", ["0", "1"], ids=["discrete", "integrated"])
def test_on_the_driver(integrated: str, fake_driver: Path, tmp_path: Path) -> None:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    succeeds(in_tensorrt, str(tmp_path), fake_driver, DRIVER_INTEGRATED=integrated)


@pytest.mark.parametrize(
    ("conv", "part"),
    [
        ("stem", "stem"),
        ("encoder.1.convs.0", "encoder 1"),
        ("encoder.0.1", "encoder 0"),
        ("bottom.1", "bottom"),
        ("bottom.convs.2", "bottom"),
        ("residual.0.3.conv1", "residual 0"),
    ],
)
def test_parts(conv: str, part: str) -> None:
    assert part_of(conv) == part


def test_flame_graph(result: LayersResult, tmp_path: Path) -> None:
    drawing = tmp_path / "layers.svg"
    flame_graph.write(result, drawing)
    # Text is drawn as curves, and told in comments.
    text = drawing.read_text(encoding="utf-8")
    for words in ("residual 0", "decoder 0", "0.conv3", "Conv NCHWc, "):
        assert f"<!-- {words}" in text
    assert f"{result.layers_ms:.2f} ms in {len(result.layers)} layers" in text
    flame_graph.write(result, tmp_path / "layers.png")
    height, width, _ = cv2.imread(str(tmp_path / "layers.png")).shape
    assert width > height > 400
    with pytest.raises(BadArgumentError, match=r"layers.pdf: a flame graph ends in .svg or .png"):
        flame_graph.write(result, tmp_path / "layers.pdf")


def test_operators_that_hardly_count_share_a_colour(result: LayersResult, tmp_path: Path) -> None:
    few = replace(result, layers=[layer for layer in result.layers if layer.op == "Concat"])
    for given, other in ((result, True), (few, False)):
        flame_graph.write(given, tmp_path / "layers.svg")
        assert ("<!-- other, " in (tmp_path / "layers.svg").read_text(encoding="utf-8")) == other


def test_engines_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadArgumentError, match=r"absent.trt: no such engine file"):
        measure("absent.trt", 1)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no graph")
    with pytest.raises(EdgeError, match=r"damaged.onnx: ONNX Runtime cannot load it"):
        measure(str(damaged), 1)
    (tmp_path / "bare.trt").write_bytes(b"a plan")
    with pytest.raises(EdgeError, match=r"sidecar bare.trt.json is missing"):
        measure(str(tmp_path / "bare.trt"), 1)
