import numpy as np
import pytest
import torch

from train.data.augment import Augmentation, normalisation_of, normalised
from train.data.crops import Crops, CropSampler, Window, as_samples
from train.data.samples import Sample

FILL = (10.0, 20.0, 30.0)


def sample(name: str, height: int, width: int, seed: int = 0) -> Sample:
    """Noise with one particle of 3x3 px in the middle."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 2 : height // 2 + 3, width // 2 : width // 2 + 3] = 1
    return Sample(name, image, mask)


def test_a_photo_of_the_paper_gives_sixteen_crops() -> None:
    crops = Crops([sample("a", 1440, 1440)], 16, 512, FILL)
    assert len(crops.grid) == 16
    assert crops.side_hw == (512, 512)
    image, mask = crops[crops.grid[5]]
    assert (image.shape, mask.shape) == ((3, 512, 512), (1, 512, 512))


def test_a_crop_is_its_part_of_the_photo() -> None:
    whole = sample("a", 100, 80)
    image, mask = Crops([whole], 4, 32, FILL)[Window(0, 36, 24)]
    assert np.array_equal(image.permute(1, 2, 0).numpy(), whole.image[36:68, 24:56])
    assert np.array_equal(mask[0].numpy(), whole.mask[36:68, 24:56])


def test_small_photos_are_padded_as_background_with_the_mean_pixel() -> None:
    crops = Crops([sample("large", 70, 90), sample("small", 21, 33)], 4, 64, FILL)
    assert crops.side_hw == (64, 64)
    image, mask = crops[next(window for window in crops.grid if window.sample == 1)]
    assert image[:, 21:].reshape(3, -1).unique(dim=1).ravel().tolist() == list(FILL)
    assert mask.sum() == 9
    # All smaller than a crop: it shrinks to the largest, on the network's grid.
    assert Crops([sample("a", 21, 33), sample("b", 30, 20)], 4, 512, FILL).side_hw == (32, 36)


def test_the_prior_is_the_share_of_particle_pixels() -> None:
    assert Crops([sample("a", 32, 32)], 4, 32, FILL).prior() == pytest.approx(9 / 1024)


def test_an_epoch_is_the_whole_grid_in_another_order() -> None:
    crops = Crops([sample("a", 96, 96), sample("b", 64, 96)], 4, 32, FILL)
    sampler = CropSampler(crops, seed=1, foreground=0)
    first, again = list(sampler), list(sampler)
    assert sorted(first, key=str) == sorted(crops.grid, key=str)
    assert first == again
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert len(sampler) == len(first)


def test_processes_share_an_epoch_out() -> None:
    crops = Crops([sample("a", 80, 80)], 4, 32, FILL)
    assert len(crops.grid) % 2
    parts = [list(CropSampler(crops, seed=1, foreground=0, rank=r, ranks=2)) for r in (0, 1)]
    assert len(parts[0]) == len(parts[1])
    assert set(map(str, parts[0] + parts[1])) == set(map(str, crops.grid))


def test_foreground_crops_hold_a_particle_somewhere() -> None:
    crops = Crops([sample("a", 200, 200), sample("clean", 200, 200)], 4, 32, FILL)
    crops._samples[1][1][...] = 0
    windows = list(CropSampler(crops, seed=0, foreground=1.0))
    assert all(crops[window][1].any() for window in windows)
    # With jitter: the particle is not always in the same place of the crop.
    assert len({(window.top, window.left) for window in windows}) > len(windows) / 2
    half = [crops[w][1].any() for w in CropSampler(crops, seed=0, foreground=0.5)]
    assert 0.3 < np.mean(half) < 0.8


def test_crops_as_photos_for_folds_by_crop() -> None:
    found = as_samples([sample("a", 96, 96)], 64)
    assert [p.name for p in found] == ["a@0,0", "a@0,32", "a@32,0", "a@32,32"]
    assert all(p.mask.shape == (64, 64) for p in found)


def test_augmentation_moves_image_and_mask_together() -> None:
    """A bright square on grey stays under its mask, wherever it goes."""
    image = torch.zeros(64, 3, 64, 64)
    mask = torch.zeros(64, 1, 64, 64, dtype=torch.uint8)
    image[..., 24:36, 20:34] = 5.0
    mask[..., 24:36, 20:34] = 1
    torch.manual_seed(0)
    moved, with_it = Augmentation()(image, mask)
    assert torch.allclose(moved[:, :1] / 5, with_it, atol=1e-4)
    # No larger and no smaller, where it did not leave the crop.
    assert with_it.sum(dim=(1, 2, 3)).median() == pytest.approx(12 * 14, rel=0.02)
    # Shifted, rotated, flipped: hardly two alike.
    centres = torch.stack([m.nonzero().float().mean(0) for m in with_it[:, 0]])
    assert centres.round().unique(dim=0).shape[0] > 50
    assert (centres - 29).abs().max() < 2 * 0.2 * 64 + 3


def test_a_particle_of_one_pixel_is_not_lost() -> None:
    mask = torch.zeros(200, 1, 33, 33)
    mask[..., 16, 16] = 1
    torch.manual_seed(0)
    _, moved = Augmentation()(torch.zeros(200, 3, 33, 33), mask)
    assert moved.amax(dim=(1, 2, 3)).min() > 0.2


def test_uncovered_pixels_take_the_mean_pixel() -> None:
    samples = [sample("a", 64, 64, seed=1)]
    normalisation = normalisation_of(samples)
    image = torch.from_numpy(samples[0].image).permute(2, 0, 1)[None]
    bright = normalised(image, normalisation) + 100  # nothing of the photo is zero
    torch.manual_seed(3)
    moved, _ = Augmentation()(bright, torch.zeros(1, 1, 64, 64))
    # Normalised, the mean pixel is zero.
    assert (moved == 0).all(dim=1).any()
    assert normalised(image, normalisation).mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert normalised(image, normalisation).std(dim=(0, 2, 3)).numpy() == pytest.approx(1, abs=1e-2)
