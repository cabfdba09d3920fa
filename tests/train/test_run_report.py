"""train report: what a run came from, and what it gets wrong."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.conftest import write_rgb
from tests.edge.chromium import PROGRAM, Chromium
from train.checkpoint import load
from train.cli import train
from train.data.samples import Sample, find_samples
from train.data.stream import Stream
from train.evaluate import evaluate
from train.metrics import ObjectCounts, match_objects
from train.photo_errors import PhotoErrors, recall_by_size
from train.provenance import content_sha256
from train.run_folder import RunFolder


def invoke(*words: object) -> Result:
    return CliRunner().invoke(train, [str(word) for word in words])


def fit(data: Path, out: Path) -> Result:
    return invoke(
        "fit", "--model", "quarter_mrunet", "--data", data, "--out", out, "--epochs", 2,
        "--crop", 32, "--batch", 8, "--devices", 1, "--recipe", "strong",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(rendered_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    out = tmp_path_factory.mktemp("runs") / "run"
    done = fit(rendered_data, out)
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run")


def settings(run: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((run / "settings.json").read_text())
    return content


def change(run: Path, **values: object) -> None:
    """Settings of a run; None removes one."""
    content = {**settings(run), **values}
    kept = {key: value for key, value in content.items() if value is not None}
    (run / "settings.json").write_text(json.dumps(kept))


def test_a_run_says_where_it_came_from_and_resumes_whatever_that_was(
    run: Path, rendered_data: Path
) -> None:
    (start,) = settings(run)["starts"]  # type: ignore[misc]
    assert set(start) == {"date", "command", "data_folder", "version", "commit", "data_sha256"}
    photos = [paths.load() for paths in find_samples(rendered_data)]
    assert start["data_sha256"] == content_sha256(reversed(photos))
    assert start["data_folder"] == str(rendered_data)

    assert fit(rendered_data, run).exit_code == 0
    assert settings(run)["starts"] == [start]
    change(run, starts=[{**start, "commit": "another"}])
    assert fit(rendered_data, run).exit_code == 0
    assert [one["commit"] for one in settings(run)["starts"]] == ["another", start["commit"]]  # type: ignore[attr-defined]
    change(run, starts=None)  # of an earlier version
    assert fit(rendered_data, run).exit_code == 0


def test_the_hash_is_of_pixels_masks_and_names() -> None:
    image, mask = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    other = content_sha256([Sample("a", image, mask)])
    for changed in (Sample("b", image, mask), Sample("a", image + 1, mask),
                    Sample("a", image, mask + 1)):  # fmt: skip
        assert content_sha256([changed]) != other


def test_the_page_says_what_the_run_gives(run: Path, rendered_data: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    change(tmp_path / "other", seed=7)
    done = invoke("report", run, tmp_path / "other")
    assert done.exit_code == 0, done.output
    page = (run / "report.html").read_text("utf-8")

    best = load(run / "best.pt")
    names = settings(run)["validation"]
    photos = [p.load() for p in find_samples(rendered_data) if p.name in names]  # type: ignore[operator]
    scored = evaluate(best, photos)
    total = sum((photo.objects for photo in scored.at_threshold), ObjectCounts(0, 0, 0))
    assert total.fp + total.fn
    assert f"<td>TP, FP, FN</td><td>{total.tp}, {total.fp}, {total.fn}</td>" in page
    assert "<td>seed ≠</td><td>0</td><td>7</td>" in page
    assert "<td>batch</td><td>8</td><td>8</td>" in page
    wrong = [photo for photo in scored.at_threshold if photo.objects.fp + photo.objects.fn]
    assert page.count("<figure>") == 2 * len(wrong)
    # Loss, two scores, and precision over recall.
    assert page.count("<polyline") == 2 * 4
    # As many marks as objects.
    marks = re.findall('class="(tp|fp|fn)" d="([^"]*)"', page.partition('class="worst"')[2])
    squares = [d.count("z") for kind, d in marks if kind == "fp"]
    assert sum(squares) == 2 * total.fp + 1  # and that of the second legend
    assert not re.search(r"""(src|href)=(?!"data:)|url\(|@import|<script""", page)


def test_photos_that_are_gone_are_said_to_be(run: Path, rendered_data: Path) -> None:
    (start,) = settings(run)["starts"]  # type: ignore[misc]
    change(run, starts=[{**start, "data_folder": str(run / "gone")}])
    done = invoke("report", run)
    assert done.exit_code == 0, done.output
    assert f"{run / 'gone'}: no longer there: give --data FOLDER" in done.output
    assert "Most errors" not in (run / "report.html").read_text("utf-8")
    done = invoke("report", run, "--data", rendered_data, "--out", run / "b.html")
    assert "warning" not in done.output
    assert "1 photo of" in (run / "b.html").read_text("utf-8")
    change(run, points="0123")
    assert "learnt from points: evaluate it with 'train evaluate" in invoke("report", run).output


def test_a_run_on_rendered_crops_is_evaluated_on_such(run: Path, sand_photo: Path) -> None:
    stream = Stream((str(sand_photo),), validation=2)
    change(run, training=stream.describe())
    photos, what = RunFolder.read(run).held_out()
    assert what == "2 rendered scenes that it validated on"
    assert content_sha256(photos) == content_sha256(stream.validation_samples(32))


@pytest.fixture
def sand_photo(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1).integers(90, 140, (300, 300, 3), np.uint8)
    return write_rgb(tmp_path / "sand.png", noise)


def test_a_folder_without_a_run_is_named(tmp_path: Path, run: Path) -> None:
    done = invoke("report", tmp_path)
    assert done.exit_code == 2
    assert "holds no settings.json; give the --out folder of 'train fit'" in done.output
    change(run, recipe=None)
    done = invoke("report", run)
    assert done.exit_code == 1
    assert "settings.json: not the settings of a run of 'train fit'" in done.output
    (run / "best.pt").unlink()
    assert "has no whole epoch yet" in invoke("report", run).output


@pytest.mark.skipif(not PROGRAM, reason="Chromium is not installed")
def test_the_page_fits_a_phone_and_loads_nothing(run: Path, tmp_path: Path) -> None:
    assert invoke("report", run).exit_code == 0
    browser = Chromium(tmp_path / "profile")
    try:
        url = browser.open_on_phone(run / "report.html")
        assert browser.run("document.querySelector('image').getBBox().width") == 64
        assert not browser.problems
        assert [one for one in browser.requests if not one.startswith("data:")] == [url]
    finally:
        browser.close()


def blobs(*squares: tuple[int, int, int], size: int = 60) -> np.ndarray:
    """A mask of squares: left, top and side, px."""
    mask = np.zeros((size, size), np.uint8)
    for left, top, side in squares:
        mask[top : top + side, left : left + side] = 1
    return mask


def test_errors_have_places_and_sizes() -> None:
    labels = blobs((2, 2, 2), (20, 2, 8), (40, 40, 4))
    found = blobs((22, 4, 3), (50, 10, 2), (30, 30, 1))
    sample = Sample("p", np.zeros((60, 60, 3), np.uint8), labels)
    errors = PhotoErrors.of(sample, match_objects(found, labels))
    assert errors.counts == ObjectCounts(tp=1, fp=2, fn=2)
    assert errors.tp[:, :2].tolist() == [[23.5, 5.5]]
    assert sorted(errors.fn[:, :2].tolist()) == [[2.5, 2.5], [41.5, 41.5]]
    assert errors.fn[0, 2] == pytest.approx(2 * np.sqrt(4 / np.pi))
    sizes = {one.name: (one.counts.tp, one.counts.true) for one in recall_by_size([errors])}
    assert sizes == {"< 3 px": (0, 1), "3-5 px": (0, 1), "7-10 px": (1, 1)}
    # Around the error at 30, 30, near which lies that at 41.5, 41.5.
    assert errors.window(30) == (15, 15, 30, 30)
    assert errors.window(100) == (0, 0, 60, 60)


def test_touching_objects_are_apart_and_their_numbers_may_have_gaps() -> None:
    numbers = np.zeros((60, 60), np.uint16)
    numbers[10:14, 10:14], numbers[10:14, 14:18] = 3, 7
    sample = Sample("p", np.zeros((60, 60, 3), np.uint8), np.uint8(numbers > 0), numbers)
    errors = PhotoErrors.of(sample, match_objects(blobs((10, 10, 2)), sample.labels))
    assert errors.counts == ObjectCounts(tp=1, fp=0, fn=1)
    assert errors.fn[:, :2].tolist() == [[15.5, 11.5]]


def test_a_photo_without_objects_has_no_errors() -> None:
    nothing = blobs()
    sample = Sample("p", np.zeros((60, 60, 3), np.uint8), nothing)
    errors = PhotoErrors.of(sample, match_objects(nothing, nothing))
    assert (errors.errors, errors.window(20)) == (0, (0, 0, 20, 20))
    assert recall_by_size([errors]) == []
