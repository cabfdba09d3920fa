from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from edge.particles import find_particles
from train.cli import train
from train.data.samples import find_samples
from train.data.synth import belt_clip, scene


def test_a_seed_is_a_photo() -> None:
    first, again, other = (scene(np.random.default_rng((s, 0)), 128, 160) for s in (1, 1, 2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_particles_are_specks_and_rare() -> None:
    """2-12 px across, under 1% of the pixels (Section 1); none where it would not stand out."""
    rendered = [scene(np.random.default_rng(seed), 500, 500, particles=15) for seed in range(8)]
    objects = [find_particles(one.mask, one.mask) for one in rendered]
    assert 60 <= sum(map(len, objects)) <= 8 * 15
    for one in rendered:
        assert (one.mask > 0).mean() < 0.01
        contours, _ = cv2.findContours(one.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        longest = [max(cv2.minAreaRect(c)[1]) + 1 for c in contours]
        # Not all, since particles may touch and fibres are long.
        assert np.median(longest) <= 13


def test_the_mask_lies_where_the_plastic_is() -> None:
    """Particles differ from the sand around them more than the sand from itself."""
    stands_out = []
    for seed in range(12):
        rendered = scene(np.random.default_rng(seed), 200, 200, particles=30)
        if not rendered.mask.any():  # on that sand none would
            continue
        image = rendered.image.astype(float)
        around = cv2.dilate(rendered.mask, np.ones((13, 13))) & ~cv2.dilate(
            rendered.mask, np.ones((5, 5))
        )
        sand = image[around > 0]
        apart = np.abs(image[rendered.mask > 0] - sand.mean(axis=0)).mean()
        stands_out.append(apart > 1.2 * np.abs(sand - sand.mean(axis=0)).mean())
    assert len(stands_out) >= 8
    assert np.mean(stands_out) >= 0.8


def test_the_belt_moves_by_its_step() -> None:
    first, second = belt_clip(seed=1, frames=2, side=200, step=60)
    assert np.array_equal(first.mask[60:], second.mask[:-60])
    difference = first.image[60:].astype(int) - second.image[:-60]
    assert 0 < np.abs(difference).mean() < 4  # the same sand, the noise of another moment


def test_synth_writes_pairs_and_spares_what_is_there(tmp_path: Path) -> None:
    folder = str(tmp_path / "data")
    arguments = ["synth", folder, "--photos", "2", "--size", "64", "--seed", "3"]
    assert CliRunner().invoke(train, arguments).exit_code == 0
    pairs = find_samples(tmp_path / "data")
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
