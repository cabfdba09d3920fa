"""edge-run as a user runs it, on the shipped weights."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

import edge
from edge.cli import edge_run
from edge.engines import shipped
from edge.engines.sidecar import sha256
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
        "frames.csv",
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
        assert (row["file"], row["mm_per_pixel"]) == (str(photo), 0.5)
        assert row["time_s"] == pytest.approx(photo.stat().st_mtime, abs=1e-3)
        assert row["diameter_mm"] == pytest.approx(row["diameter_px"] / 2, abs=1e-3)
        assert row["area_mm2"] == pytest.approx(row["area_px"] / 4)

    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["model"], summary["source"]) == (engine, str(photo))
    assert (summary["ended"], summary["frames_expected"]) == ("complete", 1)
    assert summary["frames_processed"] == 1
    assert summary["engine_sha256"] == sha256(shipped()[engine])
    assert summary["particles"] == len(rows)
    assert summary["latency_ms"]["engine"]["p50"] > 0
    assert (summary["policy"], summary["frames_dropped"]) == ("every", 0)
    latency = summary["end_to_end_ms"]
    assert summary["latency_ms"]["engine"]["p50"] < latency["p50"] <= latency["max"]
    assert summary["fps"] == pytest.approx(1e3 / latency["max"], rel=0.02)
    assert f"{engine} on {summary['device']}" in result.output
    assert "p99" in result.output
    assert "FPS (every, 0 dropped), end-to-end latency " in result.output


def test_the_user_sets_threshold_and_diameters(photo: Path, tmp_path: Path) -> None:
    def rows(name: str, *arguments: object) -> list[dict[str, float]]:
        out = tmp_path / name
        arguments += ("--engine", "quarter_mrunet", "--mm-per-pixel", 0.5, "--out", out)
        result = invoke("--source", photo, *arguments)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
        assert cv2.connectedComponents(read(out / "masks/000000_photo.png"))[0] - 1 == len(found)
        return found

    every = rows("every", "--threshold", 0.04, "--min-diameter", 0)
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
    summary = json.loads((tmp_path / "every/summary.json").read_text(encoding="utf-8"))
    assert summary["min_diameter_px"] is summary["max_diameter_px"] is None
    summary = json.loads((tmp_path / "few/summary.json").read_text(encoding="utf-8"))
    assert summary["min_diameter_px"] == 3  # the engine's own


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
    assert "not read: 1 .txt (kinds read: .bmp" in result.output
    assert "2 of 4 frames, 2 failed" in result.output
    assert sorted(p.name for p in (out / "masks").iterdir()) == ["000000_a.png", "000003_d.png"]
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["frames_processed"], summary["frames_failed"]) == (2, 2)
    assert len(summary["problems"]) == 3
    with (out / "frames.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["processed", "failed", "failed", "processed"]
    assert [Path(row["file"]).name for row in rows] == ["a.png", "b.png", "c.jpg", "d.png"]
    assert "not a readable image" in rows[1]["reason"]
    assert rows[0]["particles"] == rows[3]["particles"] != "0"


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
    assert "\n1 frame, " in result.output
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
    assert summary["frames_dropped"] > 0
    assert summary["frames_processed"] + summary["frames_dropped"] == 40
    assert len(list((out / "masks").iterdir())) == summary["frames_processed"]
    assert f"(latest, {summary['frames_dropped']} dropped)" in result.output


def write_text(path: Path) -> Path:
    path.write_text("this is not what its name says")
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give --camera N or --source URI"),
        (["--source", ""], 2, "is empty"),
        (["--source", "photo.png", "--out", ""], 2, "is empty"),
        (["--camera", "front"], 2, "front: is no camera"),
        (["--source", "srt://me:secret@camera/1"], 2, "srt://camera/1: is no stream that is read"),
        (["--source", "rtsp://me:sec/ret@camera/1"], 2, "rtsp://...: is no valid address"),
        (["--source", "v4l2src ! appsink"], 2, "give a pipeline as gst:PIPELINE"),
        (["--source", "csi:front"], 2, "csi:front: is no camera"),
        (["--source", "photo.png", "--size", "640x480"], 2, "photo.png: is no camera whose size"),
        (["--source", "photo.png", "--size", "640"], 2, "'640' is not a size such as 1920x1080"),
        (["--source", "photo.png", "--give-up", "3"], 2, "photo.png: is no live source"),
        (["--camera", "0", "--format", "MJPEG"], 2, "MJPEG: is no format of four letters"),
        (
            ["--source", "photo.png", "--source", "http://127.0.0.1:9", "--out", "new"],
            2,
            "choose a policy",
        ),
        (["--source", "pipe.png"], 2, "pipe.png: is not a file or folder"),
        (["--source", "photo.png", "--sink", "tape:x"], 2, "tape:x: is no sink; give one of"),
        (["--source", "photo.png", "--sink", "csv:text.avi"], 2, "text.avi: exists"),
        (["--source", "photo.png", "--frames", "0"], 2, "not in the range"),
        (["--source", "absent.png"], 2, "absent.png: no such file or folder"),
        (["--source", "*.bmp"], 2, "*.bmp: matches no image"),
        (["--source", "empty"], 2, "empty: the folder holds no image"),
        (["--source", "broken"], 1, "none of 2 images is readable"),
        (["--source", "text.png"], 1, "text.png: not a readable image"),
        (["--source", "text.avi"], 1, "text.avi: neither an image nor a video"),
        (["--camera", "77"], 1, "camera77: not there"),
        (["--source", "photo.png", "--engine", "absent.onnx"], 2, "no such engine file"),
        (["--source", "photo.png", "--engine", "text.avi"], 2, "no backend for .avi files"),
        (["--source", "photo.png", "--engine", "text.trt"], 1, "text.trt.json is missing"),
        (["--source", "photo.png", "--engine", "text.onnx"], 1, "cannot load it"),
        (["--source", "photo.png", "--engine", "other.onnx"], 1, "not an engine of this toolkit"),
        (["--source", "photo.png", "--out", "broken"], 2, "broken: is not empty"),
        (["--source", "photo.png", "--out", "text.avi"], 2, "text.avi: is a file"),
        (["--source", "photo.png", "--mm-per-pixel", "0"], 2, "not in the range"),
        (["--source", "photo.png", "--threshold", "0"], 2, "not in the range"),
        (["--source", "photo.png", "--mm-per-pixel", "nan"], 2, "'nan' is not a finite number"),
        (["--source", "photo.png", "--threshold", "nan"], 2, "'nan' is not a finite number"),
        (["--source", "photo.png", "--min-diameter", "3cm"], 2, "not a length such as"),
        (["--source", "photo.png", "--min-diameter", "0.1mm"], 2, "needs --mm-per-pixel"),
        (
            ["--source", "photo.png", "--max-diameter", "0px"],
            2,
            "--max-diameter is 0",
        ),
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
    os.mkfifo("pipe.png")
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_is_whole(number: signal.Signals, photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for index in range(500):
        os.link(photo, folder / f"{index}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "edge",
         "--source", str(folder), "--engine", "quarter_mrunet", "--out", str(out)],
        stdout=subprocess.DEVNULL,
        # Under nohup, tests and what they start would ignore SIGHUP.
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
    )  # fmt: skip
    while not list(out.glob("masks/*.png")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["reason"]) == ("interrupted", number.name)
    assert summary["frames_expected"] == 500
    frames = summary["frames_processed"]
    assert 1 <= frames < 500
    assert len(list((out / "masks").iterdir())) == frames
    rows = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
    assert len({row["frame"] for row in rows}) == frames


def photos_of(photo: Path, folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        os.link(photo, folder / f"{index:04d}.png")
    return folder


def test_a_second_signal_leaves_the_frame_in_flight(photo: Path, tmp_path: Path) -> None:
    """The frame takes longer than the test may."""
    big, out = tmp_path / "big.png", tmp_path / "out"
    cv2.imwrite(str(big), np.tile(read(photo), (25, 20, 1)))
    process = subprocess.Popen(
        [sys.executable, "-m", "edge", "--source", str(big), "--out", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    while not (out / "masks").is_dir():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    assert process.stderr.readline() == "finishing the frame in flight; Ctrl-C again to leave it\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["frames_processed"]) == ("interrupted", 0)
    assert (out / "particles.csv").exists()


@pytest.mark.parametrize("target", ["closed", "/dev/full"])
def test_results_do_not_depend_on_the_terminal(target: str, photo: Path, tmp_path: Path) -> None:
    folder, out = photos_of(photo, tmp_path / "photos", 3), tmp_path / "out"
    command = [sys.executable, "-m", "edge", "--source", str(folder), "--engine",
               "quarter_mrunet", "--out", str(out)]  # fmt: skip
    if target == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    done = subprocess.run(command, stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames_processed"] == 3


def test_what_is_written_can_be_chosen(photo: Path, tmp_path: Path) -> None:
    folder, out = photos_of(photo, tmp_path / "photos", 9), tmp_path / "out"
    result = invoke("--source", f"folder:{folder}", "--engine", "quarter_mrunet", "--out", out,
                    "--no-masks", "--no-overlays", "--every", 3, "--frames", 2,
                    "--sink", f"jsonl:{tmp_path}/x.jsonl", "--log-json", "--verbose")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "frames.csv", "particles.csv", "particles.jsonl", "summary.json",
    ]  # fmt: skip
    assert (tmp_path / "x.jsonl").read_bytes() == (out / "particles.jsonl").read_bytes()
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert (summary["ended"], summary["frames_expected"]) == ("limit", 2)
    rows = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
    assert {row["frame"] for row in rows} == {0, 3}


def test_a_hostile_name_stays_on_its_line(photo: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    hostile = "x\x1b[31mred\nline.png"
    os.link(photo, folder / hostile)
    (folder / "y\x1b[2J.png").write_bytes(b"no image")
    os.link(photo, os.fsencode(folder) + b"/m\xfcll.png")
    result = invoke("--source", folder, "--engine", "quarter_mrunet", "--out", out)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    assert "\\x1b[2J.png: not a readable image" in result.output
    rows = [json.loads(line) for line in (out / "particles.jsonl").open(encoding="utf-8")]
    names = {row["file"].rpartition("/")[2] for row in rows}
    assert names == {"m\\udcfcll.png", "x\\x1b[31mred\\nline.png"}
    with (out / "frames.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == 4
    assert sorted(path.name for path in (out / "masks").iterdir()) == [
        "000000_m_ll.png", "000001_x_[31mred_line.png",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["edge-run", "train", "export-trt", "bench"])
def test_every_command_tells_its_version(command: str) -> None:
    path = Path(sys.executable).with_name(command)
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{command}, version {edge.__version__}\n"
