"""The labelled patches: their table, their points, and how they are cut."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.patches import LABELS, Patch, cut_patches, main, read_patches
from edge.sources.images import read_image
from tests.conftest import write_rgb


@pytest.fixture
def two_patches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Labels of two 8x8 patches of one photo, which lies in the folder returned."""
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "patches.csv").write_text(
        "file,photo,left,top,size\na.png,beach.png,0,0,8\nb.png,beach.png,12,4,8\n"
    )
    monkeypatch.setattr("bench.patches.LABELS", labels)
    photos = tmp_path / "photos"
    photos.mkdir()
    noise = np.random.default_rng(5).integers(0, 256, (12, 20, 3), np.uint8)
    write_rgb(photos / "beach.png", noise)
    return photos


def test_patches_are_the_pixels_of_the_photo(two_patches: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    written = cut_patches(two_patches, out)
    assert written == [out / "a.png", out / "b.png"]
    assert sorted(out.iterdir()) == written
    photo = read_image(two_patches / "beach.png")
    assert np.array_equal(read_image(out / "a.png"), photo[:8, :8])
    assert np.array_equal(read_image(out / "b.png"), photo[4:12, 12:20])


def test_the_command_says_what_is_wrong(two_patches: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    result = CliRunner().invoke(main, [str(two_patches), out])
    assert result.exit_code == 0
    assert "2 patches" in result.stdout
    write_rgb(two_patches / "beach.png", np.zeros((12, 19, 3), np.uint8))
    result = CliRunner().invoke(main, [str(two_patches), out])
    assert result.exit_code == 1
    assert "19x12 px is smaller" in result.stderr
    (two_patches / "beach.png").unlink()
    result = CliRunner().invoke(main, [str(two_patches), out])
    assert result.exit_code == 2
    assert "has no beach.png" in result.stderr


def _overlap(a: Patch, b: Patch) -> bool:
    apart = abs(a.left - b.left) >= a.size or abs(a.top - b.top) >= a.size
    return a.photo == b.photo and not apart


def test_every_label_lies_in_a_patch() -> None:
    patches = read_patches()
    by_file = {patch.file: patch for patch in patches}
    assert len(by_file) == len(patches) >= 12
    assert {patch.size for patch in patches} == {192}
    assert not any(_overlap(a, b) for i, a in enumerate(patches) for b in patches[:i])
    counts = {patch.photo: 0 for patch in patches}
    with (LABELS / "pellets.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            patch = by_file[row["file"]]
            assert row["ignore"] in {"0", "1"}
            border = 0 if row["ignore"] == "1" else 3
            for axis in ("x", "y"):
                assert border <= float(row[axis]) <= patch.size - 1 - border
            counts[patch.photo] += row["ignore"] == "0"
    assert all(count >= 60 for count in counts.values())
