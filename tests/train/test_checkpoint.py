import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edge.errors import EdgeError
from train.checkpoint import Checkpoint, Normalisation, load, probability, save
from train.models.registry import MODELS, build


@pytest.fixture
def checkpoint() -> Checkpoint:
    return Checkpoint(
        spec=MODELS["quarter_mrunet"],
        normalisation=Normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
        prior=0.004,
        threshold=0.4,
        training={"steps": 3},
        weights=build(MODELS["quarter_mrunet"]).state_dict(),
    )


def test_what_was_saved_is_loaded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(checkpoint, path)
    loaded = load(path)
    assert vars(loaded) | {"weights": None} == vars(checkpoint) | {"weights": None}
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(loaded.module()(x), checkpoint.module()(x))


def test_the_prior_undoes_the_weights_of_the_loss() -> None:
    """Where weighted odds are even, a pixel is a particle as often as one is at all."""
    assert probability(torch.zeros(1), 0.2).item() == round(0.2 * 255)
    assert probability(torch.tensor([-3.0, 0.0, 3.0]), 0.5).tolist() == [12, 128, 243]


class RunsCode:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, ("ran",)


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(RunsCode(), "bad.pt")
    with pytest.raises(EdgeError, match="not a checkpoint that is safe to load"):
        load(Path("bad.pt"))
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("threshold"), "not one of our checkpoints"),
        (lambda c: c.update(threshold=float("nan")), "not one of our checkpoints"),
        (lambda c: c.update(min_diameter_px="3"), "not one of our checkpoints"),
        (lambda c: c.update(min_diameter_px=-1.0), "not one of our checkpoints"),
        (lambda c: c.update(prior="0.5"), "not one of our checkpoints"),
        (lambda c: c.update(weights=[1]), "not one of our checkpoints"),
        (lambda c: c["spec"].update(family="resnet"), "model.pt: .*resnet"),
        (lambda c: c.update(spec=MODELS["half_mrunet"].describe()), "does not fit half_mrunet"),
        (lambda c: c["weights"].pop("head.bias"), "head.bias should be 1, is missing"),
        (lambda c: c["weights"].update(extra=torch.zeros(2)), "extra should be missing, is 2"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_why(  # type: ignore[no-untyped-def]
    checkpoint: Checkpoint, tmp_path: Path, change, words: str
) -> None:
    path = tmp_path / "model.pt"
    save(checkpoint, path)
    content = torch.load(path)
    change(content)
    torch.save(content, path)
    with pytest.raises(EdgeError, match=words):
        load(path)


def test_a_random_file_and_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "random.pt"
    path.write_bytes(os.urandom(2000))
    with pytest.raises(EdgeError, match="not a checkpoint"):
        load(path)
    with pytest.raises(EdgeError, match="no such file"):
        load(tmp_path / "absent.pt")


def test_a_lone_tensor_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(EdgeError, match="not one of our checkpoints"):
        load(tmp_path / "tensor.pt")


def test_a_failed_save_leaves_the_earlier_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save(checkpoint, path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle"):
        save(replace(checkpoint, training={"bad": lambda: None}), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
