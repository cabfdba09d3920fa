import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import bench
from bench.machine import machine_info
from tests.test_architecture import HIDDEN

NETWORKS = "--model quarter_mrunet --limit 0.1"


def test_bench_alone_shows_its_help() -> None:
    result = CliRunner().invoke(bench, [])
    assert result.exit_code == 0
    assert "--all-models" in result.output


def test_the_machine_is_named() -> None:
    machine = machine_info()
    assert machine["cpu"] != "unknown"
    assert {"cores", "system", "python", "numpy", "onnxruntime"} <= machine.keys()


@pytest.mark.parametrize(
    ("package", "lines", "extra"),
    [
        ("tabulate", [NETWORKS, "compare a.json b.json", "gpu-check"], "bench"),
        ("matplotlib", ["layers", NETWORKS], "bench"),
        ("onnx", [NETWORKS], "bench"),
        ("torch", ["accuracy data"], "bench"),
        ("sahi", ["baselines"], "peers"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, lines: list[str], extra: str
) -> None:
    commands = [["bench", *line.split()] for line in lines]
    code = HIDDEN.format(package=package, module="bench.cli", function="bench", commands=commands)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == len(lines) * (
        f"Error: this needs {package}, which is not installed; in a checkout of this project: "
        f"pip install '.[{extra}]'\n"
    )


def test_pipeline_measures_a_real_run(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    arguments = ["pipeline", "--engine", "half_mrunet_lite", "--frames", "1", "--json", str(path)]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(path.read_text(encoding="utf-8"))
    stages = {"read", "split", "engine", "stitch", "particles", "queue"} | {
        f"write {name}"
        for name in ("frames.csv", "particles.csv", "particles.jsonl", "masks", "overlays")
    }
    assert set(content["latency_ms"]) == stages
    assert 0 < content["first_mask_s"] < 120
    assert content["machine"]["cpu"] == machine_info()["cpu"]
    # Loose, as the machine may be busy with anything else, and the fastest network is soon done.
    assert 0.2 < content["efficiency"] < 1.5
    rate, alone_s = content["frames_per_second"], content["alone_ms"] / 1e3
    assert content["efficiency"] == pytest.approx(rate * alone_s, rel=1e-3)
    assert f"efficiency {content['efficiency']:.3f}" in result.output
    assert (content["tiles"], content["paper_tiles"]) == (9, 16)
    assert content["megapixels"] == pytest.approx(9 * 528 * 528 / 1e6, abs=1e-3)
    assert "1.67 times as many" in result.output
    # What the issue of memory is about: a frame of 1440x1440 in tiles, not at once.
    assert 50 < content["peak_memory_mb"] < 600


def test_latency_from_a_camera_faster_than_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    arguments = ["latency", "--fps", "200", "--seconds", "1", "--size", "128", "--json", str(path)]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["given"] == 200
    assert content["frames"] + content["dropped"] == 200
    assert content["dropped"] > 0
    total, engine_ms = content["end_to_end_ms"], content["engine_ms"]["p50"]
    assert engine_ms < total["p50"] < 2 * engine_ms + 50
    assert content["p99_in_engine_times"] == pytest.approx(total["p99"] / engine_ms, rel=1e-3)
    assert 50 < content["memory_start_mb"] <= content["memory_end_mb"] + 20
    assert f"{content['dropped']} dropped" in result.output


def test_latency_needs_frames_for_a_slope() -> None:
    result = CliRunner().invoke(bench, ["latency", "--frames", "1", "--size", "32"])
    assert result.exit_code == 1
    assert "only 1 frames came through" in result.output


def test_a_failing_run_is_one_sentence() -> None:
    result = CliRunner().invoke(bench, ["pipeline", "--engine", "absent.onnx", "--frames", "1"])
    assert result.exit_code == 1
    assert "absent.onnx: no such engine file" in result.output


def test_the_demo_compares_with_the_ground_truth(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    arguments = ["demo", str(folder), "--frames", "1", "--engine", "quarter_mrunet"]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    counts = re.search(r"^all: found (\d+) of (\d+) particles", result.output, re.MULTILINE)
    assert counts
    found, true = map(int, counts.groups())
    assert found >= 0.7 * true > 30
    assert len(list((folder / "results" / "overlays").iterdir())) == 1
    again = CliRunner().invoke(bench, arguments)
    assert again.exit_code == 2
    assert "not empty" in again.output
