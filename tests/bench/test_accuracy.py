"""bench accuracy on made-up photos."""

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bench import real_sets, scores
from bench.cli import bench
from bench.detectors import Found, find, find_by_fold, opened
from bench.filters import Filter
from bench.objects import TrueObjects, TruePoints, most_matches
from bench.real_sets import Window, shrunk, whole
from bench.scores import clean_rates, clean_row, counts_at, object_rows, pixel_rows
from edge.errors import EdgeError
from edge.particles import ParticleFilter
from train.data.folds import split
from train.data.points import PointLabels
from train.data.samples import Sample
from train.data.synth import Scene, scene, write_photos
from train.metrics import ObjectCounts
from train.models.registry import MODELS


def dots(*centres: tuple[int, int], side: int = 40, radius: int = 1) -> np.ndarray:
    """A mask of 0 and 255 with discs at (x, y)."""
    mask = np.zeros((side, side), np.uint8)
    for centre in centres:
        cv2.circle(mask, centre, radius, 255, -1)
    return mask


def outcome(counts: ObjectCounts) -> tuple[int, int, int]:
    return counts.tp, counts.fp, counts.fn


def test_objects_match_one_to_one() -> None:
    true = TrueObjects(dots((5, 5), (20, 20), (30, 5)), tolerance=3)
    assert outcome(true.counts(dots((5, 5), (20, 24), (30, 30)))) == (2, 1, 1)
    assert outcome(true.counts(dots((20, 26)))) == (0, 1, 3)  # 4 px between their edges
    # Marking everything is one object, which matches one.
    assert outcome(true.counts(np.full((40, 40), 255, np.uint8))) == (1, 0, 2)
    assert outcome(true.counts(dots())) == (0, 0, 3)
    assert outcome(TrueObjects(dots(), 3).counts(dots((5, 5)))) == (0, 1, 0)


def test_a_largest_matching_is_found() -> None:
    assert most_matches({1: [10, 11], 2: [10], 3: [11, 12], 4: [12]}) == 3
    assert most_matches({}) == 0


def test_what_a_patch_cuts_through_counts_neither_way() -> None:
    labels = PointLabels.of([(20, 20), (4, 30)], [(30, 30)])
    true = TruePoints(labels, 3)
    assert outcome(true.counts(dots((20, 22), (30, 31)))) == (1, 0, 1)
    assert outcome(true.counts(dots((20, 1), (38, 38), (2, 30)))) == (1, 0, 1)
    assert outcome(true.counts(dots((20, 4), (10, 10)))) == (0, 2, 2)
    assert outcome(TruePoints(PointLabels.of([], []), 3).counts(dots((9, 9)))) == (0, 1, 0)


def test_false_positives_are_counted_exactly() -> None:
    first, second = np.zeros((100, 100), np.uint8), np.zeros((50, 200), np.uint8)
    first[5, 5] = first[6, 6] = 200  # touch at a corner: one object
    first[50:60, 50:60] = 90
    second[20, 20:30] = 140
    windows = [whole("a", np.zeros((*map_.shape, 3), np.uint8)) for map_ in (first, second)]
    found = Found("x", [first, second], [])
    row = clean_row(found, windows, "shipped", ParticleFilter(100 / 255))
    assert (row.false_positives, row.megapixels) == (2, 0.02)
    assert row.per_megapixel.value == row.per_megapixel.low == row.per_megapixel.high == 100
    expected = {90: 150, 91: 100, 140: 100, 141: 50, 201: 0}
    filters = [ParticleFilter(level / 255) for level in expected]
    rates = clean_rates(found, windows, [*filters, ParticleFilter(90 / 255, 4.0)])
    assert list(rates.values()) == [*expected.values(), 50]


def test_rows_at_the_shipped_and_the_best_threshold() -> None:
    mask = dots((5, 5), (20, 20))
    map_ = np.where(mask > 0, 150, 0).astype(np.uint8)
    map_[35, 35] = 100
    counters = [TrueObjects(mask, 0).counts] * 2
    found = Found("x", [map_, map_], [ParticleFilter(80 / 255), ParticleFilter(160 / 255)])
    shipped, best = object_rows("s", found, counts_at(found, counters))
    assert (shipped.threshold_u8, shipped.tp, shipped.fp, shipped.fn) == (None, 2, 1, 2)
    assert (shipped.recall.value, shipped.recall.low, shipped.recall.high) == (0.5, 0, 1)
    assert (best.choice, best.tp, best.fp, best.f1.value) == ("best here", 4, 0, 1)
    shipped_pixels, best_pixels = pixel_rows("s", found, [mask // 255] * 2)
    assert shipped_pixels.recall.value == 0.5
    assert (best_pixels.threshold_u8, best_pixels.rw_f1.value) == (101, 1)


def test_small_objects_do_not_count() -> None:
    mask, map_ = np.zeros((2, 40, 40), np.uint8)
    cv2.circle(mask, (10, 10), 2, 255, -1)
    map_[mask > 0] = 100
    map_[30, 30] = 200
    counters = [TrueObjects(mask, 0).counts]
    found = Found("x", [map_], [ParticleFilter(100 / 255, 2.0)])
    objects = counts_at(found, counters)
    shipped, best = object_rows("s", found, objects)
    assert (shipped.min_diameter_px, shipped.tp, shipped.fp) == (2, 1, 0)
    # Of the diameters that are tried without being asked for, one is larger than the speck.
    assert (best.min_diameter_px, best.f1.value) == (3, 1)
    (shipped_pixels, _) = pixel_rows("s", found, [mask // 255])
    assert shipped_pixels.precision.value == 1


def test_shrinking_takes_a_pixel_for_particle_from_half_cover() -> None:
    mask = np.zeros((13, 19), np.uint8)
    mask[:6, :3] = mask[6:12, 6:8] = 1  # half and a third of a square
    image = np.repeat(mask[..., None] * np.uint8(200), 3, axis=2)
    small = shrunk(Sample("x", image, mask), 6)
    assert small.mask.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert small.image[..., 0].tolist() == [[100, 0, 0], [0, 67, 0]]


def test_a_patch_is_computed_as_in_its_photo(sand: Scene) -> None:
    with opened("quarter_mrunet") as model:
        (in_photo,) = find(model, [whole("photo", sand.image)]).maps
        window = Window("patch", sand.image, top=53, left=61, height=40, width=50)
        found = find(model, [window])
    assert np.array_equal(found.maps[0], in_photo[53:93, 61:111])
    assert found.shipped == [model.particle_filter]


def write_photo(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small parent of all four sets, and labels of two patches."""
    data = tmp_path / "data"
    first, second = (scene(np.random.default_rng(i), 120, 150, particles=9) for i in (1, 2))
    write_photo(data / "sand/pellets.png", first.image)
    write_photo(data / "sand_clean/a.png", second.image)
    for name, size in (("beads", 192), ("mpnet", 64)):
        for _ in write_photos(data / name, count=6, size=size, seed=4):
            pass
    labels = tmp_path / "labels"
    labels.mkdir()
    centroids = cv2.connectedComponentsWithStats(first.mask)[3][1:]
    corners = {"p0.png": (5, 8), "p1.png": (5, 80)}  # top, left
    with (labels / "patches.csv").open("w", newline="") as file:
        rows = [(name, "pellets.png", left, top, 64) for name, (top, left) in corners.items()]
        csv.writer(file).writerows([("file", "photo", "left", "top", "size"), *rows])
    with (labels / "pellets.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "x", "y", "ignore"))
        for name, (top, left) in corners.items():
            for x, y in centroids:
                if 0 <= x - left < 64 and 0 <= y - top < 64:
                    writer.writerow((name, round(x - left, 1), round(y - top, 1), 0))
    monkeypatch.setattr("bench.patches.LABELS", labels)
    monkeypatch.setattr(scores, "FILTERS", (Filter("top-hat", 5), Filter("top-hat", 9)))
    monkeypatch.setattr(scores, "THRESHOLDS_U8", (10, 40, 120, 250))
    return data


def test_every_set_is_scored(
    data: Path, checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.accuracy.LIMIT_S", 0.01)
    monkeypatch.setattr("bench.accuracy.FRAME_HW", (64, 64))
    out, plot = tmp_path / "result.json", tmp_path / "plot.svg"
    arguments = ["accuracy", data, "--model", "quarter_mrunet", "--model", checkpoint_path]
    arguments += ["--out", out, "--plot", plot]
    result = CliRunner().invoke(bench, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["machine"]["cpu"]
    assert content["skipped"] == {}
    names = [model["name"] for model in content["models"]]
    assert names == ["quarter_mrunet", "quarter"]
    assert [model["flops"] for model in content["models"]] == [MODELS["quarter_mrunet"].flops()] * 2
    assert [model["frame_ms"] is None for model in content["models"]] == [False, True]
    for dataset in ("sand", "beads", "mpnet"):
        rows = [row for row in content["objects"] if row["dataset"] == dataset]
        choices = [(row["detector"].partition(",")[0], row["choice"]) for row in rows]
        assert choices == [
            *((name, choice) for name in names for choice in ("shipped", "best here")),
            ("top-hat", "best here"),
        ]
        assert len({row["tp"] + row["fn"] for row in rows}) == 1
        best = rows[-1]
        assert best["f1"]["low"] <= best["f1"]["value"] <= best["f1"]["high"]
        assert f"{dataset}, objects" in result.output
    assert {row["dataset"] for row in content["pixels"]} == {"beads", "mpnet"}
    assert [row["megapixels"] for row in content["clean"]] == [0.018] * 3
    for name, points in content["curves"]["sand"].items():
        rates = [point["false_positives_per_megapixel"] for point in points]
        assert all(rate is not None for rate in rates), name
    assert "labelled patches" in plot.read_text(encoding="utf-8")


def test_sets_that_are_not_there_are_named(data: Path) -> None:
    for name in ("sand", "beads", "mpnet"):
        (data / name).rename(data / f"no {name}")
    result = CliRunner().invoke(bench, ["accuracy", str(data), "--model", "quarter_mrunet"])
    assert result.exit_code == 0, result.output
    assert f"mpnet skipped: {data / 'mpnet'} is no folder" in result.output
    assert "sand_clean, false positives in 0.0 megapixels" in result.output


def test_networks_score_on_the_fold_they_were_not_trained_on(
    data: Path, checkpoint_path: Path, tmp_path: Path
) -> None:
    photos = real_sets.masked(data, "mpnet")
    folder = tmp_path / "runs"
    with pytest.raises(EdgeError, match="no folder of 'train crossval'"):
        find_by_fold(tmp_path, photos)
    for number in range(1, 6):
        fold = folder / f"quarter_mrunet/fold{number}"
        fold.mkdir(parents=True)
        (fold / "best.pt").write_bytes(checkpoint_path.read_bytes())
    split(photos, "photo", 0).write(folder / "split.json")
    (found,) = find_by_fold(folder, photos)
    with opened(str(checkpoint_path)) as model:
        expected = find(model, [whole(photo.name, photo.image) for photo in photos])
    assert found.detector == "quarter_mrunet, by fold"
    assert found.shipped == expected.shipped
    assert all(np.array_equal(a, b) for a, b in zip(found.maps, expected.maps, strict=True))
    with pytest.raises(EdgeError, match="each of them as a test photo"):
        find_by_fold(folder, photos[1:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "holds none of the folders"),
        (["data", "--model", "absent.pt"], "absent.pt: no such file"),
        (["data", "--model", "absent"], "no such engine file"),
        (["data", "--crossval", "beads"], "is not SET=FOLDER"),
        (["data", "--crossval", "sirst=runs"], "must be one of beads, mpnet"),
        (["data", "--plot", "plot.txt"], "a plot ends in .svg or .png"),
        (["data", *["--model", "quarter_mrunet"] * 2], "two models have that name"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], words: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    result = CliRunner().invoke(bench, ["accuracy", *arguments])
    assert result.exit_code == 2
    assert words in result.output
