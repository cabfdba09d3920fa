"""The shipped models and the full table: minutes, so in `make test-slow`."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.engines import measure
from bench.networks import ALL_MODELS
from edge.engines import shipped
from edge.engines.sidecar import read_sidecar
from edge.engines.variant import open_variant
from export.cli import export_trt
from export.graph import PRECISIONS

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")


def test_a_row_of_the_table() -> None:
    result = measure(open_variant("rtx"), ["8.6"], ["quarter_mrunet"])
    fp32, fp16, int8 = result.engines
    assert [row.precision for row in (fp32, fp16, int8)] == ["fp32", "fp16", "int8"]
    assert (fp32.tile_hw, fp32.batch) == ((500, 500), 3)
    assert fp32.onnx_mb > 1.8 * fp16.onnx_mb > 1.8 * int8.onnx_mb
    assert fp32.max_abs_difference == 0
    assert f"{int8.engine_mb:.2f}" in result.describe()


@pytest.mark.slow
def test_every_network_builds_in_every_precision_at_full_size() -> None:
    result = measure(open_variant("rtx"), ["8.6"])
    assert len(result.engines) == len(ALL_MODELS) * len(PRECISIONS)
    allowed = {"fp32": 0, "fp16": 2, "int8": 60}
    assert all(row.max_abs_difference <= allowed[row.precision] for row in result.engines)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("model", shipped())
def test_shipped_models_keep_their_score_on_real_photos(
    model: str, precision: str, tmp_path: Path
) -> None:
    photos = os.environ.get("REAL_PHOTOS")
    if not photos:
        pytest.skip("REAL_PHOTOS names no folder of labelled photos")
    out = tmp_path / "engine.trt"
    arguments = [str(shipped()[model]), "--precision", precision, "--calibration", photos]
    result = CliRunner().invoke(export_trt, [*arguments, "--target", "rtx", "--out", str(out)])
    assert result.exit_code == 0, result.output
    comparisons = read_sidecar(out).verification["comparisons"]
    assert len(comparisons) == 2
    assert max(c["drop"] for c in comparisons) <= {"fp16": 0.001, "int8": 0.01}[precision]
