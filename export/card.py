"""The model card: what an engine is, how it was trained, how well it scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge.engines.sidecar import Sidecar
from export.verify import Verification
from train.metrics import LABELS
from train.models.spec import ModelSpec


def card_path(engine: Path) -> Path:
    """Where the model card of an engine file lies: X.md may belong to another X."""
    return engine.with_name(f"{engine.name}.md")


def model_card(
    spec: ModelSpec | None,
    sidecar: Sidecar,
    verification: Verification,
    notes: Sequence[str],
) -> str:
    """Markdown about the engine of `sidecar`, a network of `spec` where that is known."""
    info, training = sidecar.info, sidecar.info.training
    size = (
        f"{spec.params():,} parameters, {spec.flops() / 1e9:.1f} GFLOPs a 512x512 tile, "
        if spec
        else ""
    )
    facts = "".join(
        f"- {key.replace('_', ' ')}: {value}\n"
        for key, value in training.items()
        if not isinstance(value, dict)
    )
    remarks = "".join(f"- {note}\n" for note in notes)
    return f"""# {spec.title if spec else info.model} (`{info.model}`), {sidecar.precision}

{size}halo {info.halo} px, sizes in multiples of {info.multiple} px.
{_made_for(sidecar)}
Content hash of the network `{info.content_hash}`.

## Verification against the float network

On {verification.crops} crops, {verification.pixels:,} pixels, against {verification.label_source}:

{verification.as_table()}
{remarks}
## Training

{facts}
{_scores(sidecar)}"""


def _made_for(sidecar: Sidecar) -> str:
    if sidecar.profile is None:
        return "ONNX: any tile size and batch, in ONNX Runtime or OpenVINO."
    (height, width), (smallest, optimum, largest) = sidecar.profile.tile_hw, sidecar.profile.batch
    return (
        f"TensorRT engine ({sidecar.variant} {sidecar.version}, {sidecar.device}, compute "
        f"capability {', '.join(sidecar.compute_capabilities)}):\n"
        f"tiles of {height}x{width} px in batches of {smallest} to {largest}, optimum {optimum}."
    )


def _scores(sidecar: Sidecar) -> str:
    training = sidecar.info.training
    rows = "".join(
        f"| {label} | " + " | ".join(f"{training[key][score]:.4f}" for score in LABELS) + " |\n"
        for label, key in (
            ("0.5 (the paper's)", "validation_at_0.5"),
            ("the best there", "validation_at_threshold"),
        )
        if key in training
    )
    return f"""## Scores on the validation photos, by pixel

| threshold | {" | ".join(LABELS.values())} |
|---|{"---|" * len(LABELS)}
{rows}"""
