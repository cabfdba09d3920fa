import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import EdgeError
from train.data.folds import Split, chosen, hold_out, split
from train.data.samples import Sample


def names(count: int) -> list[str]:
    return [f"p{i:03d}" for i in range(count)]


def samples(count: int, clean: int = 0) -> list[Sample]:
    """The last `clean` ones without a particle."""
    masks = [np.full((2, 2), i < count - clean, np.uint8) for i in range(count)]
    image = np.zeros((2, 2, 3), np.uint8)
    return [Sample(name, image, mask) for name, mask in zip(names(count), masks, strict=True)]


@given(st.integers(5, 300), st.integers(0, 3))
def test_every_photo_tests_once_and_no_part_shares_one(count: int, seed: int) -> None:
    folds = split(samples(count), "photo", seed).folds
    assert sorted(name for fold in folds for name in fold.test) == names(count)
    for fold in folds:
        assert sorted(fold.training + fold.validation + fold.test) == names(count)
        assert fold.training
        assert fold.validation


def test_the_shares_are_the_papers() -> None:
    """20% test, 72% training, 8% validation (Section 4), of the paper's 386 photos."""
    for fold in split(samples(386), "photo", 0).folds:
        fractions = [len(part) / 386 for part in (fold.test, fold.training, fold.validation)]
        assert fractions == pytest.approx([0.20, 0.72, 0.08], abs=0.003)


def test_the_seed_is_the_split() -> None:
    assert split(samples(40), "photo", 1) == split(samples(40)[::-1], "photo", 1)
    assert split(samples(40), "photo", 1) != split(samples(40), "photo", 2)
    validations = [fold.validation for fold in split(samples(40), "photo", 1).folds]
    assert len(set(validations)) == 5


def test_holding_out_a_tenth() -> None:
    training, validation = hold_out(samples(30), 0)
    assert len(validation) == 3
    assert sorted(sample.name for sample in training + validation) == names(30)
    with pytest.raises(EdgeError, match="one photo only"):
        hold_out(samples(1), 0)


@given(st.integers(20, 100), st.integers(0, 3), st.floats(0, 0.5))
def test_photos_without_a_particle_are_spread(count: int, seed: int, fraction: float) -> None:
    clean = int(count * fraction)
    found = samples(count, clean)
    dirty = set(names(count)[: count - clean])
    for fold in split(found, "photo", seed).folds:
        assert set(fold.validation) & dirty
        assert len(set(fold.test) & dirty) == pytest.approx(len(dirty) / 5, abs=1)
    assert any(sample.mask.any() for sample in hold_out(found, seed)[1])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = split(samples(11), "crop", 3)
    made.write(tmp_path / "split.json")
    assert Split.read(tmp_path / "split.json") == made


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: c.pop("by"), "not a split"),
        (lambda c: c.update(by="day"), "'by' must be photo or crop"),
        (lambda c: c["folds"][1].pop("test"), "not a split"),
        (lambda c: c["folds"].pop(), "there must be 5 folds"),
        (lambda c: c["folds"][1].update(test=[]), "fold 2 has no test names"),
        (lambda c: c["folds"][2]["test"].append(c["folds"][2]["training"][0]), "fold 3 names p"),
    ],
)
def test_a_broken_split_says_why(tmp_path: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "split.json"
    split(samples(9), "photo", 0).write(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    spoil(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EdgeError, match=words):
        Split.read(path)


def test_too_few_photos_and_photos_of_other_data() -> None:
    with pytest.raises(EdgeError, match=r"4 photo\(s\) cannot make 5 folds"):
        split(samples(4), "photo", 0)
    with pytest.raises(EdgeError, match="data: has no p001, which the split names"):
        chosen(samples(1), ["p000", "p001"], Path("data"))
