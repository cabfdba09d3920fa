import numpy as np
import pytest

from train.data.distractors import KINDS, Draw
from train.data.plastic import LARGEST_PX


@pytest.mark.parametrize("draw", [kind[0] for kind in KINDS], ids=lambda draw: draw.__name__)
def test_each_kind_draws_within_range(draw: Draw) -> None:
    """At the edges and outside of the canvas too."""
    rng = np.random.default_rng(0)
    canvas = np.full((90, 120, 3), 0.5, np.float32)
    for x, y in ((60, 45), (0, 0), (119.5, 89.5), (118, 2)):
        draw(rng, canvas, x, y)
    assert canvas.dtype == np.float32
    assert not np.allclose(canvas, 0.5)
    assert canvas.min() >= -1e-6
    assert canvas.max() <= 1 + 1e-6


def test_a_white_shell_is_larger_than_a_particle() -> None:
    (shell,) = (draw for draw, _, _ in KINDS if draw.__name__ == "_shell")
    for seed in range(40):
        canvas = np.full((100, 100, 3), 0.4, np.float32)
        shell(np.random.default_rng(seed), canvas, 50, 50)
        area = np.count_nonzero(canvas.min(axis=2) > 0.5)
        assert area > np.pi / 4 * LARGEST_PX**2
