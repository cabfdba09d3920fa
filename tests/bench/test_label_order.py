"""F1 against the number of labelled patches."""

from pathlib import Path

import numpy as np

from bench.label_order import Row, describe, fine_tuned
from edge.particles import ParticleFilter
from train.checkpoint import open_checkpoint
from train.data.points import NO_POINTS, PointSample


def test_counts_of_both_photos_are_summed_and_random_orders_averaged() -> None:
    rows = [
        Row("a", "ranked", 1, 0, 90, 8, 2, 2, "x"),  # with the next: F1 0.9
        Row("b", "ranked", 1, 0, 90, 10, 0, 0, "y"),
        Row("a", "random", 1, 0, 90, 3, 1, 1, "x"),  # 0.75, and 0.25
        Row("a", "random", 1, 1, 90, 1, 3, 3, "y"),
    ]
    cells = [[cell.strip() for cell in line.split("|")] for line in describe(rows).splitlines()[2:]]
    assert cells[0][1:-1] == ["1", "ranked", "0.900", ""]
    assert cells[1][1:-1] == ["1", "random", "0.500", "0.250-0.750"]


def test_a_patch_without_pellets_leaves_the_network_as_it_is(tmp_path: Path) -> None:
    start = open_checkpoint("quarter_mrunet")
    plain = PointSample("plain.png", np.full((64, 64, 3), 90, np.uint8), NO_POINTS)
    assert fine_tuned(start, [plain], 1, tmp_path / "run") == (start, ParticleFilter.of(start))
    assert not (tmp_path / "run").exists()
