"""Which stages of a trained network are of use, and the smaller network that would do.

The paper reads this off histograms (Sections 4.5, 4.6); here weights, ablation and a proposal.

OUT/utilisation.md, .json      the numbers
OUT/proposed.json              the smaller network, for `train fit`; only where there is one
OUT/stages.png, components.png, tensorboard/   histograms of the kernels
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tabulate import tabulate

from edge.errors import BadArgumentError, ToolError
from edge.files import new_folder, replacing, write_json
from train.ablation import Ablation, stage_above, stages
from train.checkpoint import Checkpoint, load
from train.crossval import RESULT, SPLIT, FoldResult, load_photos
from train.data.crops import as_photos
from train.data.folds import Split, chosen
from train.data.photos import Photo
from train.histograms import draw, write_tensorboard
from train.models.spec import ModelSpec
from train.utilisation import Layer, kernels, measure, of_checkpoints, of_stage

# Recall-weighted F1 that the dropped levels may cost.
TOLERANCE = 0.01


@dataclass(frozen=True)
class Stage:
    """One stage, averaged over the checkpoints: its weights, and what it is worth.

    `feature_share`: see `Ablation`, None where the stage is no MultiRes block; `change`: of r.w. F1
    when its output is replaced by its mean, None for stem and head.
    """

    weights: Layer
    feature_share: float | None
    change: float | None


@dataclass(frozen=True)
class Analysis:
    """What `analyse` found.

    Each r.w. F1 is that at the best threshold on the very photos, with a stage taken out as well as
    without: a constant moves all probabilities alike, which a network trained anew would not show.
    `without_deepest[k-1]` is the change of r.w. F1 with the k deepest levels taken out. `proposed`
    is the network without as many levels as may go; None where none may.
    """

    spec: ModelSpec
    used: list[str]
    left_out: list[str]
    rw_f1: float
    layers: list[Layer]
    stages: list[Stage]
    without_deepest: list[float]
    proposed: ModelSpec | None

    def as_text(self, style: str = "simple") -> str:
        """Stages and proposal, for a terminal, or as Markdown with style "github"."""
        parts = [
            f"{self.spec.title}, {len(self.used)} checkpoint(s), r.w. F1 {self.rw_f1:.4f} at the "
            f"best threshold"
        ]
        parts += [f"left out, as it collapsed: {name}" for name in self.left_out]
        rows = [
            [
                *_cells(stage.weights),
                "" if stage.feature_share is None else f"{stage.feature_share:.3f}",
                "" if stage.change is None else f"{stage.change:+.4f}",
            ]
            for stage in self.stages
        ]
        heads = ["stage", *HEADS, "features", "r.w. F1 without"]
        parts.append(tabulate(rows, heads, style, disable_numparse=True))
        reduced = [(self.spec, "")] + [
            (self.spec.without_deepest(k), f"{change:+.4f}")
            for k, change in enumerate(self.without_deepest, 1)
        ]
        rows = [
            [
                str(self.spec.levels - spec.levels),
                change,
                f"{spec.params():,}",
                f"{spec.flops() / 1e9:.1f} G",
                f"{spec.receptive_field_radius()} px",
            ]
            for spec, change in reduced
        ]
        heads = ["levels dropped", "r.w. F1 without", "parameters", "FLOPs at 512x512",
                 "receptive-field radius"]  # fmt: skip
        parts.append(tabulate(rows, heads, style, disable_numparse=True))
        if self.proposed:
            count = self.spec.levels - self.proposed.levels
            parts.append(
                f"proposed: drop the {count} deepest level(s), at most {TOLERANCE} r.w. F1 is lost"
            )
        elif self.rw_f1 <= TOLERANCE:
            parts.append(f"nothing to propose: there is no more than {TOLERANCE} r.w. F1 to lose")
        else:
            parts.append(f"nothing to propose: no level can go for {TOLERANCE} r.w. F1 or less")
        return "\n\n".join(parts)

    def as_markdown(self) -> str:
        """That, and a line a layer."""
        rows = [_cells(layer) for layer in self.layers]
        table = tabulate(rows, ["layer", *HEADS], "github", disable_numparse=True)
        return f"{self.as_text('github')}\n\n{table}\n"

    def write(self, out: Path) -> None:
        """utilisation.md, utilisation.json and, where a network is proposed, proposed.json.

        Raises:
            OSError: they cannot be written.
        """
        with replacing(out / "utilisation.md") as temporary:
            temporary.write_text(self.as_markdown(), encoding="utf-8")
        proposed = self.proposed.describe() if self.proposed else None
        content = asdict(self) | {"spec": self.spec.describe(), "proposed": proposed}
        write_json(out / "utilisation.json", content)
        if proposed:
            write_json(out / "proposed.json", proposed)


HEADS = ("weights", "spread", "near zero", "dead", "rank")


def _cells(layer: Layer) -> list[str]:
    numbers = (layer.spread, layer.near_zero, layer.dead, layer.rank)
    return [layer.name, f"{layer.weights:,}", *(f"{number:.3f}" for number in numbers)]


def analyse(paths: Sequence[Path], data: Path, out: Path, say: Callable[[str], None]) -> Analysis:
    """Analyse checkpoints of one network and write what was found into `out`.

    A checkpoint in a folder of `train crossval` is scored on the test photos of its fold, another
    one on all photos.

    Args:
        say: is told of each score as it is there.

    Raises:
        BadArgumentError: the checkpoints are of different networks, or `out` is not empty.
        ToolError: a file is no checkpoint, or all checkpoints have collapsed.
        OSError: something cannot be written.
    """
    loaded = {path: load(path) for path in paths}
    specs = {checkpoint.spec for checkpoint in loaded.values()}
    if len(specs) > 1:
        raise BadArgumentError(
            f"the checkpoints are of {len(specs)} networks, "
            f"{', '.join(sorted(spec.key for spec in specs))}; give those of one"
        )
    new_folder(out)
    photos = load_photos(data)
    whole: dict[Path, float] = {}
    changes: dict[str, list[float]] = {}
    feature_shares: dict[str, list[float]] = {}
    layers: dict[str, list[Layer]] = {}
    for path, checkpoint in loaded.items():
        if _said_to_be_collapsed(path):
            continue
        ablation = Ablation(checkpoint, _own_photos(path, checkpoint, photos, data))
        if ablation.whole.collapsed:
            continue
        whole[path] = ablation.whole.score
        say(f"{path}: r.w. F1 {whole[path]:.4f}")
        for name in stages(checkpoint.module()):
            change = ablation.without(name).score - whole[path]
            changes.setdefault(name, []).append(change)
            say(f"{path}: {change:+.4f} without {name}")
        for name, share in ablation.feature_share.items():
            feature_shares.setdefault(name, []).append(share)
        for name, kernel in kernels(checkpoint.weights).items():
            layers.setdefault(name, []).append(measure(name, kernel, ablation.dead[name]))
    if not whole:
        raise ToolError(
            f"{', '.join(map(str, paths))}: collapsed, there is nothing to analyse; train with "
            f"another --seed or --recipe strong"
        )
    (spec,) = specs
    change_of, share_of = (
        {name: float(np.mean(values)) for name, values in found.items()}
        for found in (changes, feature_shares)
    )
    averaged = [of_checkpoints(found) for found in layers.values()]
    by_stage: dict[str, list[Layer]] = {}
    for layer in averaged:
        by_stage.setdefault(layer.stage, []).append(layer)
    without_deepest = [change_of[stage_above(spec, k)] for k in range(1, spec.levels)]
    rw_f1 = float(np.mean(list(whole.values())))
    analysis = Analysis(
        spec=spec,
        used=[str(path) for path in whole],
        left_out=[str(path) for path in loaded if path not in whole],
        rw_f1=rw_f1,
        layers=averaged,
        stages=[
            Stage(of_stage(found), share_of.get(name), change_of.get(name))
            for name, found in by_stage.items()
        ],
        without_deepest=without_deepest,
        proposed=_proposed(spec, rw_f1, without_deepest),
    )
    trained = [kernels(loaded[path].weights) for path in whole]
    write_tensorboard(trained, out / "tensorboard")
    draw(trained, out, spec.title)
    analysis.write(out)
    return analysis


def _proposed(spec: ModelSpec, rw_f1: float, without_deepest: Sequence[float]) -> ModelSpec | None:
    may_go = [k for k, change in enumerate(without_deepest, 1) if change >= -TOLERANCE]
    # A network that finds nothing has nothing to lose, whatever is taken out.
    return spec.without_deepest(max(may_go)) if may_go and rw_f1 > TOLERANCE else None


def _said_to_be_collapsed(path: Path) -> bool:
    """What `train crossval` wrote beside the checkpoint `path`, if it did."""
    result = path.parent / RESULT
    return result.is_file() and FoldResult.read(result).outcome.collapsed


def _own_photos(
    path: Path, checkpoint: Checkpoint, photos: Sequence[Photo], data: Path
) -> Sequence[Photo]:
    """The test photos of a fold of `train crossval`, otherwise all `photos`, which are of `data`.

    Raises:
        ToolError: the fold tests on photos that are not there.
    """
    folder = path.resolve().parent
    split = folder.parent.parent / SPLIT
    fold = re.fullmatch("fold([1-9])", folder.name)
    if not fold or not split.is_file():
        return photos
    folds = Split.read(split)
    units = as_photos(photos, checkpoint.training["crop"]) if folds.by == "crop" else photos
    return chosen(units, folds.folds[int(fold[1]) - 1].test, data)
