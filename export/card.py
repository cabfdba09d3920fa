"""The model card: what an engine is, how it was trained, how well it scored."""

from __future__ import annotations

from edge.engines.engine import EngineInfo
from export.verify import Verification
from train.metrics import LABELS
from train.models.spec import ModelSpec


def model_card(spec: ModelSpec, info: EngineInfo, verification: Verification) -> str:
    """Markdown about the engine of `info`, a network of `spec`."""
    training = info.training
    scored = [
        (label, training[key])
        for label, key in (
            ("0.5 (the paper's)", "validation_at_0.5"),
            (f"{info.threshold} (shipped)", "validation_at_threshold"),
        )
        if key in training
    ]
    facts = "".join(
        f"- {key.replace('_', ' ')}: {value}\n"
        for key, value in training.items()
        if not isinstance(value, dict)
    )
    rows = "".join(
        f"| {label} | " + " | ".join(f"{scores[key]:.4f}" for key in LABELS) + " |\n"
        for label, scores in scored
    )
    return f"""# {spec.title} (`{info.model}`)

{spec.params():,} parameters, {spec.flops() / 1e9:.1f} GFLOPs a 512x512 tile, halo {info.halo} px,
sizes in multiples of {info.multiple} px. ONNX Runtime against torch: at most \
{verification.max_grey_levels} grey level(s) of 255 apart over {verification.pixels:,} pixels.
Content hash `{info.content_hash}`.

## Training

{facts}
## Scores on the validation photos, by pixel

| threshold | {" | ".join(LABELS.values())} |
|---|{"---|" * len(LABELS)}
{rows}"""
