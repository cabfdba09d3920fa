from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge.errors import EdgeError
from edge.particles import ParticleFilter
from tests.conftest import write_rgb
from train.checkpoint import load
from train.cli import train as cli
from train.data.points import PointLabels
from train.data.samples import IGNORED, Sample
from train.metrics import ObjectCounts
from train.precision_recall import THRESHOLDS_U8, Curve, evaluate_masks, evaluate_points


def maps_and_labels() -> tuple[list[np.ndarray], list[PointLabels]]:
    """Two photos: particles of probability 250, 100 and 20, and false ones of 60 and 20."""
    maps = [np.zeros((50, 100), np.uint8), np.zeros((50, 100), np.uint8)]
    maps[0][10:13, 10:13] = 250
    maps[0][10:13, 40:43] = 100
    maps[0][30:33, 70:73] = 60
    maps[1][20:23, 20:23] = 20
    maps[1][40:43, 80:83] = 20
    none = np.empty((0, 2))
    labels = [
        PointLabels(np.array([[11.0, 12.0], [40.0, 10.0]]), none),
        PointLabels(np.array([[21.0, 21.0]]), none),
    ]
    return maps, labels


def curve() -> Curve:
    maps, labels = maps_and_labels()
    return evaluate_points(iter(maps), labels, 3, ParticleFilter(90 / 255))


def test_counts_of_each_threshold() -> None:
    rows = {row.threshold_u8: row for row in curve().rows}
    assert list(rows) == sorted({*THRESHOLDS_U8, 90})
    assert rows[20].total == ObjectCounts(tp=3, fp=2, fn=0)
    assert rows[50].total == ObjectCounts(tp=2, fp=1, fn=1)
    assert rows[250].counts == (ObjectCounts(1, 0, 1), ObjectCounts(0, 0, 1))
    assert rows[255].total == ObjectCounts(tp=0, fp=0, fn=3)
    assert rows[20].fp_per_photo == 1
    assert rows[20].fp_per_megapixel == pytest.approx(2 / 0.01)
    assert rows[50].precision == rows[50].recall == pytest.approx(2 / 3)
    low, high = rows[250].interval(ObjectCounts.recall)
    assert low == 0  # where the second photo is drawn twice
    assert high == 0.5


def test_the_highest_threshold_of_a_recall() -> None:
    assert curve().at_recall(0.6).threshold_u8 == 96
    assert curve().at_recall(1.0).threshold_u8 == 20
    maps, labels = maps_and_labels()
    maps[1][:] = 0
    with pytest.raises(
        EdgeError, match=r"no threshold reaches a recall of 0\.9; the best is 0\.66"
    ):
        evaluate_points(maps, labels, 3, ParticleFilter(0.5)).at_recall(0.9)


def test_masks_are_matched_by_overlap() -> None:
    maps, _ = maps_and_labels()
    photos = [Sample("", np.zeros((*m.shape, 3), np.uint8), np.zeros_like(m)) for m in maps]
    photos[0].mask[12, 12] = photos[1].mask[17, 21] = 1
    for tolerance, tp in ((0, 1), (3, 2)):
        row = evaluate_masks(maps, photos, tolerance, ParticleFilter(20 / 255)).operating_row
        assert row.total == ObjectCounts(tp=tp, fp=5 - tp, fn=2 - tp)
    # Of the five detections, those that reach a doubtful pixel count neither way.
    photos[0].mask[photos[0].mask == 0] = IGNORED
    row = evaluate_masks(maps, photos, 3, ParticleFilter(20 / 255)).operating_row
    alone = evaluate_masks(maps[1:], photos[1:], 3, ParticleFilter(20 / 255)).operating_row
    assert row.total.fp == alone.total.fp < 3


def test_the_table_and_the_plot(tmp_path: Path) -> None:
    lines = curve().describe().splitlines()
    assert lines[0].split() == [
        "threshold",
        "recall",
        "precision",
        "F1",
        "FP/photo",
        "FP/megapixel",
    ]
    assert [line.split()[1:4] for line in lines if "*" in line] == [["0.6667", "1.0000", "0.8000"]]
    assert "recall      0.6667 (" in curve().operating_row.describe()
    curve().plot(tmp_path / "curve.png")
    assert cv2.imread(str(tmp_path / "curve.png")).std() > 0


def test_points_evaluate_a_checkpoint_and_an_engine(
    checkpoint_path: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    image = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    write_rgb(tmp_path / "photos/a.png", image)
    points = tmp_path / "points.csv"
    points.write_text("file,x,y\na.png,50,60\n")
    for source in (str(checkpoint_path), "quarter_mrunet"):
        command = ["evaluate", source, "--data", str(tmp_path / "photos"), "--points", str(points),
                   "--curve", str(tmp_path / "curve.png"), "--threshold", "0.5",
                   "--min-diameter", "1"]  # fmt: skip
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output
        assert "objects at threshold 0.502: " in done.output
        assert "0.5020*" in done.output
        assert (tmp_path / "curve.png").is_file()
    saved = str(tmp_path / "tuned.pt")
    done = CliRunner().invoke(cli, [*command, "--save", saved])
    assert done.exit_code == 2
    assert "--save takes a .pt" in done.output
    command[1] = str(checkpoint_path)
    assert CliRunner().invoke(cli, [*command, "--save", saved]).exit_code == 0
    assert (load(Path(saved)).threshold, load(Path(saved)).min_diameter_px) == (0.5, 1)
    done = CliRunner().invoke(cli, [*command, "--max-diameter", "0.5"])
    assert done.exit_code == 2
    assert "--min-diameter is larger" in done.output


def test_masks_evaluate_an_engine(rendered_data: Path) -> None:
    command = ["evaluate", "quarter_mrunet", "--data", str(rendered_data), "--recall", "0.5"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "sigmoid > 0.5" not in done.output  # an engine has no plain sigmoid
    assert "r.w. F1" in done.output
    assert "reaches a recall of" in done.output
