"""Tables 1, 2 and 3 of the paper with its numbers beside ours, as text, Markdown, CSV and bars."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from tabulate import tabulate

from edge.files import atomic_write
from train import paper
from train.crossval import FoldResult
from train.data.folds import FOLDS
from train.evaluate import SampleMetrics
from train.metrics import LABELS, SCORES, ZERO_COUNTS, confidence_interval

matplotlib.use("Agg")
from matplotlib import pyplot

# (title, the scores it holds) as in the paper.
TABLES = (
    ("Table 1. Precision and recall", ("precision", "recall")),
    ("Table 2. F1 and mIoU", ("f1", "miou")),
    ("Table 3. Recall-weighted F1 and mIoU", ("rw_f1", "rw_miou")),
)
OURS, PAPER = "ours", "paper"


@dataclass(frozen=True)
class ScoreRow:
    """One score of one model over the folds, ours or the paper's.

    `interval`: of the average, 95% bootstrap over the test photos; the paper gives none.
    """

    model: str
    score: str
    source: str
    folds: tuple[float | None, ...]
    average: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class ModelSummary:
    """One model at its own threshold: averages over folds, and objects over all test photos."""

    title: str
    scores: dict[str, float]
    object_recall: float
    fp_per_photo: float
    collapsed: tuple[int, ...]


class CrossvalTables:
    """Tables of finished folds, by model."""

    def __init__(self, results: Sequence[FoldResult]) -> None:
        self._models: dict[str, list[FoldResult]] = {}
        for result in results:
            self._models.setdefault(result.model, []).append(result)

    def rows(self, scores: Sequence[str]) -> Iterator[ScoreRow]:
        """By the paper's rule: a pixel is positive where the plain sigmoid exceeds 0.5."""
        for key, folds in self._models.items():
            for score in scores:
                yield _ours(key, folds, score)
                if key in paper.CASES:
                    yield _papers(key, score)

    def summaries(self) -> Iterator[ModelSummary]:
        """At the threshold that was chosen on each fold's validation photos."""
        for folds in self._models.values():
            photos = [photo for fold in folds for photo in fold.at_threshold]
            objects = [photo.objects for photo in photos]
            true = sum(o.true for o in objects)
            yield ModelSummary(
                folds[0].title,
                {s: _average(folds, s, "at_threshold") for s in SCORES},
                sum(o.tp for o in objects) / true if true else 0.0,
                sum(o.fp for o in objects) / len(photos),
                tuple(fold.fold for fold in folds if fold.training_result.collapsed),
            )

    def title(self, key: str) -> str:
        return self._models[key][0].title

    def describe(self, style: Literal["simple", "github"] = "simple") -> str:
        """All tables, for a terminal or as Markdown."""
        heads = ["", "", "", *(f"fold {n}" for n in range(1, FOLDS + 1)), "average", "95% interval"]
        parts = []
        for title, scores in TABLES:
            body = []
            for row in self.rows(scores):
                interval = "{:.4f}-{:.4f}".format(*row.interval) if row.interval else ""
                numbers = ["-" if v is None else f"{v:.4f}" for v in (*row.folds, row.average)]
                name = self.title(row.model) if row.source == OURS else ""
                body.append([name, LABELS[row.score], row.source, *numbers, interval])
            parts.append(f"{title}\n\n{tabulate(body, heads, style, disable_numparse=True)}")
        body = [
            [
                s.title,
                *(f"{s.scores[key]:.4f}" for key in LABELS),
                f"{s.object_recall:.3f}",
                f"{s.fp_per_photo:.1f}",
                ", ".join(map(str, s.collapsed)),
            ]
            for s in self.summaries()
        ]
        heads = ["", *LABELS.values(), "object recall", "FP per photo", "collapsed folds"]
        parts.append(
            "Ours at the threshold chosen on the validation photos (averages over the folds)\n\n"
            + tabulate(body, heads, style, disable_numparse=True)
        )
        return "\n\n".join(parts) + "\n"

    def as_csv(self) -> str:
        """One row per model, score and source, folds in columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        folds = [f"fold{n}" for n in range(1, FOLDS + 1)]
        writer.writerow(["model", "score", "source", *folds, "average", "low_95", "high_95"])
        for row in self.rows(tuple(LABELS)):
            values = ["" if v is None else round(v, 4) for v in (*row.folds, row.average)]
            ends = [round(v, 4) for v in row.interval] if row.interval else ["", ""]
            writer.writerow([row.model, row.score, row.source, *values, *ends])
        return text.getvalue()

    def write(self, out: Path) -> list[Path]:
        """tables.md, tables.csv and tables.png into `out`.

        Raises:
            OSError: they cannot be written; earlier ones stay.
        """
        paths = [out / f"tables.{suffix}" for suffix in ("md", "csv", "png")]
        for path, text in zip(paths, (self.describe("github"), self.as_csv()), strict=False):
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        with atomic_write(paths[2]) as temporary:
            self.draw(temporary)
        return paths

    def draw(self, path: Path) -> None:
        """Bars of the recall-weighted scores, one dot per fold, beside the paper's."""
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        for axis, score in zip(axes, ("rw_f1", "rw_miou"), strict=True):
            rows = list(self.rows((score,)))
            models = list(self._models)
            for source, shift, colour in ((OURS, -0.2, "#3366aa"), (PAPER, 0.2, "#bbbbbb")):
                chosen = [row for row in rows if row.source == source]
                at = np.array([models.index(row.model) for row in chosen]) + shift
                axis.bar(at, [r.average for r in chosen], 0.38, label=source, color=colour)
                for x, row in zip(at, chosen, strict=True):
                    dots = [v for v in row.folds if v is not None]
                    axis.plot([x] * len(dots), dots, ".", color="#222222", markersize=4)
            axis.axhline(paper.BAR[score], color="#cc4444", linewidth=1, linestyle="--")
            axis.text(
                -0.45, paper.BAR[score], "required (Section 4.4)", color="#cc4444", va="bottom",
                fontsize=8,
            )  # fmt: skip
            axis.set_xticks(
                range(len(models)), [self.title(m).replace(" ", "\n") for m in models], fontsize=8
            )
            axis.set_title(f"{LABELS[score]}, average of the folds", fontsize=10)
            axis.set_ylim(0, None)
            axis.legend(frameon=False, fontsize=8)
            axis.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=120, format="png")
        pyplot.close(figure)


def _average(folds: Sequence[FoldResult], score: str, rule: str) -> float:
    return float(np.mean([_micro(getattr(fold, rule), score) for fold in folds]))


def _micro(photos: Sequence[SampleMetrics], score: str) -> float:
    """A score of the pixels of all photos together."""
    return SCORES[score](sum((p.pixels for p in photos), ZERO_COUNTS))


def _ours(key: str, folds: Sequence[FoldResult], score: str) -> ScoreRow:
    by_number = {fold.fold: _micro(fold.at_0_5, score) for fold in folds}
    photos = [[photo.pixels for photo in fold.at_0_5] for fold in folds]
    return ScoreRow(
        key,
        score,
        OURS,
        tuple(by_number.get(n) for n in range(1, FOLDS + 1)),
        _average(folds, score, "at_0_5"),
        confidence_interval(photos, SCORES[score]),
    )


def _papers(key: str, score: str) -> ScoreRow:
    folds = tuple(SCORES[score](paper.counts(*case)) for case in paper.CASES[key])
    return ScoreRow(key, score, PAPER, folds, paper.AVERAGES[key][list(LABELS).index(score)], None)
