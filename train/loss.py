"""Weighted binary cross entropy (Eqs. 25-29)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def weighted_bce(logits: Tensor, target: Tensor) -> Tensor:
    """Loss of a batch: summed over pixels, averaged over images.

    Each image weighs its particle pixels by w_T = HW / sum(Y) and its background pixels by
    w_F = HW / (HW - sum(Y)). Where an image has no particle (or no background) the weight would be
    infinite but weighs nothing: its denominator is held at one pixel.

    Args:
        logits: float (N,1,H,W).
        target: (N,1,H,W), 1 where a particle is, else 0.

    Returns:
        A scalar, computed from logits so that it stays finite.
    """
    target = target.to(logits.dtype)
    area = target.shape[2] * target.shape[3]
    particle = target.sum(dim=(1, 2, 3), keepdim=True)
    weight_true = area / particle.clamp(min=1)
    weight_false = area / (area - particle).clamp(min=1)
    loss = weight_true * target * functional.softplus(-logits)
    loss = loss + weight_false * (1 - target) * functional.softplus(logits)
    return loss.sum(dim=(1, 2, 3)).mean()


def weighted_bce_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of `weighted_bce` over pixels and classes, plus the soft Dice loss of the batch.

    One Dice for the whole batch: crops without a particle only count their false positives.
    """
    target = target.to(logits.dtype)
    area = target.shape[2] * target.shape[3]
    predicted = logits.sigmoid()
    overlap = 2 * (predicted * target).sum() + 1
    dice = overlap / (predicted.sum() + target.sum() + 1)
    return weighted_bce(logits, target) / (2 * area) + 1 - dice


def focal_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss a particle pixel (Lin et al., 2017, gamma 2) plus the soft Dice loss of the batch.

    Bright grains that look like plastic weigh what they count, however many easy pixels lie around
    them: `weighted_bce` divides them by all of the background.
    """
    target = target.to(logits.dtype)
    predicted = logits.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (predicted - target).abs()
    # A batch without particles counts as one with a few.
    particle = target.sum().clamp(min=1e-3 * target.numel())
    focal = (wrong.square() * entropy).sum() / particle
    overlap = 2 * (predicted * target).sum() + 1
    dice = overlap / (predicted.sum() + target.sum() + 1)
    return focal + 1 - dice


LOSSES = {
    "weighted_bce": weighted_bce,
    "weighted_bce_dice": weighted_bce_dice,
    "focal_dice": focal_dice,
}
