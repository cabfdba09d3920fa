import math

import pytest
import torch

from train.loss import focal_dice, weighted_bce, weighted_bce_dice


def test_a_crop_worked_out_by_hand() -> None:
    """Four pixels, one particle: w_T = 4, w_F = 4/3; log(1 + e**z) by hand."""
    logits = torch.tensor([[[[0.0, 1.0], [-2.0, 3.0]]]])
    target = torch.tensor([[[[0, 1], [0, 0]]]])
    expected = 4 * math.log(1 + math.exp(-1)) + 4 / 3 * (
        math.log(2) + math.log(1 + math.exp(-2)) + math.log(1 + math.exp(3))
    )
    assert weighted_bce(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_images_are_weighted_one_by_one_and_averaged() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 1, 8, 8)
    target = (torch.rand(3, 1, 8, 8) < torch.tensor([0.05, 0.3, 0.7]).view(3, 1, 1, 1)).int()
    each = [weighted_bce(z[None], y[None]).item() for z, y in zip(logits, target, strict=True)]
    assert weighted_bce(logits, target).item() == pytest.approx(sum(each) / 3, rel=1e-6)


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize(
    ("wrong_by", "expected"), [(-1e4, 0), (0.0, 16 * math.log(2)), (1e4, 16e4)]
)
def test_crops_of_one_class_and_huge_logits_stay_finite(
    value: int, wrong_by: float, expected: float
) -> None:
    """Without particles (or background) the other class weighs one: the plain cross entropy."""
    logit = -wrong_by if value else wrong_by
    logits = torch.full((1, 1, 4, 4), logit, requires_grad=True)
    loss = weighted_bce(logits, torch.full((1, 1, 4, 4), value))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(expected)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_dice_is_of_the_whole_batch_and_worked_out_by_hand() -> None:
    """Two crops of four pixels, one particle; probabilities 1/2 and 3/4 (logit log 3)."""
    logits = torch.tensor([[[[0.0, 0.0], [0.0, math.log(3)]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    target = torch.zeros(2, 1, 2, 2)
    target[0, 0, 1, 1] = 1
    dice = 1 - (2 * 0.75 + 1) / (7 * 0.5 + 0.75 + 1 + 1)
    entropy = (4 * math.log(4 / 3) + 4 / 3 * 3 * math.log(2) + 4 * math.log(2)) / 2
    assert weighted_bce_dice(logits, target).item() == pytest.approx(entropy / 8 + dice, rel=1e-6)


def test_dice_of_crops_without_a_particle_is_finite() -> None:
    logits = torch.full((2, 1, 4, 4), -50.0, requires_grad=True)
    loss = weighted_bce_dice(logits, torch.zeros(2, 1, 4, 4))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_focal_dice_counts_hard_background_whatever_surrounds_it() -> None:
    """One wrong bright grain costs the same in a small and in a large crop."""
    losses = []
    for side in (32, 64):
        target = torch.zeros(1, 1, side, side)
        target[..., :8, :8] = 1
        logits = torch.where(target > 0, 12.0, -12.0)
        right = focal_dice(logits, target)
        assert right < 0.02
        logits[..., -4:, -4:] = 6.0
        losses.append(float(focal_dice(logits, target)))
    # 16 wrong pixels of 64 particle pixels, each about 6 (focal); Dice 1 - 128 / (80 + 64).
    assert losses[0] == pytest.approx(16 / 64 * 6 + 1 - 129 / 145, rel=0.05)
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_focal_dice_of_background_alone_is_finite() -> None:
    logits = torch.full((2, 1, 16, 16), -3.0, requires_grad=True)
    loss = focal_dice(logits, torch.zeros(2, 1, 16, 16))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
