"""edge-run as a user runs it, on the shipped weights."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.cli import edge_run
from train.data.synth import Scene
from train.metrics import object_counts

SIDE = (160, 200)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(edge_run, [str(word) for word in arguments])


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


@pytest.mark.parametrize("engine", ["half_mrunet", "quarter_mrunet"])
def test_a_photo_in_particles_out(engine: str, photo: Path, sand: Scene, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("--source", photo, "--engine", engine, "--out", out, "--mm-per-pixel", 0.5)
    assert result.exit_code == 0, result.output
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert names == {
        "particles.jsonl",
        "particles.csv",
        "summary.json",
        "masks/000000_photo.png",
        "overlays/000000_photo.jpg",
    }
    mask = read(out / "masks/000000_photo.png")
    counts = object_counts(mask, sand.mask)
    assert counts.tp >= 0.7 * counts.true
    assert read(out / "overlays/000000_photo.jpg").shape == (*SIDE, 3)

    rows = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
    with (out / "particles.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [{k: str(v) for k, v in row.items()} for row in rows] == table
    assert len(rows) == cv2.connectedComponents(mask)[0] - 1
    assert sum(row["area_px"] for row in rows) == (mask > 0).sum()
    for row in rows:
        assert row["time_s"] == pytest.approx(photo.stat().st_mtime, abs=1e-3)
        assert row["diameter_mm"] == pytest.approx(row["diameter_px"] / 2, abs=1e-3)
        assert row["area_mm2"] == pytest.approx(row["area_px"] / 4)

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["model"], summary["frames"]) == (engine, 1)
    assert summary["particles"] == len(rows)
    assert summary["latency_ms"]["engine"]["p50"] > 0
    assert (summary["policy"], summary["dropped"]) == ("every", 0)
    age = summary["age_ms"]
    assert summary["latency_ms"]["engine"]["p50"] < age["p50"] <= age["p99"] <= age["max"]
    assert summary["frames_per_second"] == pytest.approx(1e3 / age["max"], rel=0.02)
    assert "CPUExecutionProvider" in result.output
    assert "p99" in result.output
    assert "frames a second (every, 0 dropped), known " in result.output


def test_the_user_sets_threshold_and_diameters(photo: Path, tmp_path: Path) -> None:
    def rows(name: str, *arguments: object) -> list[dict[str, float]]:
        out = tmp_path / name
        arguments += ("--engine", "quarter_mrunet", "--mm-per-pixel", 0.5, "--out", out)
        result = invoke("--source", photo, *arguments)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
        assert cv2.connectedComponents(read(out / "masks/000000_photo.png"))[0] - 1 == len(found)
        return found

    every = rows("every", "--threshold", 0.04)
    assert len(every) > len(rows("few", "--threshold", 1))
    diameters = sorted(row["diameter_px"] for row in every)
    low, high = diameters[len(diameters) // 4], diameters[3 * len(diameters) // 4]
    assert low < high
    within = [d for d in diameters if low <= d <= high]
    arguments = ["--threshold", 0.04, "--min-diameter", f"{low}px", "--max-diameter"]
    kept = rows("kept", *arguments, f"{high / 2}mm")
    assert sorted(row["diameter_px"] for row in kept) == within
    summary = json.loads((tmp_path / "kept/summary.json").read_text(encoding="utf-8"))
    assert summary["threshold"] == 0.04
    assert (summary["min_diameter_px"], summary["max_diameter_px"]) == (low, high)
    summary = json.loads((tmp_path / "few/summary.json").read_text(encoding="utf-8"))
    assert summary["min_diameter_px"] is summary["max_diameter_px"] is None


def test_the_overlay_shows_the_frame_in_its_colours(
    photo: Path, sand: Scene, tmp_path: Path
) -> None:
    invoke("--source", photo, "--out", tmp_path / "out")
    shown = read(tmp_path / "out/overlays/000000_photo.jpg")[..., ::-1]
    # Below the caption, most pixels are the frame's own.
    difference = np.abs(shown[50:].astype(int) - sand.image[50:])
    assert np.median(difference) < 12


def test_a_folder_with_broken_images(photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    data = photo.read_bytes()
    (folder / "a.png").write_bytes(data)
    (folder / "b.png").write_bytes(data[:100])
    (folder / "c.jpg").write_bytes(b"")
    (folder / "d.png").write_bytes(data)
    (folder / "notes.txt").write_text("not an image")
    result = invoke("--source", folder, "--engine", "quarter_mrunet", "--out", out)
    assert result.exit_code == 0, result.output
    assert "b.png: not a readable image" in result.output
    assert "c.jpg: not a readable image" in result.output
    assert "2 frames, 2 skipped" in result.output
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["000000_a.png", "000003_d.png"]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert len(summary["skipped"]) == 2


def test_globs_and_videos(photo: Path, sand: Scene, tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 4.0, SIDE[::-1])
    for _ in range(3):
        writer.write(sand.image[..., ::-1].copy())
    writer.release()
    result = invoke("--source", clip, "--engine", "quarter_mrunet", "--out", tmp_path / "a")
    assert "3 frames" in result.output
    rows = [json.loads(line) for line in (tmp_path / "a/particles.jsonl").open(encoding="utf-8")]
    assert sorted({row["time_s"] for row in rows}) == [0.0, 0.25, 0.5]
    result = invoke("--source", photo.parent / "ph*.png", "--engine", "quarter_mrunet")
    assert "1 frames" in result.output
    # Without --out nothing is written.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "clip.avi", "photo.png"]


def test_a_folder_under_latest(photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for index in range(40):
        os.link(photo, folder / f"{index:02d}.png")
    arguments = ["--source", folder, "--engine", "quarter_mrunet", "--policy", "latest"]
    result = invoke(*arguments, "--out", out)
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["policy"] == "latest"
    assert summary["dropped"] > 0
    assert summary["frames"] + summary["dropped"] == 40
    assert len(list((out / "masks").iterdir())) == summary["frames"]
    assert f"(latest, {summary['dropped']} dropped)" in result.output


def write_text(path: Path) -> Path:
    path.write_text("this is not what its name says")
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give either --camera N or --source FILE"),
        (["--camera", "0", "--source", "photo.png"], 2, "give either"),
        (["--source", "absent.png"], 2, "absent.png: no such file or folder"),
        (["--source", "*.bmp"], 2, "*.bmp: matches no image"),
        (["--source", "empty"], 2, "empty: the folder holds no image"),
        (["--source", "broken"], 1, "none of 2 images is readable"),
        (["--source", "text.png"], 1, "text.png: not a readable image"),
        (["--source", "text.avi"], 1, "text.avi: neither an image nor a video"),
        (["--camera", "77"], 1, "camera 77: not there"),
        (["--source", "photo.png", "--engine", "absent.onnx"], 2, "no such engine file"),
        (["--source", "photo.png", "--engine", "text.avi"], 2, "no backend for .avi files"),
        (["--source", "photo.png", "--engine", "text.trt"], 1, "text.trt.json is missing"),
        (["--source", "photo.png", "--engine", "text.onnx"], 1, "cannot load it"),
        (["--source", "photo.png", "--engine", "other.onnx"], 1, "not an engine of this toolkit"),
        (["--source", "photo.png", "--out", "broken"], 2, "broken: is not empty"),
        (["--source", "photo.png", "--out", "text.avi"], 2, "text.avi: is a file"),
        (["--source", "photo.png", "--mm-per-pixel", "0"], 2, "not in the range"),
        (["--source", "photo.png", "--threshold", "0"], 2, "not in the range"),
        (["--source", "photo.png", "--threshold", "nan"], 2, "not a number above 0"),
        (["--source", "photo.png", "--min-diameter", "3cm"], 2, "not a length above 0"),
        (["--source", "photo.png", "--min-diameter", "0.1mm"], 2, "needs --mm-per-pixel"),
        (
            ["--source", "photo.png", "--min-diameter", "4", "--max-diameter", "3px"],
            2,
            "--min-diameter is above --max-diameter",
        ),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], code: int, words: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    monkeypatch.chdir(photo.parent)
    for name in ("text.png", "text.avi", "text.trt", "text.onnx"):
        write_text(Path(name))
    Path("empty").mkdir()
    Path("broken").mkdir()
    write_text(Path("broken/a.png"))
    write_text(Path("broken/b.jpg"))
    shape = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [shape], [out]
    )
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "other.onnx")
    before = sorted(Path().rglob("*"))

    done = subprocess.run(
        [sys.executable, "-m", "edge", *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_is_whole(number: signal.Signals, photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for index in range(500):
        os.link(photo, folder / f"{index}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "edge",
         "--source", str(folder), "--engine", "quarter_mrunet", "--out", str(out)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(out.glob("masks/*.png")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 0
    frames = json.loads((out / "summary.json").read_text(encoding="utf-8"))["frames"]
    assert 1 <= frames < 500
    assert len(list((out / "masks").iterdir())) == frames
    rows = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
    assert len({row["frame"] for row in rows}) == frames
