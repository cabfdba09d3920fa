import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge.errors import EdgeError
from train import paper
from train.cli import train
from train.crossval import results
from train.data.augment import write_samples
from train.data.folds import Split
from train.data.samples import IGNORED, Sample
from train.data.synth import write_photos
from train.metrics import LABELS
from train.tables import CrossvalTables


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "squares"
    for _ in write_photos(folder, count=10, size=64, seed=4):
        pass
    # Every photo with a particle, whatever was drawn.
    for path in (folder / "masks").iterdir():
        mask = np.zeros((64, 64), np.uint8)
        mask[20:26, 30:36] = 255
        image = cv2.imread(str(folder / "images" / path.name))
        assert image is not None
        image[mask > 0] = 250
        cv2.imwrite(str(path), mask)
        cv2.imwrite(str(folder / "images" / path.name), image)
    return folder


def invoke(*words: object) -> Result:
    return CliRunner().invoke(train, [str(word) for word in words])


def crossval(data: Path, out: Path, *more: object) -> Result:
    return invoke(
        "crossval", "--data", data, "--out", out, "--models", "quarter_mrunet",
        "--epochs", 2, "--crop", 64, "--devices", 1, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds, from the command."""
    out = tmp_path_factory.mktemp("crossval") / "out"
    for fold in (1, 2):
        result = crossval(data, out, "--fold", fold)
        assert result.exit_code == 0, result.output
    return out


def test_a_fold_is_tested_on_the_photos_it_never_saw(finished: Path) -> None:
    split = Split.read(finished / "split.json")
    found = results(finished)
    assert [(r.model, r.fold) for r in found] == [("quarter_mrunet", 1), ("quarter_mrunet", 2)]
    for result in found:
        fold = split.folds[result.fold - 1]
        assert [photo.name for photo in result.at_0_5] == list(fold.test)
        folder = finished / "quarter_mrunet" / f"fold{result.fold}"
        settings = json.loads((folder / "settings.json").read_text())
        assert settings["training"] == list(fold.training)
        assert all(sum(vars(p.pixels).values()) == 64 * 64 for p in result.at_0_5)
        assert all(p.objects.true == 1 for p in result.at_threshold)


def test_what_is_done_is_not_done_again(finished: Path, data: Path) -> None:
    path = finished / "quarter_mrunet/fold1/best.pt"
    before = path.stat().st_mtime_ns
    result = crossval(data, finished, "--fold", 1)
    assert result.exit_code == 0
    assert path.stat().st_mtime_ns == before
    assert "[1/1] quarter_mrunet fold 1: best epoch" in result.output


def test_tables_stand_beside_the_papers(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    result = invoke("tables", out)
    assert result.exit_code == 0, result.output
    for title in ("Table 1. Precision", "Table 2. F1", "Table 3. Recall-weighted"):
        assert title in result.output
    with (out / "tables.csv").open(encoding="utf-8", newline="") as file:
        rows = {(r["score"], r["source"]): r for r in csv.DictReader(file)}
    assert len(rows) == 2 * len(LABELS)
    for index, score in enumerate(LABELS):
        printed = float(rows[score, "paper"]["average"])
        assert printed == paper.AVERAGES["quarter_mrunet"][index]
        ours = rows[score, "ours"]
        assert ours["fold3"] == ""
        folds = [float(ours["fold1"]), float(ours["fold2"])]
        assert float(ours["average"]) == pytest.approx(np.mean(folds), abs=1e-4)
        assert float(ours["low_95"]) <= float(ours["average"]) <= float(ours["high_95"])
    assert "| Quarter MultiResUNet | precision | ours" in (out / "tables.md").read_text()
    chart = cv2.imread(str(out / "tables.png"))
    assert chart is not None
    assert chart.shape[1] > 1000


def test_folds_by_crop_and_a_split_given_back(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "by_crop"
    result = crossval(data, out, "--fold", 1, "--split", "crop", "--crop", 32, "--epochs", 1,
                      "--batch", 16)  # fmt: skip
    assert result.exit_code == 0, result.output
    split = Split.read(out / "split.json")
    assert split.by == "crop"
    assert all("@" in name for name in split.folds[0].test)
    # Crops of one photo lie in several parts: that is what this split is about.
    photos = [{name.partition("@")[0] for name in part}
              for part in (split.folds[0].training, split.folds[0].test)]  # fmt: skip
    assert photos[0] & photos[1]
    again = tmp_path / "again"
    result = crossval(data, again, "--fold", 2, "--split", out / "split.json", "--crop", 32,
                      "--epochs", 1, "--batch", 16)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert Split.read(again / "split.json") == split


def test_evaluate_scores_a_checkpoint(finished: Path, data: Path) -> None:
    checkpoint = finished / "quarter_mrunet/fold1/best.pt"
    result = invoke("evaluate", checkpoint, "--data", data)
    assert result.exit_code == 0, result.output
    assert "10 photos" in result.output
    assert all(label in result.output for label in LABELS.values())
    assert "of 10" in result.output


def test_samples_are_drawn(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    assert invoke("samples", data, "--out", path, "--crop", 64).exit_code == 0
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (3 * 68, 6 * 68, 3)
    doubtful = Sample(
        "doubtful", np.zeros((64, 64, 3), np.uint8), np.full((64, 64), IGNORED, np.uint8)
    )
    with pytest.raises(EdgeError, match="no photo has a particle"):
        write_samples([doubtful], path, crop=64, seed=0)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["crossval", "--models", "resnet"], 2, "resnet: neither a .json"),
        (["crossval", "--split", "day"], 2, "day: must be photo, crop, or a split.json"),
        (["crossval", "--split", "notes.json"], 1, "notes.json: not a split"),
        (["crossval", "--crop", "100"], 1, "100 px is not a multiple of 16"),
        (["crossval", "--data", "few"], 1, "3 photo(s) cannot make 5 folds"),
        (["crossval", "--out", "full"], 2, "full: is not empty"),
        (["fit", "--model", "resnet"], 2, "resnet: neither a .json"),
        (["fit", "--model", "unet", "--data", "empty"], 1, "holds no images"),
        (["fit", "--model", "unet", "--data", "one"], 1, "there is one photo only"),
        (["fit", "--model", "unet", "--data", "clean", "--crop", "64"], 1, "nothing to tell apart"),
        (["fit", "--model", "unet", "--data", "size"], 1, "is 60x64 px, its photo 64x64"),
        (["fit", "--model", "unet", "--data", "grey"], 1, "holds grey value 7"),
        (["fit", "--model", "unet", "--data", "cut"], 1, "not a readable"),
        (["samples", "clean"], 1, "no photo has a particle"),
        (["tables", "empty"], 2, "holds no finished fold"),
        (["evaluate", "notes.json", "--data", "DATA"], 1, "not a checkpoint that is safe to load"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str], code: int, message: str, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("notes.json").write_text("{}")
    for name in ("full", "empty/images", "empty/masks"):
        Path(name).mkdir(parents=True)
    Path("full/notes.txt").write_text("mine")
    for name in ("few", "one", "clean", "size", "grey", "cut"):
        shutil.copytree(data, name)
    for name, kept in (("few", 3), ("one", 1)):
        for path in [*Path(name).rglob("*.png")]:
            if int(path.stem[-2:]) >= kept:
                path.unlink()
    for path in Path("clean/masks").iterdir():
        cv2.imwrite(str(path), np.zeros((64, 64), np.uint8))
    cv2.imwrite("size/masks/synth_00003.png", np.zeros((64, 60), np.uint8))
    cv2.imwrite("grey/masks/synth_00003.png", np.full((64, 64), 7, np.uint8))
    broken = Path("cut/images/synth_00003.png")
    broken.write_bytes(broken.read_bytes()[:400])
    if words[0] in ("fit", "crossval"):
        for option, value in (("--data", str(data)), ("--out", "run")):
            words = words if option in words else [*words, option, value]
        words = [*words, "--epochs", "1"]
    result = invoke(*(str(data) if word == "DATA" else word for word in words))
    assert result.exit_code == code, result.output
    assert message in result.output
    assert result.output.count("Error: ") == 1
    assert "Traceback" not in result.output


def test_the_report_holds_the_tables_and_evaluates_a_fold_on_its_test_photos(
    finished: Path, tmp_path: Path
) -> None:
    fold = finished / "quarter_mrunet/fold1"
    done = invoke("report", finished, fold, "--out", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text("utf-8")
    for row in CrossvalTables(results(finished)).rows(tuple(LABELS)):
        assert f"<td>{row.average:.4f}</td>" in page
    (first, _) = results(finished)
    objects = [photo.objects for photo in first.at_threshold]
    counts = f"{sum(o.tp for o in objects)}, {sum(o.fp for o in objects)}"
    # The folds of the comparison, of which it evaluates none, then the fold of its own.
    assert f"<td>TP, FP, FN ≠</td><td>-</td><td>-</td><td>{counts}, " in page
    assert "2 photos of squares that it was tested on" in page
