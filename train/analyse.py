"""Which stages and residual units of a trained network contribute, and a smaller one that would do.

The paper reads this off histograms (Sections 4.5, 4.6); here weights, ablation and a proposal.

OUT/utilisation.md, .json      the numbers
OUT/proposed.json              the smaller network, for `train fit`; only where there is one
OUT/stages.png, components.png, tensorboard/   histograms of the kernels
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tabulate import tabulate

from edge.errors import BadArgumentError, EdgeError, printable
from edge.files import atomic_write, ensure_empty_directory, write_json
from train.ablation import Ablation, stage_above, stages
from train.checkpoint import Checkpoint, load
from train.crossval import RESULT, SPLIT, FoldResult, load_samples
from train.data.crops import as_samples
from train.data.folds import Split, chosen
from train.data.samples import Sample
from train.models.registry import build
from train.models.spec import ModelSpec, MultiResSpec
from train.reduction import TOLERANCE, Change, Reduction, fewest_units, reduce, units_from
from train.utilisation import LayerUtilisation, kernels, layer_utilisation, of_checkpoints, of_part
from train.weight_histograms import draw, write_tensorboard


@dataclass(frozen=True)
class Stage:
    """One stage, averaged over the checkpoints: its weights, and what it contributes.

    `feature_fraction`: see `Ablation`, None where the stage is no MultiRes block; `change`: of r.w.
    F1 when its output is replaced by its mean, None for stem and head.
    """

    weights: LayerUtilisation
    feature_fraction: float | None
    change: float | None


@dataclass(frozen=True)
class Unit:
    """One residual unit, averaged over the checkpoints: its weights, and what it contributes.

    `change`: of r.w. F1 when the unit is bypassed, or its output replaced by its mean where that
    has another number of channels than its input. `change_from_here`: with all units behind it
    bypassed, too; None where it cannot be bypassed.
    """

    weights: LayerUtilisation
    change: float
    change_from_here: float | None


@dataclass(frozen=True)
class Analysis:
    """What `analyse` found.

    Each r.w. F1 is that at the best threshold on the very photos, with a stage taken out as well as
    without: a constant moves all probabilities alike, which a network trained anew would not show.
    `without_deepest[k-1]` is the change of r.w. F1 with the k deepest levels taken out. `proposed`
    is the network without what may go; None where nothing may.
    """

    spec: ModelSpec
    used: list[str]
    left_out: list[str]
    rw_f1: float
    layers: list[LayerUtilisation]
    stages: list[Stage]
    units: list[Unit]
    without_deepest: list[float]
    proposed: Reduction | None

    def describe(self, style: str = "simple") -> str:
        """Stages, units and proposal, for a terminal, or as Markdown with style "github"."""
        parts = [
            f"{self.spec.title}, {len(self.used)} checkpoint(s), r.w. F1 {self.rw_f1:.4f} at the "
            f"best threshold"
        ]
        parts += [f"left out, as it collapsed: {printable(name)}" for name in self.left_out]
        tables = [self._stage_rows(), self._unit_rows(), self._level_rows()]
        parts += [
            tabulate(rows, heads, style, disable_numparse=True) for heads, rows in tables if rows
        ]
        return "\n\n".join([*parts, self._proposal()])

    def _stage_rows(self) -> Table:
        heads = ["stage", *HEADS, "features", "r.w. F1 without"]
        return heads, [
            [
                *_cells(stage.weights),
                "" if stage.feature_fraction is None else f"{stage.feature_fraction:.3f}",
                _signed(stage.change),
            ]
            for stage in self.stages
        ]

    def _unit_rows(self) -> Table:
        heads = ["residual unit", *HEADS, "r.w. F1 without", "and those behind it"]
        return heads, [
            [*_cells(unit.weights), _signed(unit.change), _signed(unit.change_from_here)]
            for unit in self.units
        ]

    def _level_rows(self) -> Table:
        heads = ["levels dropped", "r.w. F1 without", *COSTS]
        return heads, [["0", "", *_costs(self.spec)]] + [
            [str(k), _signed(change), *_costs(self.spec.without_deepest(k))]
            for k, change in enumerate(self.without_deepest, 1)
        ]

    def _proposal(self) -> str:
        if not self.proposed:
            if self.rw_f1 <= TOLERANCE:
                return f"nothing to propose: there is no more than {TOLERANCE} r.w. F1 to lose"
            return (
                f"nothing to propose: no level and no residual unit can go for {TOLERANCE} r.w. F1 "
                f"or less"
            )
        spec, what = self.proposed.spec, []
        if spec.levels < self.spec.levels:
            what.append(f"drop the {self.spec.levels - spec.levels} deepest level(s)")
        if isinstance(spec, MultiResSpec) and isinstance(self.spec, MultiResSpec):
            kept, had = spec.units, self.spec.units[: spec.levels]
            if kept != had:
                what.append(
                    f"keep {', '.join(map(str, kept))} of {', '.join(map(str, had))} residual "
                    f"units (level 0 first)"
                )
        costs = ", ".join(f"{head} {cost}" for head, cost in zip(COSTS, _costs(spec), strict=True))
        return (
            f"proposed: {'; '.join(what)}: r.w. F1 {self.proposed.change:+.4f} without, {costs}; "
            f"at most {TOLERANCE} may be lost"
        )

    def as_markdown(self) -> str:
        """The same with one row per layer."""
        rows = [_cells(layer) for layer in self.layers]
        table = tabulate(rows, ["layer", *HEADS], "github", disable_numparse=True)
        return f"{self.describe('github')}\n\n{table}\n"

    def write(self, out: Path) -> None:
        """utilisation.md, utilisation.json and, where a network is proposed, proposed.json.

        Raises:
            OSError: they cannot be written.
        """
        with atomic_write(out / "utilisation.md") as temporary:
            temporary.write_text(self.as_markdown(), encoding="utf-8")
        content = asdict(self) | {"spec": self.spec.describe()}
        if self.proposed:
            description = self.proposed.spec.describe()
            content["proposed"]["spec"] = description
            write_json(out / "proposed.json", description)
        write_json(out / "utilisation.json", content)


Table = tuple[list[str], list[list[str]]]  # heads and rows
HEADS = ("weights", "relative std", "near zero", "dead", "rank")
COSTS = ("parameters", "FLOPs at 512x512", "receptive-field radius")


def _costs(spec: ModelSpec) -> list[str]:
    radius = spec.receptive_field_radius()
    return [f"{spec.params():,}", f"{spec.flops() / 1e9:.1f} G", f"{radius} px"]


def _signed(change: float | None) -> str:
    return "" if change is None else f"{change:+.4f}"


def _cells(layer: LayerUtilisation) -> list[str]:
    numbers = (layer.relative_std, layer.near_zero, layer.dead, layer.rank)
    return [layer.name, f"{layer.weights:,}", *(f"{number:.3f}" for number in numbers)]


def analyse(
    paths: Sequence[Path],
    data: Path,
    out: Path,
    on_progress: Callable[[str], None],
    classes: Sequence[str] = (),
) -> Analysis:
    """Analyse checkpoints of one network and write what was found into `out`.

    A checkpoint in a folder of `train crossval` is scored on the test photos of its fold, another
    one on all photos.

    Args:
        on_progress: callback for a line on each score.
        classes: of a COCO file that count as particle.  [default: all]

    Raises:
        BadArgumentError: the checkpoints are of different networks, or `out` is not empty.
        EdgeError: a file is no checkpoint, or all checkpoints have collapsed.
        OSError: something cannot be written.
    """
    loaded = {path: load(path) for path in paths}
    specs = {checkpoint.spec for checkpoint in loaded.values()}
    if len(specs) > 1:
        raise BadArgumentError(
            f"the checkpoints are of {len(specs)} networks, "
            f"{', '.join(sorted(spec.key for spec in specs))}; give those of one"
        )
    ensure_empty_directory(out)
    photos = load_samples(data, classes, on_progress)
    ablations: dict[Path, Ablation] = {}
    for path, checkpoint in loaded.items():
        if _said_to_be_collapsed(path):
            continue
        ablation = Ablation(checkpoint, _own_photos(path, checkpoint, photos, data))
        if not ablation.whole.collapsed:
            ablations[path] = ablation
            on_progress(f"{path}: r.w. F1 {ablation.whole.score:.4f}")
    if not ablations:
        raise EdgeError(
            f"{', '.join(map(str, paths))}: collapsed, there is nothing to analyse; train with "
            f"another --seed or --recipe strong"
        )
    (spec,) = specs

    @cache
    def change(*names: str) -> float:
        changes = []
        for path, ablation in ablations.items():
            changes.append(ablation.without(*names).score - ablation.whole.score)
            on_progress(f"{path}: {changes[-1]:+.4f} without {', '.join(names)}")
        return float(np.mean(changes))

    trained = [kernels(loaded[path].weights) for path in ablations]
    layers = [
        of_checkpoints(
            [
                layer_utilisation(name, found[name], ablation.dead[name])
                for found, ablation in zip(trained, ablations.values(), strict=True)
            ]
        )
        for name in trained[0]
    ]
    rw_f1 = float(np.mean([ablation.whole.score for ablation in ablations.values()]))
    analysis = Analysis(
        spec=spec,
        used=[str(path) for path in ablations],
        left_out=[str(path) for path in loaded if path not in ablations],
        rw_f1=rw_f1,
        layers=layers,
        stages=_stages(spec, layers, list(ablations.values()), change),
        units=_units(spec, layers, change),
        without_deepest=[change(stage_above(spec, k)) for k in range(1, spec.levels)],
        # A network without true positives has nothing to lose, whatever is taken out.
        proposed=reduce(spec, change) if rw_f1 > TOLERANCE else None,
    )
    write_tensorboard(trained, out / "tensorboard")
    draw(trained, out, spec.title)
    analysis.write(out)
    return analysis


def _stages(
    spec: ModelSpec,
    layers: Sequence[LayerUtilisation],
    ablations: Sequence[Ablation],
    change: Change,
) -> list[Stage]:
    removable = stages(build(spec))
    found = []
    for name in dict.fromkeys(layer.stage for layer in layers):
        fractions = [a.feature_fraction[name] for a in ablations if name in a.feature_fraction]
        found.append(
            Stage(
                of_part(name, layers),
                float(np.mean(fractions)) if fractions else None,
                change(name) if name in removable else None,
            )
        )
    return found


def _units(spec: ModelSpec, layers: Sequence[LayerUtilisation], change: Change) -> list[Unit]:
    if not isinstance(spec, MultiResSpec):
        return []
    found = []
    for level, count in enumerate(spec.units):
        for unit in range(count):
            from_here = units_from(spec, level, unit)
            bypassed = unit >= fewest_units(spec, level)
            found.append(
                Unit(
                    of_part(from_here[0], layers),
                    change(from_here[0]),
                    change(*from_here) if bypassed else None,
                )
            )
    return found


def _said_to_be_collapsed(path: Path) -> bool:
    """What `train crossval` wrote beside the checkpoint `path`, if it did."""
    result = path.parent / RESULT
    return result.is_file() and FoldResult.read(result).training_result.collapsed


def _own_photos(
    path: Path, checkpoint: Checkpoint, photos: Sequence[Sample], data: Path
) -> Sequence[Sample]:
    """The test photos of a fold of `train crossval`, otherwise all `photos`, which are of `data`.

    Raises:
        EdgeError: the fold tests on photos that are not there.
    """
    folder = path.resolve().parent
    split = folder.parent.parent / SPLIT
    fold = re.fullmatch("fold([1-9])", folder.name)
    if not fold or not split.is_file():
        return photos
    folds = Split.read(split)
    units = as_samples(photos, checkpoint.training["crop"]) if folds.by == "crop" else photos
    return chosen(units, folds.folds[int(fold[1]) - 1].test, data)
