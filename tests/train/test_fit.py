from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import train.fit
from edge.errors import ToolError
from train.checkpoint import load
from train.cli import train as cli
from train.data.synth import write_photos
from train.fit import Epoch, Step, fit
from train.models.catalogue import MODELS


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for _ in write_photos(folder, count=9, size=64, seed=4):
        pass
    # Every photo with particles, whatever was drawn, so that there is something to learn.
    for path in (folder / "masks").iterdir():
        mask = np.zeros((64, 64), np.uint8)
        mask[20:26, 30:36] = 255
        image_path = folder / "images" / path.name
        image = cv2.imread(str(image_path))
        assert image is not None
        image[mask > 0] = 250
        cv2.imwrite(str(path), mask)
        cv2.imwrite(str(image_path), image)
    return folder


def test_a_network_learns_and_its_best_epoch_stands(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.pt"
    events = list(fit(MODELS["quarter_mrunet"], data, out, epochs=6, batch=2, seed=0))
    losses = [event.loss for event in events if isinstance(event, Step)]
    epochs = [event for event in events if isinstance(event, Epoch)]
    assert len(losses) == 6 * 4
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])
    best = max(epoch.at_threshold["rw_f1"] for epoch in epochs)
    assert best > 0.5
    kept = load(out)
    assert kept.training["validation_at_threshold"]["rw_f1"] == best
    assert kept.prior == pytest.approx(36 / 64**2)
    assert kept.training["photos"] == 8


def test_a_seed_is_a_run(data: Path, tmp_path: Path) -> None:
    def losses(seed: int) -> list[float]:
        events = fit(
            MODELS["quarter_mrunet"], data, tmp_path / "x.pt", epochs=1, batch=3, seed=seed
        )
        return [event.loss for event in events if isinstance(event, Step)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_a_loss_that_is_not_finite_stops_with_the_step_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.pt"
    out.write_bytes(b"earlier")
    monkeypatch.setattr(train.fit, "LEARNING_RATE", 1e30)
    with pytest.raises(ToolError, match=r"step \d+ \(epoch 1\): the loss is (nan|inf)"):
        list(fit(MODELS["quarter_mrunet"], data, out, epochs=1, batch=2, seed=0))
    assert out.read_bytes() == b"earlier"


def test_the_decay_is_the_papers() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.Adam([parameter], train.fit.LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, train.fit.DECAY_STEPS, train.fit.DECAY)
    for _ in range(1600):
        optimiser.step()
        schedule.step()
    assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-3 * 0.96**2)


def spoil_size(data: Path) -> None:
    cv2.imwrite(str(data / "masks/synth_00003.png"), np.zeros((60, 64), np.uint8))


def spoil_grey(data: Path) -> None:
    cv2.imwrite(str(data / "masks/synth_00003.png"), np.full((64, 64), 7, np.uint8))


def spoil_file(data: Path) -> None:
    path = data / "images/synth_00003.png"
    path.write_bytes(path.read_bytes()[:40])


def spoil_empty(data: Path) -> None:
    for path in data.rglob("*.png"):
        path.unlink()


def spoil_but_one(data: Path) -> None:
    for path in data.rglob("*.png"):
        if path.stem != "synth_00003":
            path.unlink()


def spoil_objects(data: Path) -> None:
    for path in (data / "masks").iterdir():
        cv2.imwrite(str(path), np.zeros((64, 64), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_size, "synth_00003.png: is 64x60 px, its photo 64x64"),
        (spoil_grey, "synth_00003.png: holds grey value 7"),
        (spoil_file, "synth_00003.png: not a readable image"),
        (spoil_empty, "holds no images"),
        (spoil_but_one, "holds one photo"),
        (spoil_objects, "nothing to tell apart"),
    ],
)
def test_broken_data_is_one_sentence(data: Path, tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    spoil(data)
    arguments = ["fit", "--model", "unet", "--data", str(data), "--out", str(tmp_path / "x.pt")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert words in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "x.pt").exists()
