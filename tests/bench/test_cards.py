import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from bench import cards, failures
from edge.errors import EdgeError

ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95}
RESULT = {
    "models": [{"name": "half"}, {"name": "other"}],
    "objects": [
        {"dataset": "sand", "detector": "half", "choice": "shipped", "threshold_u8": 51,
         "min_diameter_px": 3.0, "recall": ESTIMATE, "precision": ESTIMATE, "f1": ESTIMATE},
        {"dataset": "sand", "detector": "top-hat", "choice": "best here", "threshold_u8": 9,
         "min_diameter_px": None, "recall": ESTIMATE, "precision": ESTIMATE, "f1": ESTIMATE},
    ],
    "clean": [{"detector": "half", "megapixels": 14.5,
               "per_megapixel": {"value": 44.0, "low": 30.0, "high": 60.0}}],
    "curves": {"sand": {"half": [{"threshold_u8": 51, "recall": 0.9, "precision": 0.9, "f1": 0.9,
                                  "false_positives_per_megapixel": 44.0}]}},
}  # fmt: skip


def test_a_card_gets_its_section_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "WEIGHTS", tmp_path)
    (tmp_path / "half.md").write_text("# Half\n\nfacts\n", "utf-8")
    (tmp_path / "result.json").write_text(json.dumps(RESULT), "utf-8")
    for _ in range(2):
        done = CliRunner().invoke(cards.main, [str(tmp_path / "result.json")])
        assert done.exit_code == 0, done.output
    card = (tmp_path / "half.md").read_text("utf-8")
    assert card.startswith("# Half\n\nfacts\n\n## Data and licences")
    assert card.count(cards.TITLE) == 1
    assert re.search(r"\| sand +\| 0.200 \(shipped\) +\| +3 \| +0.900 \(0.800-0.950\) \|", card)
    assert "top-hat" not in card
    assert "marks 44 (30-60) objects per megapixel" in card
    assert not (tmp_path / "other.md").exists()
    with pytest.raises(EdgeError, match="missing: not in this result"):
        cards.section(RESULT, "missing")


def test_failures_are_told_apart() -> None:
    true_mask, found = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    for mask, x in ((true_mask, 5), (found, 6), (true_mask, 20), (found, 33)):
        cv2.circle(mask, (x, 20), 2, 255, -1)
    assert failures.failures(true_mask, found) == ([2], [2])
