import pytest

from bench import paper
from bench.paper import table_4
from train.models.registry import PAPER_MODELS


def test_every_network_of_the_paper_matches() -> None:
    rows = table_4(PAPER_MODELS)
    assert [row.matches for row in rows] == [True] * 5
    assert rows[3].params == 214_950


@pytest.mark.parametrize("printed", [("0.2150", "42.9"), ("0.2149", "43.0")])
def test_a_digit_off_is_no_match(printed: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(paper.TABLE_4, "half_mrunet", printed)
    assert table_4(["half_mrunet"])[0].matches is False


def test_the_twins_are_not_in_the_paper() -> None:
    (row,) = table_4(["half_mrunet8"])
    assert row.matches is row.paper_params is row.paper_flops is None
    assert row.params == 225_785
