import json
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner

from bench.cli import bench
from bench.machine import describe
from bench.paper import table_4


def test_all_models_match_table_4() -> None:
    result = CliRunner().invoke(bench, ["--all-models"])
    assert result.exit_code == 0
    assert result.output.count(" yes") == 5
    assert "214,950" in result.output


def test_a_row_off_by_a_printed_digit_does_not_match() -> None:
    row = table_4()[3]
    assert row.matches
    assert not replace(row, params=row.params + 100).matches
    assert not replace(row, flops=row.flops + 10**8).matches


def test_bench_alone_shows_its_help() -> None:
    result = CliRunner().invoke(bench, [])
    assert result.exit_code == 0
    assert "--all-models" in result.output


def test_the_machine_is_named() -> None:
    machine = describe()
    assert machine["cpu"] != "unknown"
    assert {"cores", "system", "python", "numpy", "onnxruntime"} <= machine.keys()


def test_pipeline_measures_a_real_run(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    arguments = ["pipeline", "--frames", "2", "--json", str(path)]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(path.read_text(encoding="utf-8"))
    stages = {"read", "cut", "engine", "stitch", "particles", "queue", "write"}
    assert set(content["latency_ms"]) == stages
    assert 0 < content["first_mask_s"] < 120
    assert content["machine"]["cpu"] == describe()["cpu"]
    # What the issue of memory is about: a frame of 1440x1440 in tiles, not at once.
    assert 50 < content["peak_memory_mb"] < 600


def test_training_is_measured_against_a_plain_loop(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    arguments = ["training", "--epochs", "2", "--repeats", "1", "--json", str(path)]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(path.read_text(encoding="utf-8"))
    (ours,), (plain,) = content["images_per_s"], content["plain_images_per_s"]
    # Loose, as the machine may be busy with anything else.
    assert 0.5 < ours / plain < 2
    assert len(content["memory_mb"]) == 2
    assert min(content["memory_mb"]) > 100
    assert f"{ours / plain:.3f}" in result.output
    # Lightning's progress is not mixed into the result.
    assert "it/s" not in result.output


def test_a_failing_run_is_one_sentence() -> None:
    result = CliRunner().invoke(bench, ["pipeline", "--engine", "absent.onnx", "--frames", "1"])
    assert result.exit_code == 1
    assert "absent.onnx: no such engine file" in result.output


def test_the_demo_counts_against_the_truth(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    arguments = ["demo", str(folder), "--frames", "1", "--engine", "quarter_mrunet"]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    words = next(line for line in result.output.splitlines() if line.startswith("all")).split()
    true, found, missed, _ = map(int, words[1:])
    assert found + missed == true
    assert found >= 0.7 * true > 30
    assert len(list((folder / "results" / "overlays").iterdir())) == 1
    again = CliRunner().invoke(bench, arguments)
    assert again.exit_code == 2
    assert "not empty" in again.output
