"""Sinks of annotations: what labelling tools get to correct."""

import json
from pathlib import Path

import cv2
import endless
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

import edge
from edge.errors import BadArgumentError
from edge.frame import Frame
from edge.particles import ParticleFilter
from edge.result import Result
from edge.sinks.annotations import LabelStudioSink
from edge.visualisation import write_image


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def photos(*names: str) -> None:
    """Scenes with particles of these names, and plain.png without any."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        write_image(Path(name), endless.image()[..., ::-1])
    write_image(Path(names[0]).with_name("plain.png"), np.full((40, 60, 3), 90, np.uint8))


def run(source: str, *uris: str) -> list[Result]:
    sinks = [edge.open_sink(uri) for uri in uris]
    return list(edge.run(source, "quarter_mrunet", sinks=sinks))


def filled(outline: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """The pixels whose centres lie inside."""
    codes = coco_mask.frPyObjects([outline.ravel().tolist()], height, width)
    return np.asarray(coco_mask.decode(codes)[..., 0], np.uint8)


def test_one_coco_file_holds_every_photo_and_particle() -> None:
    photos("photos/a.png", "photos/day 2/b.png")
    results = run("photos/**/*.png", "coco:found.json")
    coco = json.loads(Path("found.json").read_text(encoding="utf-8"))
    assert [image["file_name"] for image in coco["images"]] == ["a.png", "day 2/b.png", "plain.png"]
    assert coco["categories"] == [{"id": 1, "name": "particle"}]
    annotations = coco["annotations"]
    ids = [annotation["id"] for annotation in annotations]
    assert len(ids) == len(set(ids)) == sum(len(one.particles) for one in results) > 4
    for image, result in zip(coco["images"], results, strict=True):
        own = [one for one in annotations if one["image_id"] == image["id"]]
        assert [one["score"] for one in own] == [p.mean_probability for p in result.particles]
        together = np.zeros(result.mask.shape, np.uint8)
        for one in own:
            code = coco_mask.frPyObjects(one["segmentation"], image["height"], image["width"])
            together |= coco_mask.decode(code)
        assert (together * 255 == result.mask).all()
    assert annotations[-1]["image_id"] != coco["images"][-1]["id"], "the plain photo has none"
    assert sorted(path.name for path in Path().iterdir()) == ["found.json", "photos"]


def test_polygons_of_label_studio_cover_the_same_pixels() -> None:
    photos("photos/a b.png")
    first, plain = run("photos", "labelstudio:tasks.json")
    tasks = json.loads(Path("tasks.json").read_text(encoding="utf-8"))
    assert tasks[0]["data"] == {"image": "/data/local-files/?d=photos/a%20b.png"}
    (prediction,) = tasks[0]["predictions"]
    assert prediction["model_version"] == "quarter_mrunet"
    height, width = first.mask.shape
    together = np.zeros(first.mask.shape, np.uint8)
    for region, particle in zip(prediction["result"], first.particles, strict=True):
        assert (region["original_width"], region["original_height"]) == (width, height)
        assert region["score"] == particle.mean_probability
        outline = np.array(region["value"]["points"]) * [width, height] / 100
        together |= filled(np.round(outline, 2), height, width)
    assert (together * 255 == first.mask).all()
    assert not plain.particles
    assert tasks[1]["predictions"][0]["result"] == []


def test_an_outline_follows_the_pixels_of_any_shape() -> None:
    """Specks of random pixels, diagonal neighbours and notches included."""
    random = np.random.default_rng(4)
    probability = np.zeros((60, 80), np.uint8)
    for top in range(2, 50, 12):
        for left in range(2, 70, 12):
            probability[top : top + 5, left : left + 5] = 255 * (random.random((5, 5)) < 0.6)
    photos("a.png")
    result = Result.of(
        Frame(np.zeros((60, 80, 3), np.uint8), 0, "a.png", None), probability, ParticleFilter(0.5)
    )
    task = LabelStudioSink(Path("tasks.json"))._entry(result)
    drawn = np.zeros((60, 80), np.uint8)
    for region in task["predictions"][0]["result"]:
        outline = np.array(region["value"]["points"]) * [80, 60] / 100
        drawn |= filled(np.round(outline, 2), 60, 80)
    extra = (drawn > 0) & (result.mask == 0)
    assert (drawn[result.mask > 0] == 1).all(), "no pixel is lost"
    # What is more is holes: no background pixel outside is reached.
    outside = np.pad(result.mask == 0, 1, constant_values=True).astype(np.uint8)
    labels = cv2.connectedComponents(outside, connectivity=4)[1][1:-1, 1:-1]
    assert not extra[labels == 1].any()


@pytest.mark.parametrize("kind", ["coco", "labelstudio"])
def test_what_has_no_end_or_no_files_is_refused(kind: str) -> None:
    with pytest.raises(BadArgumentError, match="show image files, and endless has none"):
        endless.run(1, f"{kind}:found.json")
    assert not list(Path().iterdir())


def test_an_interrupted_run_leaves_a_whole_file() -> None:
    photos("photos/a.png", "photos/b.png", "photos/c.png")
    with edge.run("photos", "quarter_mrunet", sinks=[edge.open_sink("coco:found.json")]) as begun:
        next(begun)
        assert list(Path().glob("found.json")) == []
        begun.stop()
        seen = 1 + len(list(begun))
    assert len(json.loads(Path("found.json").read_text())["images"]) == seen
    Path("other.json.lines.part").touch()
    with pytest.raises(BadArgumentError, match="is of a run that was killed"):
        edge.open_sink("coco:other.json")
