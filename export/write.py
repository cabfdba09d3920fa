"""Checkpoint in, verified engine file and model card out."""

from __future__ import annotations

from pathlib import Path

import onnx

from edge.engines import open_engine
from edge.files import replacing
from export.card import model_card
from export.graph import to_onnx
from export.verify import Verification, verify
from train.checkpoint import load


def write_onnx(checkpoint_path: Path, out: Path) -> Verification:
    """Write the ONNX engine of a checkpoint to `out` and its card to `out`'s name with .md.

    Raises:
        ToolError: the checkpoint is not one, or the engine differs from torch; nothing is written.
        OSError: the files cannot be written; earlier ones stay.
    """
    checkpoint = load(checkpoint_path)
    model = to_onnx(checkpoint)
    with replacing(out) as temporary:
        onnx.save(model, temporary)
        engine = open_engine(str(temporary))
        verification = verify(engine, checkpoint)
        with replacing(out.with_suffix(".md")) as card:
            card.write_text(
                model_card(checkpoint.spec, engine.info, verification), encoding="utf-8"
            )
    return verification
