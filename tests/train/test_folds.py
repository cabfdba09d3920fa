import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ToolError
from train.data.folds import Split, chosen, hold_out, split
from train.data.photos import Photo


def names(count: int) -> list[str]:
    return [f"p{i:03d}" for i in range(count)]


@given(st.integers(5, 300), st.integers(0, 3))
def test_every_photo_tests_once_and_no_part_shares_one(count: int, seed: int) -> None:
    folds = split(names(count), "photo", seed).folds
    assert sorted(name for fold in folds for name in fold.test) == names(count)
    for fold in folds:
        assert sorted(fold.training + fold.validation + fold.test) == names(count)
        assert fold.training
        assert fold.validation


def test_the_shares_are_the_papers() -> None:
    """20% test, 72% training, 8% validation (Section 4), of the paper's 386 photos."""
    for fold in split(names(386), "photo", 0).folds:
        shares = [len(part) / 386 for part in (fold.test, fold.training, fold.validation)]
        assert shares == pytest.approx([0.20, 0.72, 0.08], abs=0.003)


def test_the_seed_is_the_split() -> None:
    assert split(names(40), "photo", 1) == split(names(40)[::-1], "photo", 1)
    assert split(names(40), "photo", 1) != split(names(40), "photo", 2)
    validations = [fold.validation for fold in split(names(40), "photo", 1).folds]
    assert len(set(validations)) == 5


def test_holding_out_a_tenth() -> None:
    training, validation = hold_out(names(30), 0)
    assert len(validation) == 3
    assert sorted(training + validation) == names(30)
    with pytest.raises(ToolError, match="one photo only"):
        hold_out(["alone"], 0)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = split(names(11), "crop", 3)
    made.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == made


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c.pop("by"), "not a split"),
        (lambda c: c.update(by="day"), "'by' must be photo or crop"),
        (lambda c: c["folds"][1].pop("test"), "not a split"),
        (lambda c: c["folds"][1].update(test=[]), "fold 2 has no test names"),
        (lambda c: c["folds"][2]["test"].append(c["folds"][2]["training"][0]), "fold 3 names p"),
    ],
)
def test_a_broken_split_says_why(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "split.json"
    split(names(9), "photo", 0).write(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    spoil(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ToolError, match=words):
        Split.read(path)


def test_too_few_photos_and_photos_of_other_data() -> None:
    with pytest.raises(ToolError, match=r"4 photo\(s\) cannot make 5 folds"):
        split(names(4), "photo", 0)
    photo = Photo("p000", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    with pytest.raises(ToolError, match="data: has no p001, which the split names"):
        chosen([photo], ["p000", "p001"], Path("data"))
