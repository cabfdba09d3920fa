import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from train.cli import train as cli
from train.sirst import SirstCounts, SirstScores


def masks() -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = np.zeros((2, 40, 100), np.uint8)
    return predicted, truth


def test_pixels_and_targets_by_hand() -> None:
    predicted, truth = masks()
    truth[10:13, 10:13] = 1
    predicted[10:13, 11:14] = 255  # found: its centroid is 1 px off, 6 pixels overlap
    truth[10:12, 50:52] = 1  # missed
    predicted[30:32, 80:85] = 255  # false, 10 pixels
    counts = SirstCounts.of(predicted, truth)
    assert counts == SirstCounts(
        intersection=6, union=12 + 4 + 10, targets=2, found=1, false_pixels=10, pixels=4000
    )
    assert counts.iou() == 6 / 26
    assert counts.pd() == 0.5
    assert counts.fa() == 2500


def test_a_centroid_counts_when_nearer_than_three_px() -> None:
    for shift, found in ((2, 1), (3, 0)):
        predicted, truth = masks()
        truth[20, 20] = 1
        predicted[20, 20 + shift] = 255
        assert SirstCounts.of(predicted, truth).found == found
    # Overlap is not enough: a long object has its centroid elsewhere, and all of it is false.
    predicted[20, 20:40] = 255
    counts = SirstCounts.of(predicted, truth)
    assert (counts.intersection, counts.found, counts.false_pixels) == (1, 0, 20)


def test_an_object_finds_one_target_and_diagonal_pixels_are_one_object() -> None:
    predicted, truth = masks()
    truth[20, 20] = truth[20, 22] = 1
    predicted[20, 21] = predicted[21, 22] = 255
    assert SirstCounts.of(predicted, truth).found == 1
    predicted[16, 20] = 255  # too far from both
    counts = SirstCounts.of(predicted, truth)
    assert (counts.targets, counts.found, counts.false_pixels) == (2, 1, 1)


def test_scores_are_of_the_totals() -> None:
    photos = [SirstCounts(10, 20, 2, 2, 0, 1000), SirstCounts(0, 20, 2, 1, 3, 1000)]
    scores = SirstScores.of(0.5, photos)
    assert scores.scores == {"iou": 0.25, "pd": 0.75, "fa_per_million": 1500}
    assert scores.intervals["iou"] == pytest.approx((0, 0.5))
    empty = SirstCounts.of(*masks())
    assert (empty.iou(), empty.pd(), empty.fa()) == (0, 0, 0)


def test_the_protocol_trains_resumes_and_scores_a_checkpoint(
    rendered_data: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(rendered_data, data)
    command = ["sirst", str(data), "--model", "quarter_mrunet", "--epochs", "1", "--crop", "64",
               "--out", str(out)]  # fmt: skip
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1
    assert "train_v1.txt: no such file" in done.output
    for name in ("train_v1.txt", "val_v1.txt"):
        (data / name).write_text("\n")
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1
    assert "train_v1.txt: names no photo" in done.output
    names = [path.stem for path in sorted((data / "images").iterdir())]
    (data / "train_v1.txt").write_text("\n".join(names[:8]))
    (data / "val_v1.txt").write_text("\n".join(names[8:]))
    outputs = []
    for _ in range(2):  # the second time only scores
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        outputs.append(done.output.splitlines()[-4:])
    assert outputs[0] == outputs[1]
    result = json.loads((out / "result.json").read_text())
    assert result["photos"] == 2
    assert set(result["at_0_5"]["scores"]) == {"iou", "pd", "fa_per_million"}
    assert result["at_best_iou"]["scores"]["iou"] >= result["at_0_5"]["scores"]["iou"]
    settings = json.loads((out / "settings.json").read_text())
    assert settings["training"] == names[:8]
    assert settings["recipe"]["key"] == "strong"
    best = ["sirst", str(data), "--checkpoint", str(out / "best.pt"), "--out", str(tmp_path / "b")]
    done = CliRunner().invoke(cli, best)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "b/result.json").read_text()) == result
    done = CliRunner().invoke(cli, [*best, "--model", "unet"])
    assert done.exit_code == 2
    assert "either --model or --checkpoint" in done.output
