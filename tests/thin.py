"""The largest networks as deep as they are, but not as wide: two cores soon finish these."""

from dataclasses import replace

from train.models.catalogue import MODELS
from train.models.spec import ModelSpec

THIN: dict[str, ModelSpec] = {
    "unet": replace(
        MODELS["unet"],
        encoder=((8, 8), (16, 16), (32, 32), (64, 64)),
        bottom=(128, 64),
        decoder=((8, 8), (16, 8), (32, 16), (64, 32)),
    ),
    "mrunet": replace(
        MODELS["mrunet"], stem=8, encoder=(8, 15, 30, 59), bottom=173, residual=(4, 8, 16, 32)
    ),
    "segnet": replace(
        MODELS["segnet"], encoder=tuple((4,) * len(widths) for widths in MODELS["segnet"].encoder)
    ),
}
