"""Labels of other tools. The files in `exports` were written by these libraries:

cvat.xml (but its <mask>, packed by cvat-sdk 2.80), coco.json, voc   Datumaro 1.13
label_studio.json: its brush   label-studio-converter 0.0.59
labelme   LabelMe 6.3    yolo   supervision 0.31    imagej   tifffile 2026.3 (imagej=True)

via.json and the tasks around the brush follow the published descriptions. All say the same of
photos of 48x32 px: a.jpg has two plastics of 4x4 and 3x4 px that touch, and a stone of 4x5 px;
b.jpg is labelled, and has nothing.
"""

import csv
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from train.cli import train
from train.data.samples import find_samples

EXPORTS = Path(__file__).parent / "exports"
PHOTOS = EXPORTS / "photos"


def expected() -> np.ndarray:
    objects = np.zeros((32, 48), np.uint8)
    objects[4:8, 6:10], objects[4:8, 10:13], objects[20:25, 30:34] = 1, 2, 3
    return objects


def run(*arguments: object) -> Result:
    return CliRunner().invoke(train, ["import", *map(str, arguments)])


def export(name: str, tmp_path: Path) -> tuple[Path, list[object]]:
    """A copy of an export as its tool leaves it, and the option that names its photos."""
    source = tmp_path / name
    place = {"voc": "JPEGImages", "yolo": "images/train", "imagej": "."}.get(name)
    if not (EXPORTS / name).is_dir():
        shutil.copy(EXPORTS / name, source)
    else:
        shutil.copytree(EXPORTS / name, source)
    if place is None:
        return source, ["--images", PHOTOS]
    shutil.copytree(PHOTOS, source / place, dirs_exist_ok=True)
    return source, []


@pytest.mark.parametrize(
    "name",
    ["cvat.xml", "label_studio.json", "labelme", "via.json", "coco.json", "voc", "yolo", "imagej"],
)
def test_each_tool_gives_the_same_objects(name: str, tmp_path: Path) -> None:
    source, images = export(name, tmp_path)
    data = tmp_path / "data"
    result = run(source, data, *images)
    assert result.exit_code == 0, result.output
    a, *others = (paths.load() for paths in find_samples(data))
    assert a.name == "a"
    objects = a.labels if a.objects is not None else cv2.connectedComponents(a.labels)[1]
    sizes = sorted(np.bincount(objects.ravel())[1:])
    if name == "yolo":  # OpenCV's contours, as supervision writes them, run through pixels' centres
        assert sizes == [6, 9, 12]
    else:
        assert sizes == [12, 16, 20]
        assert np.array_equal(a.mask, expected() > 0)
    if name in ("voc", "imagej"):  # an empty mask is not written
        assert "b.jpg: has no labels" in result.output
        assert not others
    else:
        assert [(b.name, b.mask.any()) for b in others] == [("b", False)]
    if name in ("cvat.xml", "label_studio.json", "labelme", "via.json"):
        assert "a.jpg: a box has no outline; draw polygons" in result.output
    if name == "label_studio.json":
        assert "c.jpg: is not labelled yet" in result.output
    if name == "imagej":
        return
    assert "all classes count as particle: plastic, stone; --classes chooses" in result.output
    chosen = tmp_path / "chosen"
    result = run(source, chosen, *images, "--classes", "plastic")
    assert "1 labels of classes that were not chosen" in result.output
    assert not find_samples(chosen)[0].load().mask[10:].any()
    result = run(source, tmp_path / "no", *images, "--classes", "glass")
    assert result.exit_code == 1
    assert "has no class glass; its classes are plastic, stone" in result.output
    assert not (tmp_path / "no").exists()


def test_photos_are_linked_or_copied_and_a_full_folder_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(EXPORTS / "via.json", data, "--images", PHOTOS).exit_code == 0
    assert (data / "images/a.jpg").is_symlink()
    result = run(EXPORTS / "via.json", data, "--images", PHOTOS)
    assert (result.exit_code, "is not empty" in result.output) == (2, True)
    assert run(EXPORTS / "via.json", tmp_path / "c", "--images", PHOTOS, "--copy").exit_code == 0
    copied = tmp_path / "c/images/a.jpg"
    assert not copied.is_symlink()
    assert copied.read_bytes() == (PHOTOS / "a.jpg").read_bytes()


def test_the_current_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(EXPORTS / "via.json", ".", "--images", PHOTOS)
    assert (result.exit_code, "is the current folder" in result.output) == (2, True)


def test_names_with_brackets_find_their_masks(tmp_path: Path) -> None:
    source, _ = export("voc", tmp_path)
    for path in sorted(source.rglob("a.*")):
        path.rename(path.with_name(f"a[1]{path.suffix}"))
    result = run(source, tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "data/masks/a[1].png").is_file()


def test_text_that_is_no_table_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x,y\n" + "a" * 200_000)
    result = run(tmp_path / "x.txt", tmp_path / "data")
    assert (result.exit_code, "no labels of a known kind" in result.output) == (2, True)


def test_points_become_a_table(tmp_path: Path) -> None:
    data = tmp_path / "data"
    result = run(EXPORTS / "label_studio_points.json", data, "--images", PHOTOS)
    assert "points      2 (2 plastic)" in result.output
    rows = list(csv.reader((data / "points.csv").open()))
    # The corner of a pixel is half a pixel from its centre.
    assert rows == [
        ["file", "x", "y", "ignore"], ["a.jpg", "7.5", "5.5", "0"], ["a.jpg", "31.5", "22", "0"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "file,x,y\na.jpg,7.5,5.5\na.jpg,31.5,22\n",
        " ,Label,X,Y\n1,a.jpg,7.5,5.5\n2,a.jpg,31.5,22\n",  # ImageJ's table of results
        "x\ty\tclass\n7.5\t5.5\tplastic\n31.5\t22\tplastic\n",  # QuPath's points
        "7.5\t5.5\n31.5\t22\n",  # ImageJ's XY coordinates
    ],
)
def test_lists_of_points_are_taken_as_they_are(text: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(PHOTOS, source)
    (source / "a.csv").write_text(text)
    result = run(source, tmp_path / "data")
    assert result.exit_code == 0, result.output
    rows = list(csv.reader((tmp_path / "data/points.csv").open()))[1:]
    assert [row[:3] for row in rows] == [["a.jpg", "7.5", "5.5"], ["a.jpg", "31.5", "22"]]


def test_labels_of_pixels_as_stored_are_turned_with_the_photo(tmp_path: Path) -> None:
    """A phone held upright: 48x32 px are stored, 32x48 px are shown."""
    photos = tmp_path / "photos"
    shutil.copytree(PHOTOS, photos)
    jpeg = (photos / "a.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (photos / "a.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    )
    assert run(EXPORTS / "cvat.xml", tmp_path / "data", "--images", photos).exit_code == 0
    sample = find_samples(tmp_path / "data")[0].load()
    assert sample.image.shape == (48, 32, 3)
    assert np.array_equal(sample.mask, np.rot90(expected() > 0, -1))
    # So is a mask drawn on stored pixels.
    (tmp_path / "own/images").mkdir(parents=True)
    (tmp_path / "own/masks").mkdir()
    shutil.copy(photos / "a.jpg", tmp_path / "own/images")
    cv2.imwrite(str(tmp_path / "own/masks/a.png"), (expected() > 0).astype(np.uint8) * 255)
    assert np.array_equal(find_samples(tmp_path / "own")[0].load().mask, sample.mask)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.zip", "", "is an archive; unpack it"),
        ("x.json", "{}", "holds no labels of a known kind (CVAT for images"),
        ("x.json", '[{"id": 1, "image": "a.jpg", "annotator": 1}]', "export as JSON"),
        ("x.xml", "<annotations><track/></annotations>", "is of a video"),
        ("x.xml", "<annotations><image", "not XML"),
        ("x.json", '{"images": [], "annotations": []}', "no photo with labels could be read"),
        ("x.json", '[{"data": 3}]', "read as Label Studio, but is not what that is"),
        ("x.json", '{"shapes": 3, "imagePath": "a.jpg"}', "read as LabelMe, but is not"),
    ],
)
def test_what_is_no_export_is_one_sentence(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    result = run(tmp_path / name, tmp_path / "data")
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert len(result.output.splitlines()) == 1
