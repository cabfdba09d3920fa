from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from edge.errors import EdgeError
from tests.conftest import write_rgb
from train.checkpoint import load
from train.cli import train
from train.data.stream import RenderedCrops, Stream, StreamSampler
from train.mining import SIDE, mine


@pytest.fixture
def sand_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sand"
    folder.mkdir()
    rng = np.random.default_rng(1)
    write_rgb(folder / "sand.png", rng.integers(90, 140, (200, 220, 3), np.uint8))
    return folder


def test_a_key_is_a_crop(sand_folder: Path) -> None:
    crops = RenderedCrops(Stream((str(sand_folder),), crops=4), multiple=4, side=62)
    image, mask = crops[0, 3]
    assert image.shape == (3, 64, 64)
    assert mask.shape == (1, 64, 64)
    assert mask.max() <= 1
    again, other = crops[0, 3], crops[0, 4]
    assert torch.equal(image, again[0])
    assert torch.equal(mask, again[1])
    assert not torch.equal(image, other[0])


def test_no_crop_comes_twice_and_ranks_share_them() -> None:
    seen: list[tuple[int, int]] = []
    for rank in (0, 1):
        sampler = StreamSampler(6, seed=2, rank=rank, ranks=2)
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            keys = list(sampler)
            assert len(keys) == len(sampler) == 3
            seen += keys
    assert sorted(seen) == [(2, index) for index in range(12)]


def test_train_fit_on_rendered_crops_repeats(sand_folder: Path, tmp_path: Path) -> None:
    arguments = ["fit", "--model", "quarter_mrunet", "--sand", str(sand_folder), "--crops", "4",
                 "--crop", "32", "--batch", "2"]  # fmt: skip

    def run(out: str, epochs: int) -> dict[str, torch.Tensor]:
        command = [*arguments, "--epochs", str(epochs), "--out", str(tmp_path / out)]
        done = CliRunner().invoke(train, command)
        assert done.exit_code == 0, done.output
        return load(tmp_path / out / "last.pt").weights

    whole = run("whole", 1)
    again = run("again", 1)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert load(tmp_path / "whole" / "last.pt").training["photos"].startswith("rendered")


def test_mine_writes_what_a_network_marks(
    sand_folder: Path, tmp_path: Path, checkpoint_path: Path
) -> None:
    out = tmp_path / "negatives"
    arguments = ["mine", str(checkpoint_path), "--sand", str(sand_folder), "--out", str(out)]
    done = CliRunner().invoke(train, arguments)
    assert done.exit_code == 0, done.output
    assert f"{len(list(out.iterdir()))} negatives written" in done.output
    for path in out.iterdir():
        assert Stream((str(sand_folder),), (str(path),)).reference_scenes
    done = CliRunner().invoke(train, arguments)
    if any(out.iterdir()):
        assert done.exit_code == 2
        assert "is not empty" in done.output


def test_photos_of_one_name_keep_negatives_of_their_own(
    tmp_path: Path, checkpoint_path: Path
) -> None:
    rng, places = np.random.default_rng(0), []
    for name in ("monday", "tuesday"):
        (tmp_path / name).mkdir()
        image = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name / "sand.png"), image)
        places.append(str(tmp_path / name))
    everywhere = replace(load(checkpoint_path), threshold=0.001)
    found = mine(everywhere, places, tmp_path / "negatives")
    assert found.crops == len(list((tmp_path / "negatives").iterdir())) == 2


def test_photos_smaller_than_a_negative_are_told(tmp_path: Path, checkpoint_path: Path) -> None:
    (tmp_path / "sand").mkdir()
    cv2.imwrite(str(tmp_path / "sand/a.png"), np.zeros((SIDE - 1, SIDE, 3), np.uint8))
    with pytest.raises(EdgeError, match="no photo is as large as a negative, 192x192 px"):
        mine(load(checkpoint_path), [str(tmp_path / "sand")], tmp_path / "negatives")


@pytest.mark.parametrize("given", [[], ["--sand", "x", "--data", "."]])
def test_either_photos_or_sand(given: list[str]) -> None:
    done = CliRunner().invoke(train, ["fit", "--model", "unet", "--out", "x", *given])
    assert done.exit_code == 2
    assert "give either --data FOLDER or --sand" in done.output
