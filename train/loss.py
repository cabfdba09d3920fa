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
