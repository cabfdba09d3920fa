"""train rank: which photos to label next."""

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from edge.particles import ParticleFilter
from edge.visualisation import write_image
from train.cli import train
from train.data.synth import scene
from train.ranking import VIEWS, disagreement


def test_views_are_undone() -> None:
    image = np.random.default_rng(1).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    assert len({(view.turns, view.mirrored) for view in VIEWS}) == len(VIEWS) == 8
    shown = {view.of(image).tobytes() for view in VIEWS}
    assert len(shown) == 8
    for view in VIEWS:
        brightness = np.clip(image[..., 0] * view.gain, 0, 255).astype(np.uint8)
        assert (view.undone(view.of(image)[..., 0]) == brightness).all()


def test_disagreement_is_the_variance_over_particles() -> None:
    def found(*values: int) -> NDArray[np.uint8]:
        """Three particles of 2x2 px."""
        probability = np.full((4, 14), 20, np.uint8)
        for left, value in zip((1, 5, 9), values, strict=True):
            probability[1:3, left : left + 2] = value
        return probability

    # Sure in all views, in half of them, and somewhat unsure; the sand does not count.
    maps = [found(255, 255, 153), found(255, 0, 102)]
    assert disagreement(maps, ParticleFilter(128 / 255)).tolist() == pytest.approx([0, 1, 0.04])
    assert disagreement(maps, ParticleFilter(200 / 255)).tolist() == pytest.approx([0, 1])
    assert disagreement([found(0, 0, 0)], ParticleFilter(0.5)).size == 0


def test_photos_are_ordered_and_written(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "day 1").mkdir(parents=True)
    pellets = scene(np.random.default_rng(29), 96, 129, particles=20).image[..., ::-1]
    write_image(photos / "plain.png", np.full((64, 80, 3), 90, np.uint8))
    write_image(photos / "day 1" / "pellets.png", np.ascontiguousarray(pellets))
    (photos / "broken.png").write_bytes(b"no image")
    out = tmp_path / "rank.csv"
    command = ["rank", "quarter_mrunet", str(photos), "--out", str(out)]
    done = CliRunner().invoke(train, command)
    assert done.exit_code == 0, done.output
    assert "left out:" in done.output
    assert "broken.png" in done.output
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert [row["file"] for row in rows] == ["day 1/pellets.png", "plain.png"]
    assert list(rows[0]) == ["file", "score", "particles", "disagreement"]
    score, particles = float(rows[0]["score"]), int(rows[0]["particles"])
    assert particles >= 4
    assert 0 < score <= particles
    assert float(rows[0]["disagreement"]) == pytest.approx(score / particles, abs=1e-3)
    assert (rows[1]["score"], rows[1]["particles"]) == ("0.0", "0")
    (photos / "day 1" / "pellets.png").unlink()
    (photos / "plain.png").unlink()
    failed = CliRunner().invoke(train, command)
    assert failed.exit_code == 1
    assert "holds no readable image" in failed.output
