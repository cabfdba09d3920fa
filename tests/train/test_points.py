import json
from pathlib import Path

import numpy as np
import pytest

from edge.errors import BadArgumentError, EdgeError
from tests.conftest import write_rgb
from train.data.points import point_samples, read_points


def test_points_of_a_csv_by_file(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("file,x,y,ignore\na.png,1.5,2,0\na.png,3,4,1\nb.png,5,6,\n")
    found = read_points(path)
    assert found["a.png"].points.tolist() == [[1.5, 2]]
    assert found["a.png"].ignored.tolist() == [[3, 4]]
    assert found["b.png"].points.tolist() == [[5, 6]]
    path.write_text("y,x,file\n2,1,a.png\n")  # in any order, ignore left out
    assert read_points(path)["a.png"].points.tolist() == [[1, 2]]


def test_points_of_coco_keypoints(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    keypoints = [1, 2, 2, 3, 4, 1, 0, 0, 0]
    annotations = [
        {"id": 1, "image_id": 7, "keypoints": keypoints},
        {"id": 2, "image_id": 7, "keypoints": [9, 9, 2], "iscrowd": 1},
    ]
    images = [{"id": 7, "file_name": "images/a.png", "height": 10, "width": 10}]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    found = read_points(path)["images/a.png"]
    assert found.points.tolist() == [[1, 2]]
    assert found.ignored.tolist() == [[3, 4], [9, 9]]
    annotations[0]["keypoints"] = [1, 2]
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    with pytest.raises(
        EdgeError, match=r"points\.json: images/a\.png, annotation 1 has no keypoints"
    ):
        read_points(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'file'"),
        ("file,x\na.png,1\n", "no column 'y'"),
        ("file,x,y\na.png,1,2\na.png,one,2\n", "line 3: x is 'one'; it must be a number"),
        ("file,x,y\na.png,1\n", "line 2: y is None"),
        ("file,x,y\na.png,1,nan\n", "line 2: y is 'nan'"),
        ("file,x,y\na.png,-1,2\n", "line 2: x is '-1'; pixels are counted from 0"),
        ("file,x,y,ignore\na.png,1,2,maybe\n", "line 2: ignore is 'maybe'; it must be 0 or 1"),
        ("file,x,y\n,1,2\n", "line 2: names no file"),
    ],
)
def test_a_broken_csv_is_told_by_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(EdgeError, match=words):
        read_points(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadArgumentError, match="no such file"):
        read_points(tmp_path / "points.csv")
    (tmp_path / "points.txt").write_text("file,x,y\n")
    with pytest.raises(BadArgumentError, match=r"\.csv or COCO \.json"):
        read_points(tmp_path / "points.txt")


@pytest.mark.parametrize("inner", ["", "images"])
def test_a_photo_without_points_has_no_particle(inner: str, tmp_path: Path) -> None:
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        write_rgb(folder / name, np.zeros((20, 30, 3), np.uint8))
    path = tmp_path / "points.csv"
    path.write_text("file,x,y\na.png,29,19\n")
    a, b = point_samples(tmp_path, read_points(path))
    assert (a.name, a.image.shape, a.labels.points.tolist()) == ("a.png", (20, 30, 3), [[29, 19]])
    assert len(b.labels.points) == len(b.labels.ignored) == 0
    path.write_text("file,x,y\na.png,19,29\n")
    with pytest.raises(EdgeError, match=r"point \(19, 29\) is outside of the photo.* 30x20 px"):
        point_samples(tmp_path, read_points(path))
    path.write_text("file,x,y\nc.png,1,1\n")
    with pytest.raises(EdgeError, match=r"c\.png: has points but is not in"):
        point_samples(tmp_path, read_points(path))
