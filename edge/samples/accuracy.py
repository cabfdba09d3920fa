"""How many particles an engine finds, and how many of its findings are particles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.engines import WEIGHTS
from edge.errors import BadArgumentError

SETS = ("sand", "beads", "mpnet")
_SCORE = r"(\d\.\d+) \((\d\.\d+)-(\d\.\d+)\)"


@dataclass(frozen=True)
class Score:
    """A fraction and its 95% interval; `low` and `high` are the value where none is known."""

    value: float
    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> Score:
        """Of 0.72 or 0.72:0.65-0.80. Raises ValueError where it is neither."""
        found = re.fullmatch(r"([\d.]+)(?::([\d.]+)-([\d.]+))?", text)
        if not found:
            raise ValueError(text)
        value = float(found[1])
        score = cls(value, float(found[2] or value), float(found[3] or value))
        if not 0 < score.low <= value <= score.high <= 1:
            raise ValueError(text)
        return score

    def __str__(self) -> str:
        interval = f" ({self.low:g}-{self.high:g})" if self.low < self.high else ""
        return f"{self.value:g}{interval}"


@dataclass(frozen=True)
class Accuracy:
    """Of an engine at a threshold.

    Attributes:
        recall, precision: by object.
        source: whose photos they were measured on, in a clause.
        clean_per_megapixel: findings on sand without plastic; None where not known.
    """

    recall: Score
    precision: Score
    source: str
    clean_per_megapixel: Score | None = None


def card_accuracy(run: Mapping[str, Any], name: str) -> tuple[Accuracy | None, str]:
    """From the model card of the engine of a run, and why there is none.

    Args:
        run: summary.json.
        name: of `SETS`, on which it was measured.
    """
    if not run:
        return None, "there is no summary.json, so the engine is not known"
    text = _card(run)
    if text is None:
        return None, f"there is no model card of the engine {run.get('engine')}"
    found = re.search(
        rf"^\| *{name} *\| *(\d\.\d+) \(shipped\) *\| *([\d.]+) *\| *{_SCORE} *\| *{_SCORE}",
        text,
        re.MULTILINE,
    )
    if not found:
        return None, "the model card of the engine has no recall by object"
    threshold, least = float(found[1]), float(found[2])
    used = float(run["threshold"]), float(run.get("min_diameter_px") or 0)
    if abs(used[0] - threshold) > 0.002 or used[1] != least:
        return None, (
            f"the model card tells recall at a threshold of {threshold:g} for particles of "
            f"{least:g} px and more, and the run had {used[0]:g} and {used[1]:g} px"
        )
    clean = re.search(r"it marks ([\d.]+) \(([\d.]+)-([\d.]+)\) objects per megapixel", text)
    scores = [float(value) for value in found.groups()[2:]]
    return Accuracy(
        Score(*scores[:3]),
        Score(*scores[3:]),
        f"from the model card of {run['model']}, measured on its set {name!r}",
        Score(*map(float, clean.groups())) if clean else None,
    ), ""


def given_accuracy(recall: str | None, precision: str | None) -> Accuracy | None:
    """Of the user's own; None where neither is given.

    Raises:
        BadArgumentError: one is no fraction.
    """
    if recall is None and precision is None:
        return None
    return Accuracy(
        _given("recall", recall), _given("precision", precision), "as given on the command line"
    )


def _given(name: str, text: str | None) -> Score:
    """1 where it is not given."""
    try:
        return Score.parse("1" if text is None else text)
    except ValueError:
        raise BadArgumentError(
            f"a {name} of {text!r} is no fraction such as 0.72 or 0.72:0.65-0.80"
        ) from None


def _card(run: Mapping[str, Any]) -> str | None:
    """The text of the card that names the network of a run."""
    shipped = WEIGHTS / f"{Path(str(run.get('model'))).name}.md"
    beside = Path(f"{run.get('engine')}.md")
    for path in (beside, shipped):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if str(run.get("source_sha256")) in text:
            return text
    return None
