"""A report as one HTML file that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge.samples.charts import Row, bars, curve, short
from edge.samples.document import document, section, table
from edge.samples.estimate import Estimate
from edge.samples.report import SampleReport
from edge.samples.results import Results
from edge.samples.sample import UNITS, SampleSummary

UNIT_NAMES = {"per_m2": "per m²", "per_kg": "per kg", "per_l": "per litre"}
# What the names of colours look like.
SWATCHES = {
    "white": "#f4f4f0", "grey": "#8a8f93", "black": "#1b1b1f", "brown": "#7b4a24", "red": "#d02f2f",
    "orange": "#ee8a1f", "yellow": "#efd829", "green": "#3a9b4b", "blue": "#2f66cf",
    "purple": "#8a3fb0", "pink": "#f0a0b8",
}  # fmt: skip
RULES = """Sizes are largest Feret diameters. A particle is called a fibre where it is longer than
three times its width, a pellet where its outline is round, a fragment otherwise, and unclear where
that is right in fewer than 80 of 100 cases at its size. Films are counted as fragments: a picture
from above does not show how thick they are. Colours are those that the camera saw; a transparent
particle has that of its ground. Volumes are of ellipsoids as thick as they are wide, so too large
for flat particles."""


def page(report: SampleReport) -> str:
    """The HTML, in UTF-8."""
    samples = [one for one in report.summaries if not one.sample.blank]
    names = ", ".join(result.name for result in report.results)
    sections = [
        _samples(report, samples),
        *(_classes(report.summaries, kind, title) for kind, title in (
            ("size", "Size classes"), ("shape", "Shapes"), ("colour", "Colours"),
        )),
        *(_belt(result) for result in report.results if result.segments),
        _method(report),
    ]  # fmt: skip
    title = f"Microplastics report: {len(samples)} sample{'s' * (len(samples) != 1)}"
    return document(title, f"from {names}; made {report.made}", sections)


def _samples(report: SampleReport, samples: Sequence[SampleSummary]) -> str:
    rows = []
    for one in report.summaries:
        name = one.sample.name + (" (blank)" if one.sample.blank else "")
        rows.append(_row(name, one.count, one.sample.counts))
        if one.corrected:
            rows.append(_row("corrected", one.corrected, second=True))
    chart = bars(rows, "Particles per repeat of each sample, with 95% intervals")
    key = (
        '<p class="note"><span class="key"></span> particles per repeat, as found: mean (bar), 95% '
        "interval of the mean (line), each repeat (points)"
    )
    if any(one.corrected for one in samples):
        key += '; <span class="key second"></span> corrected'
    head = ["sample", "repeats", "particles per repeat", "SD"]
    units = [unit for unit in UNITS if any(unit in one.per_unit for one in report.summaries)]
    if report.blanks:
        head += ["without blanks", "detection limit"]
    if report.accuracy:
        head += ["corrected"]
    head += [UNIT_NAMES[unit] for unit in units]
    if report.accuracy:
        head += [f"{UNIT_NAMES[unit]}, corrected" for unit in units]
    head += ["median size, mm"]
    body = []
    for one in report.summaries:
        row = one.row()
        cells = [
            one.sample.name + (f" ({one.sample.blank} blank)" if one.sample.blank else ""),
            str(len(one.sample.repeats)), _interval(one.count),
            "-" if one.count.sd is None else short(one.count.sd),
        ]  # fmt: skip
        if report.blanks:
            limit = one.detection_limit
            cells += [_interval(one.net), "-" if limit is None else short(limit)]
        if report.accuracy:
            cells.append(_interval(one.corrected))
        cells += [_interval(one.per_unit.get(unit)) for unit in units]
        if report.accuracy:
            cells += [_interval(one.corrected_per_unit.get(unit)) for unit in units]
        median = row["size_median_mm"]
        cells.append("-" if median is None else short(median))
        body.append(cells)
    return section(
        "Samples", f'<div class="chart">{chart}</div>{key}</p>' + table(head, body, "Samples")
    )


def _classes(summaries: Sequence[SampleSummary], kind: str, title: str) -> str:
    charts = []
    for one in summaries:
        classes = [found for found in one.classes if found.kind == kind]
        if kind == "colour":
            classes = [found for found in classes if found.count.mean]
        if not any(found.count.mean for found in classes):
            continue
        rows = [
            _row(found.name, found.count, swatch=SWATCHES.get(found.name, "")) for found in classes
        ]
        chart = bars(rows, f"{title} of {one.sample.name}: particles per repeat")
        charts.append(f'<div class="chart"><h3>{escape(one.sample.name)}</h3>{chart}</div>')
    note = '<p class="note">Particles per repeat, as found, with 95% intervals.</p>'
    content = f'<div class="many">{"".join(charts)}</div>' if charts else ""
    return section(title, content + note if charts else '<p class="note">No particles.</p>')


def _belt(result: Results) -> str:
    scale = result.mm_per_pixel
    points = []
    for segment in result.segments:
        area_m2 = (segment["end_px"] - segment["begin_px"]) * segment["width_px"] * scale**2 / 1e6
        points.append((segment["begin_px"] * scale / 1000, segment["particles"] / area_m2))
    chart = curve(points, f"Particles per m² along the belt of {result.name}", "m")
    note = '<p class="note">Particles per m², as found, by position on the belt.</p>'
    return section(f"Belt {result.name}", f'<div class="chart">{chart}</div>{note}')


def _method(report: SampleReport) -> str:
    lines = [*report.method, *report.notes]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return section("How this was made", f'<ul>{items}</ul><p class="note">{RULES}</p>')


def _row(
    label: str, count: Estimate, points: Sequence[float] = (), *, second: bool = False,
    swatch: str = "",
) -> Row:  # fmt: skip
    return Row(label, count.mean, count.low, count.high, points, second, swatch)


def _interval(found: Estimate | None) -> str:
    return f"{short(found.mean)} ({short(found.low)} to {short(found.high)})" if found else "-"
