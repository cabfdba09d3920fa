"""Specs for tests: those of the registry, and relatives of them."""

from dataclasses import replace

from train.models.registry import MODELS
from train.models.spec import ModelSpec

# The largest networks as deep as they are, but not as wide: two cores soon finish these.
THIN: dict[str, ModelSpec] = {
    "unet": replace(
        MODELS["unet"],
        encoder=((16, 16), (32, 32), (64, 64), (128, 128)),
        bottom=(256, 128),
        decoder=((16, 16), (32, 16), (64, 32), (128, 64)),
    ),
    "mrunet": replace(
        MODELS["mrunet"], stem=15, encoder=(15, 29, 58, 117), bottom=346, residual=(8, 16, 32, 64)
    ),
    "segnet": replace(
        MODELS["segnet"], encoder=tuple((4,) * len(widths) for widths in MODELS["segnet"].encoder)
    ),
}

NETWORKS: dict[str, ModelSpec] = {
    **MODELS,
    **{f"thin_{key}": spec for key, spec in THIN.items()},
    "thin_segnet_minus2": THIN["segnet"].without_deepest(2),
    # With an early stride, which no network of the registry has.
    "strided": replace(MODELS["half_mrunet_lite"], key="strided", early_stride=2),
}
