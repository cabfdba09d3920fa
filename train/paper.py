"""What the paper prints, as data."""

from __future__ import annotations

from train.metrics import ZERO_COUNTS, Counts

# Table 4: (parameters in millions, truncated; GFLOPs at 512x512, rounded), as printed.
TABLE_4 = {
    "unet": ("21.9776", "329.7"),
    "half_unet": ("1.7724", "204.0"),
    "mrunet": ("13.5469", "204.8"),
    "half_mrunet": ("0.2149", "42.9"),
    "quarter_mrunet": ("0.0445", "21.9"),
}

# Tables 1-3: (precision, recall) of cases 1 to 5. All other scores of a case follow from these.
CASES = {
    "unet": ((0, 0), (0.0692, 0.9644), (0, 0), (0.0178, 0.8138), (0, 0)),
    "half_unet": ((0.0565, 0.9370), (0.0437, 0.9470), (0, 0), (0.0357, 0.8547), (0, 0)),
    "mrunet": (
        (0.1583, 0.9386),
        (0.0190, 0.9448),
        (0.0329, 0.9557),
        (0.0092, 0.8813),
        (0.0138, 0.8972),
    ),
    "half_mrunet": (
        (0.2899, 0.9180),
        (0.3175, 0.9322),
        (0.2771, 0.9404),
        (0.2828, 0.9447),
        (0.2219, 0.9832),
    ),
    "quarter_mrunet": (
        (0.1065, 0.9517),
        (0.1451, 0.9772),
        (0.1828, 0.9624),
        (0.2214, 0.9456),
        (0.1316, 0.9817),
    ),
}

# Tables 1-3, the printed averages.
AVERAGES = {
    "unet": (0.0174, 0.3556, 0.0328, 0.0173, 0.0306, 0.0162),
    "half_unet": (0.0272, 0.5478, 0.0517, 0.0270, 0.0475, 0.0249),
    "mrunet": (0.0466, 0.9235, 0.0834, 0.0462, 0.0781, 0.0433),
    "half_mrunet": (0.2778, 0.9437, 0.4279, 0.2728, 0.4032, 0.2570),
    "quarter_mrunet": (0.1575, 0.9637, 0.2685, 0.1563, 0.2584, 0.1505),
}

# Section 4.4: the scores that a network must reach.
BAR = {"rw_f1": 0.40, "rw_miou": 0.25}


def counts(precision: float, recall: float) -> Counts:
    """Pixels with that precision and recall, from which all scores of a case follow."""
    if not precision or not recall:
        return ZERO_COUNTS
    tp = 10**9
    return Counts(tp, round(tp / precision) - tp, round(tp / recall) - tp, 0)
