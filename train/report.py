"""Runs as one HTML file: what they came from, how they learnt, and what they get wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.particles import ParticleFilter
from edge.samples.charts import Line, Row, bars, lines, nice_above, short
from edge.samples.document import document, jpeg_uri, section, table
from train import paper
from train.crossval import results
from train.data.store import Store
from train.evaluate import probability_maps
from train.metrics import LABELS, ObjectCounts, match_objects
from train.photo_errors import PhotoErrors, recall_by_size
from train.precision_recall import Curve, evaluate_masks
from train.provenance import content_sha256
from train.run_folder import Points, RunFolder
from train.tables import OURS, TABLES, CrossvalTables, ScoreRow

TITLE = "Settings and scores"
WORST = 6
# Side of what is shown of a large photo, px.
VIEW_PX = 480
JPEG_QUALITY = 88
# Points of a training curve that are drawn; more are averaged.
DRAWN = 200

# Blue and yellow of Okabe and Ito, and their vermilion made brighter: told apart by all kinds of
# colour vision. In print the shapes tell them apart.
CSS = """
.compare td { white-space: normal; overflow-wrap: anywhere; text-align: left; min-width: 9rem; vertical-align: top; }
.compare td:first-child { min-width: 6.5rem; overflow-wrap: normal; position: sticky; left: 0; background: var(--card); color: var(--faint); }
.compare th { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.chart .point { stroke-width: 2; }
.dash { display: inline-block; width: 1.4rem; border-top: 2px solid var(--accent); vertical-align: .25rem; }
.dash.second { border-top: 2px dashed var(--second); }
.worst { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); margin-top: .5rem; }
.worst svg { display: block; width: 100%; height: auto; max-height: 34rem; background: #000; border-radius: .3rem; }
.marks { display: inline-block; width: 1.2rem; height: 1.2rem; vertical-align: -.25rem; background: #6b6256; border-radius: .2rem; }
.tp, .fp, .fn, .halo { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
.halo { stroke: #000; stroke-width: 4; stroke-opacity: .75; }
.tp { stroke: #56b4e9; } .fp { stroke: #f0e442; } .fn { stroke: #ff7a2e; }
"""  # noqa: E501
KINDS = {
    "tp": "circle: found (TP)",
    "fp": "square: no particle there (FP)",
    "fn": "diamond: missed (FN)",
}


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """A run on photos that it has not seen, at its own threshold.

    `photos`: what they are.
    """

    photos: str
    sha256: str
    curve: Curve
    errors: list[PhotoErrors]


def evaluate_run(run: RunFolder, data: Path | None, tolerance: int) -> EvaluatedRun:
    """Score the best checkpoint of `run`.

    Args:
        data: of `RunFolder.held_out`.
        tolerance: px that a detection may lie beside a labelled object.

    Raises:
        EdgeError: the photos cannot be had.
    """
    photos, what = run.held_out(data)
    store = Store()
    maps = list(map(store.keep, probability_maps(run.best, (photo.image for photo in photos))))
    particle_filter = ParticleFilter.of(run.best)
    errors = [
        PhotoErrors.of(
            photo,
            match_objects(
                particle_filter.mask(probability), photo.labels, tolerance, photo.doubtful
            ),
        )
        for photo, probability in zip(photos, maps, strict=True)
    ]
    curve = evaluate_masks(maps, photos, tolerance, particle_filter)
    return EvaluatedRun(what, content_sha256(photos), curve, errors)


class RunReport:
    """Runs side by side, and crossval folders with their tables.

    Args:
        data, tolerance: of `evaluate_run`.
    """

    def __init__(self, data: Path | None = None, tolerance: int = 0) -> None:
        self._data, self._tolerance = data, tolerance
        self._columns: list[tuple[RunFolder, EvaluatedRun | None]] = []
        self._sections: list[str] = []
        self.notes: list[str] = []

    def add_run(self, path: Path) -> None:
        """A run; what cannot be had of it is left out and noted.

        Raises:
            EdgeError: as `RunFolder.read`.
        """
        run = RunFolder.read(path)
        evaluated = None
        try:
            evaluated = evaluate_run(run, self._data, self._tolerance)
        except EdgeError as error:
            self.notes.append(f"{run.name}: no precision, recall and photos ({error})")
        self._columns.append((run, evaluated))
        curves = run.curves()
        charts = [*_training(run, curves), *(_accuracy(evaluated) if evaluated else [])]
        if not curves:
            self.notes.append(f"{run.name}: no training curves (nothing in tensorboard/)")
        content = f'<div class="many">{"".join(charts)}</div>' if charts else ""
        self._sections.append(section(f"Run {run.name}", content + _worst(evaluated)))

    def add_crossval(self, path: Path) -> None:
        """A folder of 'train crossval': its tables, and its folds in the comparison.

        Raises:
            EdgeError: there is no finished fold, or one is damaged.
        """
        found = results(path)
        tables = CrossvalTables(found)
        for one in found:
            self._columns.append((RunFolder.read(path / one.model / f"fold{one.fold}"), None))
        self._sections.append(section(f"Folds of {path.resolve().name}", _crossval(tables)))

    def html(self) -> str:
        """The page, in UTF-8."""
        count = len(self._columns)
        made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        parts = [section(TITLE, _comparison(self._columns)), *self._sections]
        if self.notes:
            items = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
            parts.append(section("Left out", f"<ul>{items}</ul>"))
        title = f"Training report: {count} run{'s' * (count != 1)}"
        return document(title, f"made {made}", parts, CSS)


def _comparison(columns: Sequence[tuple[RunFolder, EvaluatedRun | None]]) -> str:
    facts = [
        {**_facts(run), **(_scores(evaluated) if evaluated else {})} for run, evaluated in columns
    ]
    labels = dict.fromkeys(label for one in facts for label in one)
    body = []
    for label in labels:
        cells = [one.get(label, "-") for one in facts]
        body.append([f"{label} ≠" if len(set(cells)) > 1 else label, *cells])
    note = (
        "Data SHA-256 is of the photos and masks that train and validate, so each fold has its own."
    )
    if len(columns) > 1:
        note = f"≠: the runs differ in it. {note}"
    head = ["", *(run.name for run, _ in columns)]
    return f'<div class="compare">{table(head, body, TITLE)}</div><p class="note">{note}</p>'


def _facts(run: RunFolder) -> dict[str, str]:
    """What a run came from, and how it ended, by label."""
    asked, best, training = run.settings, run.best, run.settings["training"]
    start: dict[str, Any] = run.starts[-1] if run.starts else {}
    at_0_5 = best.training["validation_at_0.5"]["rw_f1"]
    at_threshold = best.training["validation_at_threshold"]["rw_f1"]
    facts = {
        "model": best.spec.key,
        "recipe": asked["recipe"]["key"],
        "learning rate": f"{asked['recipe']['learning_rate']:g}",
        "started from": f"weights {asked['init'][:12]}" if asked.get("init") else "random weights",
        "data": asked["data"],
        "training photos": "rendered" if isinstance(training, dict) else str(len(training)),
        "validation photos": str(len(asked["validation"])),
        "data SHA-256": (start.get("data_sha256") or "-")[:12],
        "epochs": f"{run.last['epochs']} of {asked['epochs']}, best {best.training['epochs']}",
        "steps": str(run.last["steps"]),
        "batch": str(asked["batch"]),
        "crop": f"{asked['crop']} px",
        "seed": str(asked["seed"]),
        "numeric precision": asked["precision"],
        "date": _minute(start.get("date")),
        "command": start.get("command") or "-",
        "version": start.get("version") or "-",
        "commit": _short_commit(start.get("commit")),
    }
    if len(run.starts) > 1:
        facts["resumed"] = (
            f"{len(run.starts) - 1} times with another command, code or data; the last is shown"
        )
    return {
        **facts,
        "threshold": f"{best.threshold:g}",
        "validation r.w. F1 at it": f"{at_threshold:.4f}",
        "where the sigmoid exceeds 0.5": f"{at_0_5:.4f}",
    }


def _minute(date: str | None) -> str:
    """A date of ISO 8601 in UTC, for people."""
    return f"{date[:16].replace('T', ' ')} UTC" if date else "-"


def _short_commit(commit: str | None) -> str:
    if not commit:
        return "-"
    revision, _, dirty = commit.partition("-")
    return revision[:12] + (" with changes" if dirty else "")


def _scores(evaluated: EvaluatedRun) -> dict[str, str]:
    row = evaluated.curve.operating_row
    total = row.total

    def with_interval(score: Callable[[ObjectCounts], float]) -> str:
        if len(row.counts) == 1:  # photos are drawn anew, so one gives none
            return f"{score(total):.3f}"
        low, high = row.interval(score)
        return f"{score(total):.3f} ({low:.3f} to {high:.3f})"

    return {
        "evaluated on": f"{evaluated.photos} (SHA-256 {evaluated.sha256[:12]})",
        "TP, FP, FN": f"{total.tp}, {total.fp}, {total.fn}",
        "recall": with_interval(ObjectCounts.recall),
        "precision": with_interval(ObjectCounts.precision),
        "F1": with_interval(ObjectCounts.f1),
        "FP per megapixel": short(row.fp_per_megapixel),
    }


def _training(run: RunFolder, curves: Mapping[str, Points]) -> list[str]:
    """Charts of loss and validation."""
    charts = []
    end = max((points[-1][0] for points in curves.values()), default=0)
    if loss := _thinned(curves.get("loss", [])):
        # The first steps may be many times higher than all others.
        highest = nice_above(float(np.quantile([y for _, y in loss], 0.95)))
        chart = lines([Line(loss)], "Training loss over steps", (0, end), highest, "steps")
        cut = "; higher values are cut off" if max(y for _, y in loss) > highest else ""
        charts.append(_chart("Training loss", chart, f"Mean over neighbouring steps{cut}."))
    if validation := curves.get("rw_f1"):
        step = run.best.training["steps"] - 1
        best = next((point for point in validation if point[0] == step), None)
        drawn = [
            Line(_thinned(validation), marked=best),
            Line(_thinned(curves.get("rw_f1_at_0.5", [])), second=True),
        ]
        chart = lines(drawn, "Validation scores over steps", (0, end), 1.0, "steps")
        note = (
            '<span class="dash"></span> r.w. F1 of pixels at the best threshold; '
            '<span class="dash second"></span> where the sigmoid exceeds 0.5; the dot is the best '
            "epoch."
        )
        charts.append(_chart("Validation", chart, note))
    return charts


def _accuracy(evaluated: EvaluatedRun) -> list[str]:
    """Charts of precision over recall, and of recall by size."""
    # A threshold that nothing reaches has no precision.
    rows = [row for row in evaluated.curve.rows if row.total.tp + row.total.fp]
    used = evaluated.curve.operating_row
    points = [(row.recall, row.precision) for row in rows]
    marked = (used.recall, used.precision)
    chart = lines([Line(points, marked=marked)], "Precision over recall", (0, 1), 1.0, "recall")
    note = (
        f"Precision (upwards) over recall of objects, as the threshold falls; the dot is the run's "
        f"own, {used.threshold:g}: recall {used.recall:.3f}, precision {used.precision:.3f}. "
        "At the lowest thresholds detections grow together."
    )
    charts = [_chart("Precision and recall", chart, note)]
    sizes = recall_by_size(evaluated.errors)
    if sizes:
        size_rows = [
            Row(f"{s.name} ({s.counts.true})", s.counts.recall(), s.low, s.high) for s in sizes
        ]
        chart = bars(size_rows, "Recall by size", end=1.0)
        note = "Labelled objects by diameter, their number in brackets"
        note += "; 95% intervals over photos." if len(evaluated.errors) > 1 else "."
        charts.append(_chart("Recall by size", chart, note))
    return charts


def _chart(title: str, chart: str, note: str) -> str:
    return f'<div class="chart"><h3>{title}</h3>{chart}<p class="note">{note}</p></div>'


def _worst(evaluated: EvaluatedRun | None) -> str:
    """The photos with the most errors, objects marked."""
    if not evaluated:
        return ""
    worst = sorted((one for one in evaluated.errors if one.errors), key=lambda one: -one.errors)
    if not worst:
        return f'<p class="note">No false positive or negative on {escape(evaluated.photos)}.</p>'
    legend = " ".join(
        f'<svg class="marks" viewBox="-8 -8 16 16" aria-hidden="true">'
        f"{_path(kind, np.array([[0.0, 0.0, 6.0]]), 2)}</svg> {text};"
        for kind, text in KINDS.items()
    )
    figures = "".join(_figure(one) for one in worst[:WORST])
    return (
        f'<h3>Most errors</h3><p class="note">{legend} at the run\'s own threshold, on '
        f'{escape(evaluated.photos)}.</p><div class="worst">{figures}</div>'
    )


def _figure(errors: PhotoErrors) -> str:
    left, top, width, height = errors.window(VIEW_PX)
    part = errors.sample.image[top : top + height, left : left + width]
    # Marks as large as on a view of full size, also on small photos.
    margin = max(2.0, 3 * max(width, height) / VIEW_PX)
    marks = "".join(_path(kind, getattr(errors, kind), margin) for kind in KINDS)
    counts = errors.counts
    whole = errors.sample.size_hw == (height, width)
    text = f"{errors.sample.name}: {counts.tp} TP, {counts.fp} FP, {counts.fn} FN"
    if not whole:
        text += f"; shown is the part at {left}, {top} px with the most errors"
    place = f'x="{left}" y="{top}" width="{width}" height="{height}"'
    uri = jpeg_uri(part, JPEG_QUALITY)
    return (
        f'<figure><svg viewBox="{left} {top} {width} {height}" role="img" '
        f'aria-label="{escape(text)}"><image {place} href="{uri}"/>{marks}</svg>'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )


def _path(kind: str, objects: NDArray[np.float64], margin: float) -> str:
    """Marks around objects (n,3) as SVG, `margin` px away from them."""
    parts = []
    for x, y, diameter in (objects + np.array([0.5, 0.5, 0.0])).tolist():  # to pixels' middles
        r = diameter / 2 + margin
        if kind == "tp":
            parts.append(f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {2 * r:.1f} 0")
            parts.append(f"a{r:.1f} {r:.1f} 0 1 0 {-2 * r:.1f} 0")
        elif kind == "fp":
            parts.append(f"M{x - r:.1f} {y - r:.1f}h{2 * r:.1f}v{2 * r:.1f}h{-2 * r:.1f}z")
        else:
            d = 1.3 * r
            parts.append(f"M{x - d:.1f} {y:.1f}l{d:.1f} {-d:.1f} {d:.1f} {d:.1f} {-d:.1f} {d:.1f}z")
    if not parts:
        return ""
    path = "".join(parts)
    return f'<path class="halo" d="{path}"/><path class="{kind}" d="{path}"/>'


def _crossval(tables: CrossvalTables) -> str:
    rows = list(tables.rows(("rw_f1",)))
    chart_rows = []
    for row in rows:
        ours = row.source == OURS
        low, high = row.interval or (row.average, row.average)
        points = [value for value in row.folds if value is not None]
        name = tables.title(row.model) if ours else "the paper"
        chart_rows.append(Row(name, row.average, low, high, points, second=not ours))
    chart = bars(chart_rows, "Recall-weighted F1 of each network, average of the folds")
    note = (
        '<span class="key"></span> recall-weighted F1 of pixels, average of the folds, with 95% '
        'interval, each fold a point; <span class="key second"></span> the paper, which requires '
        f"{paper.BAR['rw_f1']:g}."
    )
    parts = [_chart("Recall-weighted F1", chart, note)]
    for title, scores in TABLES:
        parts.append(f"<h3>{escape(title)}</h3>")
        parts.append(_score_table(tables, list(tables.rows(scores)), title))
    head = ["", *LABELS.values(), "object recall", "FP per photo", "collapsed folds"]
    body = [
        [
            one.title,
            *(f"{one.scores[key]:.4f}" for key in LABELS),
            f"{one.object_recall:.3f}",
            f"{one.fp_per_photo:.1f}",
            ", ".join(map(str, one.collapsed)) or "-",
        ]
        for one in tables.summaries()
    ]
    title = "At the threshold chosen on the validation photos, averages over the folds"
    parts += [f"<h3>{title}</h3>", table(head, body, title)]
    return "".join(parts)


def _score_table(tables: CrossvalTables, rows: Iterable[ScoreRow], title: str) -> str:
    found = list(rows)
    folds = len(found[0].folds)
    head = ["", "", "", *(f"fold {n}" for n in range(1, folds + 1)), "average", "95% interval"]
    body = []
    for row in found:
        interval = "{:.4f}-{:.4f}".format(*row.interval) if row.interval else ""
        numbers = ["-" if v is None else f"{v:.4f}" for v in (*row.folds, row.average)]
        name = tables.title(row.model)
        body.append([name, LABELS[row.score], row.source, *numbers, interval])
    return table(head, body, title)


def _thinned(points: Points) -> Points:
    """At most `DRAWN` points, means over equal parts of more."""
    if len(points) <= DRAWN:
        return points
    parts = np.array_split(np.array(points), DRAWN)
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]
