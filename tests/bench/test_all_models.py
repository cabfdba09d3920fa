"""The whole of `bench --model`, on one network and small frames; its report and comparison."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench.models
from bench.cli import bench as command
from bench.models import BackendRow
from bench.networks import ALL_MODELS
from bench.report import Report, read_report
from edge.engines import open_engine
from edge.files import write_json
from edge.gpu import find_gpu
from train.models.registry import MODELS, PAPER_MODELS

# Each is a network more for torch to compile.
BATCHES = (1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of quarter_mrunet on frames of 160x128 px."""
    out = tmp_path_factory.mktemp("bench") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.models, "FRAME_HW", (160, 128))
        patch.setattr(bench.models, "TILE", 128)
        patch.setattr(bench.models, "BATCHES", BATCHES)
        arguments = ["--model", "quarter_mrunet", "--limit", "0.2", "--out", str(out)]
        result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "44,571" in result.stdout
    assert "ONNX Runtime CPU" in result.stdout
    assert str(out / "report.html") in result.stdout
    return out


@pytest.fixture
def report(folder: Path) -> Report:
    return read_report(folder / "report.json")


def row_of(report: Report, backend: str, precision: str) -> BackendRow:
    return next(
        row for row in report.result.rows if (row.backend, row.precision) == (backend, precision)
    )


def test_every_backend_here_is_measured_or_unavailable_with_a_reason(report: Report) -> None:
    found = {row.backend for row in report.result.rows} | report.result.unavailable.keys()
    assert found >= {
        "torch eager",
        "torch compiled",
        "ONNX Runtime CPU",
        "ONNX Runtime CUDA",
        "ONNX Runtime Tensorrt",
        "OpenVINO",
        "TensorRT",
        "TensorRT-RTX",
    }
    assert {row.precision for row in report.result.rows if "CPU" in row.backend} == {
        "fp32",
        "fp16",
        "int8",
    }
    if find_gpu() is None:
        assert "no GPU here" in report.result.unavailable["TensorRT-RTX"]


def test_the_rows_hold_together(report: Report) -> None:
    scores = open_engine("quarter_mrunet").info.training["validation_at_threshold"]
    for row in report.result.rows:
        for times in (row.tile_ms, row.frame_ms):
            assert 0 < times["p50"] <= times["p90"] <= times["p99"]
            assert times["runs"]
            assert times["p99"] <= max(times["runs"])
        assert row.tiles == "1 x 160x128"
        gflops = MODELS["quarter_mrunet"].flops(128, 128) / row.tile_ms["p50"] / 1e6
        assert row.gflops_per_s == pytest.approx(gflops, rel=0.01)
        assert row.batch in BATCHES
        assert row.tiles_per_s >= 999 / row.tile_ms["p50"]
        assert 30 < row.peak_memory_mb < 2000
        assert row.rw_f1 == scores["rw_f1"]
    exact = row_of(report, "ONNX Runtime CPU", "fp32")
    assert exact.mask_iou == 1
    assert 0.8 < row_of(report, "ONNX Runtime CPU", "int8").mask_iou <= 1
    assert row_of(report, "ONNX Runtime CPU", "int8").engine_mb < exact.engine_mb
    assert report.result.roofline.gb_per_s > 0.1
    assert report.result.roofline.gflops_per_s["fp32"] > 0.1


def test_memory_of_an_engine_holds_no_torch(report: Report) -> None:
    eager = row_of(report, "torch eager", "fp32").peak_memory_mb
    assert row_of(report, "ONNX Runtime CPU", "fp32").peak_memory_mb < eager


def test_the_report_in_four_forms(folder: Path, report: Report) -> None:
    lines = list(csv.DictReader((folder / "report.csv").open(encoding="utf-8")))
    assert len(lines) == len(report.result.rows)
    assert float(lines[0]["frame_p50_ms"]) == report.result.rows[0].frame_ms["p50"]
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert text == report.as_markdown()
    assert str(report.machine["cpu"]) in text
    assert "| Quarter MultiResUNet |" in text
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert page.count("<table") == 3
    # Nothing is fetched from elsewhere.
    assert not re.search(r"<(script|link|img|iframe)|url\((?!#)|@import", page)


def test_a_folder_with_something_in_it_is_refused_at_once(folder: Path) -> None:
    result = CliRunner().invoke(command, ["--model", "quarter_mrunet", "--out", str(folder)])
    assert result.exit_code == 2
    assert "is not empty" in result.output


def test_no_such_network() -> None:
    result = CliRunner().invoke(command, ["--model", "resnet"])
    assert result.exit_code == 2
    assert "--model resnet: not one of unet, half_unet" in result.output


def test_all_models_are_those_of_the_paper_and_their_variants() -> None:
    assert set(ALL_MODELS) == {
        *PAPER_MODELS,
        "half_mrunet8",
        "quarter_mrunet8",
        "half_mrunet_lite",
        "mrunet_lite",
    }


def write(report: Report, path: Path) -> str:
    write_json(path, report.as_json())
    return str(path)


def slower(report: Report, factor: float, runs: int = 9) -> Report:
    """The first row's frames take `factor` times as long, by runs that do not meet the others."""
    first, *others = report.result.rows
    times = {
        "p50": 100 * factor,
        "p90": 101 * factor,
        "p99": 102 * factor,
        "interval": [99 * factor, 101 * factor] if runs > 5 else None,
        "runs": [100 * factor] * runs,
    }
    rows = [replace(first, frame_ms=times), *others]
    return replace(report, result=replace(report.result, rows=rows))


@pytest.mark.parametrize(
    ("factor", "arguments", "exit_code", "words"),
    [
        (1.2, ["--fail-above", "5%"], 1, "frame, ms +20.0%"),
        (1.2, ["--fail-above", "25"], 0, "+20.0%"),
        (1.2, [], 0, "1 changed significantly"),
        (0.8, ["--fail-above", "5%"], 0, "-20.0%"),
        (1.01, ["--fail-above", "0%"], 0, "0 changed significantly"),  # within the intervals
    ],
)
def test_compare(
    report: Report, tmp_path: Path, factor: float, arguments: list[str], exit_code: int, words: str
) -> None:
    before = write(slower(report, 1), tmp_path / "a.json")
    after = write(slower(report, factor), tmp_path / "b.json")
    result = CliRunner().invoke(command, ["compare", before, after, *arguments])
    assert result.exit_code == exit_code, result.output
    assert words in result.output


@pytest.mark.parametrize(("runs", "drift", "changed"), [(3, 1, 1), (2, 1, 0), (9, 1.3, 0)])
def test_two_runs_tell_nothing_nor_what_is_within_the_drift(
    report: Report, tmp_path: Path, runs: int, drift: float, changed: int
) -> None:
    drifted = replace(report, result=replace(report.result, drift=drift))
    before = write(slower(report, 1, runs), tmp_path / "a.json")
    after = write(slower(drifted, 1.2, runs), tmp_path / "b.json")
    result = CliRunner().invoke(command, ["compare", before, after])
    assert f"{changed} changed significantly" in result.output


@pytest.mark.parametrize(
    ("size", "factor", "changed"),
    [
        ("peak_memory_mb", 1.15, 0),
        ("peak_memory_mb", 1.3, 1),
        ("gpu_memory_mb", 1.05, 1),
        ("engine_mb", 1.05, 1),
    ],
)
def test_sizes_compare(
    report: Report, tmp_path: Path, size: str, factor: float, changed: int
) -> None:
    first, *others = report.result.rows
    before, after = (
        write(
            replace(report, result=replace(report.result, rows=[replace(first, **sized), *others])),
            tmp_path / name,
        )
        for name, sized in (("a.json", {size: 100.0}), ("b.json", {size: 100.0 * factor}))
    )
    result = CliRunner().invoke(command, ["compare", before, after])
    assert f"{changed} changed significantly" in result.output


def test_compare_names_what_differs(report: Report, tmp_path: Path) -> None:
    before = write(report, tmp_path / "a.json")
    fewer = replace(report.result, rows=report.result.rows[1:])
    other = Report({**report.machine, "cpu": "another", "load": 99.0}, fewer)
    result = CliRunner().invoke(command, ["compare", before, write(other, tmp_path / "b.json")])
    assert "only in the first: quarter_mrunet, torch eager, fp32" in result.output
    assert f"cpu {report.machine['cpu']} and another" in result.output
    assert "load" not in result.output


@pytest.mark.parametrize(
    ("content", "exit_code", "words"),
    [
        (None, 2, "no such file"),
        ("{}", 1, "is no report of bench"),
        ("[]", 1, "is no report of bench"),
        ("no JSON", 1, "is no report of bench"),
    ],
)
def test_compare_with_something_else(
    folder: Path, tmp_path: Path, content: str | None, exit_code: int, words: str
) -> None:
    other = tmp_path / "other.json"
    if content is not None:
        other.write_text(content, encoding="utf-8")
    result = CliRunner().invoke(command, ["compare", str(folder / "report.json"), str(other)])
    assert result.exit_code == exit_code
    assert words in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("value", ["five", "-1%", "nan"])
def test_a_wrong_percentage(folder: Path, value: str) -> None:
    path = str(folder / "report.json")
    result = CliRunner().invoke(command, ["compare", path, path, "--fail-above", value])
    assert result.exit_code == 2


def test_other_frames_do_not_compare(report: Report, tmp_path: Path) -> None:
    before = write(report, tmp_path / "a.json")
    after = write(
        replace(report, result=replace(report.result, frame_hw=(64, 64))), tmp_path / "b.json"
    )
    result = CliRunner().invoke(command, ["compare", before, after])
    assert result.exit_code == 1
    assert "frames of different size" in result.output
