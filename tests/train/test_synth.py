from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge.particles import find_particles
from train.cli import train
from train.data.photos import find_pairs
from train.data.synth import belt_clip, scene


def test_a_seed_is_a_photo() -> None:
    first, again, other = (scene(np.random.default_rng((s, 0)), 128, 160) for s in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_particles_are_specks_and_rare() -> None:
    """3-10 px across, under 1% of the pixels (Section 1)."""
    painted = scene(np.random.default_rng(3), 1000, 1000, particles=60)
    objects = find_particles(painted.mask, painted.mask)
    assert 45 <= len(objects) <= 62
    assert (painted.mask > 0).mean() < 0.01
    contours, _ = cv2.findContours(painted.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = [max(cv2.minAreaRect(c)[1]) + 1 for c in contours]
    # The middle half, since particles may touch; fibres may be a pixel wide.
    low, high = np.percentile(longest, [25, 75])
    assert 3 <= low <= high <= 11


def test_the_mask_lies_where_the_plastic_is() -> None:
    """White pellets are brighter than the sand around them, to the pixel."""
    brighter = 0
    for seed in range(8):
        painted = scene(np.random.default_rng(seed), 200, 200, particles=30)
        grey = painted.image.astype(float).std(axis=2) + painted.image.mean(axis=2)
        ring = cv2.dilate(painted.mask, np.ones((9, 9))) & ~cv2.dilate(
            painted.mask, np.ones((5, 5))
        )
        brighter += grey[painted.mask > 0].mean() > grey[ring > 0].mean()
    assert brighter >= 7


def test_the_belt_moves_by_its_step() -> None:
    first, second = belt_clip(seed=1, frames=2, side=200, step=60)
    assert np.array_equal(first.mask[60:], second.mask[:-60])
    difference = first.image[60:].astype(int) - second.image[:-60]
    assert 0 < np.abs(difference).mean() < 4  # the same sand, the noise of another moment


def test_synth_writes_pairs_and_spares_what_is_there(tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    arguments = ["synth", folder, "--photos", "2", "--size", "64", "--seed", "3"]
    assert CliRunner().invoke(train, arguments).exit_code == 0
    pairs = find_pairs(tmp_path / "data")
    assert len(pairs) == 2
    assert pairs[0].load().image.shape == (64, 64, 3)
    again = CliRunner().invoke(train, arguments)
    assert again.exit_code == 2
    assert "not empty" in again.output


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_a_photo_without_its_pair_is_named(tmp_path: Path, kind: str) -> None:
    CliRunner().invoke(train, ["synth", str(tmp_path), "--photos", "2", "--size", "64"])
    (tmp_path / kind / "synth_00001.png").unlink()
    result = CliRunner().invoke(
        train, ["fit", "--model", "unet", "--data", str(tmp_path), "--out", "x.pt"]
    )
    assert result.exit_code == 1
    assert "synth_00001.png: has no" in result.output
