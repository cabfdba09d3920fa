"""edge-run report: samples, their counts and the files."""

import csv
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from click.testing import CliRunner, Result

from edge.cli import edge_run
from edge.engines import WEIGHTS
from edge.samples.accuracy import Score, card_accuracy
from edge.samples.estimate import Estimator, detection_limit, estimate
from edge.samples.size_classes import SizeClasses
from tests.conftest import write_rgb
from tests.edge.chromium import PROGRAM, Chromium
from train.data.synth import scene


def run(*words: object) -> Result:
    return CliRunner().invoke(edge_run, [str(word) for word in words])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of a beach and of a dish, and the results of both; of the beach also with shapes."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(7)
    (folder / "beach").mkdir()
    for number, particles in enumerate((9, 14, 5, 8)):
        image = scene(rng, 96, 128, particles=particles).image
        write_rgb(folder / "beach" / f"beach{number}.png", image)
    (folder / "dish").mkdir()
    for number in range(2):
        dish = np.clip(rng.normal(90, 4, (96, 128, 3)), 0, 255).astype(np.uint8)
        cv2.circle(dish, (40, 50), 2 - 2 * number, (255, 255, 255), -1)
        write_rgb(folder / "dish" / f"dish{number}.png", dish)
    for out, source in (("out", "beach"), ("blank", "dish")):
        done = run("--source", folder / source, "--engine", "quarter_mrunet", "--out", folder / out,
                   "--mm-per-pixel", 0.05, "--no-overlays",
                   "--sink", f"shapes:{folder}/{out}.csv")  # fmt: skip
        assert done.exit_code == 0, done.output
    shutil.copytree(folder / "out", folder / "shapes")
    shutil.copy(folder / "out.csv", folder / "shapes" / "shapes.csv")
    return folder


def report(made: Path, out: Path, *words: object) -> Result:
    done = run("report", *words, "--mm-per-pixel", 0.05, "--out", out)
    assert done.exit_code == 0, done.output
    return done


def test_repeats_are_averaged_and_blanks_subtracted(made: Path, tmp_path: Path) -> None:
    report(made, tmp_path / "r", made / "out", "--sample", "beach 3", "--matrix-blank",
           made / "blank", "--mass-g", 200)  # fmt: skip
    counts, found = (
        [int(row["particles"]) for row in rows(made / name / "frames.csv")]
        for name in ("out", "blank")
    )
    sample, blank = rows(tmp_path / "r/samples.csv")
    assert (sample["sample"], sample["repeats"], blank["blank"]) == ("beach 3", "4", "matrix")
    mean = np.mean(counts)
    assert 0 < np.mean(found) < mean
    assert float(sample["count_mean"]) == pytest.approx(mean, rel=1e-3)
    assert float(sample["count_sd"]) == pytest.approx(np.std(counts, ddof=1), rel=1e-3)
    assert float(sample["net_mean"]) == pytest.approx(mean - np.mean(found), rel=1e-3)
    assert float(sample["per_kg_mean"]) == pytest.approx(mean / 0.2, rel=1e-3)
    area_m2 = 96 * 128 * 0.05**2 / 1e6
    assert float(sample["per_m2_mean"]) == pytest.approx(mean / area_m2, rel=1e-3)
    for kind in ("size", "shape", "colour"):
        classes = [row for row in rows(tmp_path / "r/classes.csv")
                   if row["sample"] == "beach 3" and row["kind"] == kind]  # fmt: skip
        assert sum(float(row["count_mean"]) for row in classes) == pytest.approx(mean, rel=1e-3)
    accuracy, _ = card_accuracy(json.loads((made / "out/summary.json").read_text()), "sand")
    assert accuracy
    corrected = float(sample["net_mean"]) / accuracy.recall.value
    assert float(sample["corrected_mean"]) == pytest.approx(corrected, rel=1e-3)
    assert float(sample["corrected_low"]) < corrected < float(sample["corrected_high"])


def test_shapes_of_masks_and_photos_are_those_of_the_run(made: Path, tmp_path: Path) -> None:
    report(made, tmp_path / "a", made / "out", "--sample", "s")
    report(made, tmp_path / "b", made / "shapes", "--sample", "s")
    later, at_once = (rows(tmp_path / name / "particles.csv") for name in "ab")
    assert len(later) > 10
    for one, other in zip(later, at_once, strict=True):
        assert {**one, "results": "", "repeat": ""} == {**other, "results": "", "repeat": ""}
        assert one["colour"]


def test_a_table_tells_repeats_and_amounts(made: Path, tmp_path: Path) -> None:
    """As a spreadsheet of a country with decimal commas writes it."""
    table = tmp_path / "samples.csv"
    table.write_text(
        "file;sample;repeat;volume_l;blank\n"
        "beach0.png;north;1;2,5;\nbeach1.png;north;1;2,5;\nbeach2.png;north;2;1,5;\n"
        "blank;lab;;;procedural\n",
        encoding="utf-8-sig",
    )
    done = report(made, tmp_path / "r", made / "out", made / "blank", "--table", table)
    assert "1 photos that the table does not name were left out" in done.output
    first, second, third, _ = (int(row["particles"]) for row in rows(made / "out/frames.csv"))
    repeats = {row["repeat"]: row for row in rows(tmp_path / "r/repeats.csv")}
    assert int(repeats["1"]["particles"]) == first + second
    north, lab = rows(tmp_path / "r/samples.csv")
    assert (lab["sample"], lab["repeats"]) == ("lab", "2")
    assert float(north["count_mean"]) == pytest.approx((first + second + third) / 2, rel=1e-3)
    litres = ((first + second) / 2.5 + third / 1.5) / 2
    assert float(north["per_l_mean"]) == pytest.approx(litres, rel=1e-3)


def test_xlsx_and_page_say_what_the_tables_say(made: Path, tmp_path: Path) -> None:
    report(made, tmp_path / "r", made / "out", "--sample", "=A1 <b>")
    book = openpyxl.load_workbook(tmp_path / "r/report.xlsx")
    assert book.sheetnames == ["samples", "repeats", "classes", "particles", "notes"]
    (sample,) = rows(tmp_path / "r/samples.csv")
    head, values = book["samples"].iter_rows(values_only=True)
    assert list(head) == list(sample)
    assert values[0] == "'=A1 <b>"  # no formula
    assert values[head.index("count_mean")] == float(sample["count_mean"])
    assert book["particles"].max_row == 1 + len(rows(tmp_path / "r/particles.csv"))
    html = (tmp_path / "r/report.html").read_text("utf-8")
    assert "=A1 &lt;b&gt;" in html
    assert "<b>" not in html
    assert not re.search(r"(src|href)=|url\(|@import", html)


@pytest.mark.skipif(not PROGRAM, reason="Chromium is not installed")
def test_the_page_fits_a_phone_and_loads_nothing(made: Path, tmp_path: Path) -> None:
    report(made, tmp_path / "r", made / "out", made / "blank")
    browser = Chromium(tmp_path / "profile")
    try:
        url = browser.open_on_phone(tmp_path / "r/report.html")
        assert browser.run("document.querySelectorAll('svg rect.bar').length") > 10
        background = browser.run("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(16, 23, 27)"
        assert not browser.problems
        assert browser.requests == [url]
    finally:
        browser.close()


def changed(made: Path, tmp_path: Path, name: str, old: str, new: str) -> Path:
    """A copy of the results in which a file says something else."""
    copy = tmp_path / "copy"
    shutil.copytree(made / "out", copy)
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new))
    return copy


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,sample\nbeach9.png,a\n", "line 2: no photo and no folder of the results has"),
        ("file,sample\nbeach0.png,\n", "line 2: names no sample"),
        ("photo,sample\nbeach0.png,a\n", "has no column file"),
        (f"file,sample\n{'a' * 200_000},b\n", "is no table"),
        ("file,sample,mass\nbeach0.png,a,3\n", "'mass' is no column"),
        ("file,sample,mass_g\nbeach0.png,a,-3\n", "line 2: mass_g is '-3'"),
        ("file,sample,blank\nbeach0.png,a,yes\n", "write procedural"),
        ("file,sample,blank\nbeach0.png,a,matrix\n", "there are only blanks"),
        ("file,sample\nbeach0.png,a\nbeach0.png,b\n", "line 3: beach0.png was named before"),
        ("file,sample,repeat,mass_g\nbeach0.png,a,1,3\nbeach1.png,a,1,4\n", "different mass_g"),
    ],
)
def test_a_wrong_table(made: Path, tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(table)
    done = run("report", made / "out", "--table", tmp_path / "t.csv", "--out", tmp_path / "r")
    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_results_that_cannot_be_reported(made: Path, tmp_path: Path) -> None:
    def refused(*words: object, code: int = 2) -> str:
        done = run("report", *words, "--out", tmp_path / "r")
        assert done.exit_code == code, done.output
        assert not (tmp_path / "r").exists()
        return done.output

    threshold = json.loads((made / "out/summary.json").read_text())["threshold"]
    copy = changed(made, tmp_path, "summary.json", f'"threshold": {threshold}', '"threshold": 0.4')
    assert "made with a different threshold" in refused(made / "out", copy)
    shutil.rmtree(copy / "masks")
    assert "has no mask of frame 0; run it again without --no-masks" in refused(copy)
    shutil.rmtree(copy)
    copy = changed(made, tmp_path, "particles.csv", ",0.05,", ",0.02,")
    assert "make a report of each" in refused(made / "out", copy)
    shutil.rmtree(copy)
    copy = changed(made, tmp_path, "particles.csv", ",0.05,", ",,")
    assert "has no scale; give --mm-per-pixel" in refused(copy)
    (copy / "frames.csv").rename(copy / "frames.csv.part")
    assert "the run goes on or broke off" in refused(copy)
    shutil.rmtree(copy)
    copy = changed(made, tmp_path, "particles.csv", "000000-0001", "000000-0001,7")
    assert "a row is cut off or too long" in refused(copy, code=1)
    shutil.rmtree(copy)
    copy = changed(made, tmp_path, "frames.csv", "128,96", "128,?")
    assert "a table is damaged (" in refused(copy, code=1)
    shutil.rmtree(copy)
    shutil.copytree(made / "out", copy)
    mask = next((copy / "masks").glob("000000_*"))
    cv2.imwrite(str(mask), np.zeros((96, 128), np.uint8))
    assert "they are of different runs" in refused(copy, code=1)
    assert "leave out --mm-per-pixel" in refused(made / "out", "--mm-per-pixel", 0.1)
    assert "no frames.csv" in refused(made / "beach")
    assert "is no fraction such as" in refused(made / "out", "--recall", "72")


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    rng, estimator = np.random.default_rng(4), Estimator()
    for spread in (0.0, 0.6):  # Poisson, and repeats that differ by more
        held = 0
        for _ in range(60):
            means = 12 * rng.lognormal(-(spread**2) / 2, spread, 6) if spread else np.full(6, 12.0)
            counts = rng.poisson(means).tolist()
            found = estimate(counts, estimator.mean_count(counts))
            held += found.low <= 12 <= found.high
        assert 0.87 <= held / 60 <= 1


def test_amounts_weigh_the_repeats() -> None:
    """Ten times the sand with ten times the particles is no sign of a spread."""
    draws = Estimator().mean_count([100, 10], [10.0, 1.0])
    assert draws.mean() == pytest.approx(55, rel=0.02)
    assert draws.std() == pytest.approx(np.sqrt(110) / 2, rel=0.05)


def test_a_recall_that_is_not_well_known_widens_the_interval() -> None:
    estimator = Estimator()
    draws = estimator.mean_count([400])
    exact, doubtful = (
        estimate([800], draws / estimator.score(Score.parse(text)))
        for text in ("0.5", "0.5:0.3-0.7")
    )
    assert exact.low == pytest.approx(800 - 2 * 1.96 * 20, rel=0.02)
    assert doubtful.low < 600 < 1200 < doubtful.high


def test_a_matrix_blank_takes_the_place_of_a_procedural_one(made: Path, tmp_path: Path) -> None:
    dish = tmp_path / "other"
    shutil.copytree(made / "out", dish)
    report(made, tmp_path / "r", made / "out", "--matrix-blank", made / "blank", "--blank", dish)
    sample = rows(tmp_path / "r/samples.csv")[0]
    found = [int(row["particles"]) for row in rows(made / "blank/frames.csv")]
    net = float(sample["count_mean"]) - np.mean(found)
    assert float(sample["net_mean"]) == pytest.approx(net, rel=1e-3)
    assert "2 repeats of matrix blanks" in (tmp_path / "r/notes.csv").read_text("utf-8-sig")


def test_detection_limit_of_blanks() -> None:
    assert detection_limit([0, 0, 0]) == pytest.approx(2.71)
    assert detection_limit([9]) == pytest.approx(2.71 + 3.29 * np.sqrt(18))


@pytest.mark.parametrize("card", sorted(WEIGHTS.glob("*.md")), ids=lambda path: path.stem)
def test_shipped_cards_tell_recall_and_precision(card: Path) -> None:
    text = card.read_text("utf-8")
    content = re.search(r"Content hash of the network `(\w+)`", text)
    shipped = re.search(r"(\d\.\d+) \(shipped\) *\| *([\d.]+)", text)
    assert content
    assert shipped
    run = {"model": card.stem, "engine": "elsewhere.onnx", "source_sha256": content[1],
           "threshold": float(shipped[1]), "min_diameter_px": float(shipped[2])}  # fmt: skip
    found, _ = card_accuracy(run, "sand")
    assert found
    assert found.recall.low < found.recall.value < found.recall.high
    assert f"{found.recall.value:.3f} ({found.recall.low:.3f}-" in text
    assert found.clean_per_megapixel
    assert card_accuracy(run | {"threshold": 0.9}, "sand")[0] is None
    assert "px and more" in card_accuracy(run | {"min_diameter_px": 9.0}, "sand")[1]
    assert "no model card" in card_accuracy(run | {"source_sha256": "0" * 64}, "sand")[1]


def test_size_classes_begin_where_the_scale_shows_them() -> None:
    beach, microscope = SizeClasses(0.05), SizeClasses(0.0005)
    assert beach.names == ["< 100 µm", "100-300 µm", "0.3-1 mm", "1-5 mm", "≥ 5 mm"]
    assert microscope.names[:4] == ["< 1 µm", "1-10 µm", "10-20 µm", "20-50 µm"]
    assert (beach.name(0.3), beach.name(0.29), beach.name(6)) == (
        "0.3-1 mm",
        "100-300 µm",
        "≥ 5 mm",
    )
    assert SizeClasses(0.05, [0.5, 1, 2]).names == ["< 500 µm", "0.5-1 mm", "1-2 mm", "≥ 2 mm"]
