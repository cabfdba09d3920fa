"""A report of samples: what goes into it, and its files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge.errors import BadArgumentError
from edge.files import atomic_write, ensure_empty_directory
from edge.samples.accuracy import Accuracy, card_accuracy
from edge.samples.results import Photo, Results
from edge.samples.sample import Sample, SampleSummary, group, summarise, used_blanks
from edge.samples.size_classes import RESOLVED_PX, SizeClasses
from edge.samples.table import Entry

# Scales of one report may differ so much: small particles are missing where it is coarser.
MAX_SCALE_RATIO = 1.25
Table = tuple[Sequence[str], list[dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class SampleReport:
    """Of samples.

    Attributes:
        summaries: of the samples, then of the blanks.
        method: how the numbers came about, a sentence each.
        notes: what is doubtful, a sentence each.
        made: UTC, ISO 8601.
    """

    results: Sequence[Results]
    summaries: list[SampleSummary]
    accuracy: Accuracy | None
    method: list[str]
    notes: list[str]
    made: str

    @property
    def blanks(self) -> list[Sample]:
        """The samples that are blanks."""
        return [one.sample for one in self.summaries if one.sample.blank]

    def tables(self) -> dict[str, Table]:
        """Columns and rows by name."""
        samples = [one.row() for one in self.summaries]
        repeats, classes, particles = [], [], []
        for one in self.summaries:
            sample = one.sample
            for repeat in sample.repeats:
                entry = repeat.entry
                repeats.append(
                    {
                        "sample": sample.name,
                        "repeat": repeat.name,
                        "photos": len(repeat.photos),
                        "particles": len(repeat.particles),
                        "area_cm2": float(f"{repeat.area_mm2 / 100:.5g}"),
                        "mass_g": entry.mass_g,
                        "volume_l": entry.volume_l,
                    }
                )
                particles += [
                    {"sample": sample.name, "repeat": repeat.name, "results": photo.folder,
                     "file": photo.file, "source": photo.source, **particle}
                    for photo in repeat.photos
                    for particle in photo.particles
                ]  # fmt: skip
            classes += [
                {
                    "sample": sample.name,
                    "kind": found.kind,
                    "class": found.name,
                    "count_mean": found.count.mean,
                    "count_sd": found.count.sd,
                    "count_low": found.count.low,
                    "count_high": found.count.high,
                    "fraction": found.fraction,
                    "area_mm2_mean": found.area_mm2,
                }
                for found in one.classes
            ]
        notes = [{"note": line} for line in (*self.method, *self.notes)]
        rows = {"samples": samples, "repeats": repeats, "classes": classes, "particles": particles}
        return {name: _table(found) for name, found in (rows | {"notes": notes}).items()}

    def write(self, folder: Path, *, xlsx: bool) -> None:
        """CSV files, report.html and, with `xlsx`, report.xlsx into a new folder.

        Raises:
            BadArgumentError: it is not empty, or not a folder.
            ModuleNotFoundError: openpyxl is not installed.
            OSError: it cannot be written.
        """
        from edge.samples.page import page

        ensure_empty_directory(folder)
        tables = self.tables()
        for name, (columns, rows) in tables.items():
            with (
                atomic_write(folder / f"{name}.csv") as temporary,
                # With a byte order mark, or Excel takes µm for something else.
                temporary.open("w", encoding="utf-8-sig", newline="") as file,
            ):
                writer = csv.DictWriter(file, columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows(_formatted(row) for row in rows)
        if xlsx:
            _write_xlsx(folder / "report.xlsx", tables)
        with atomic_write(folder / "report.html") as temporary:
            temporary.write_text(page(self), encoding="utf-8")


def make_report(
    results: Sequence[Results],
    entries: Mapping[Photo, Entry],
    *,
    accuracy: Accuracy | None = None,
    card_set: str = "sand",
    bounds_mm: Sequence[float] = (),
) -> SampleReport:
    """From results and what each photo is of.

    Args:
        accuracy: of the engine on such photos; None takes that of its model card.
        card_set: photos that the card's numbers are of.
        bounds_mm: of size classes; the usual ones unless given.

    Raises:
        BadArgumentError: the results have different scales, engines or thresholds, there is no
            sample, or the entries do not fit together.
    """
    scale = _common_scale(results)
    run = _common_run(results)
    notes = [problem for result in results for problem in result.problems]
    left_out = sum(photo not in entries for result in results for photo in result.photos)
    if left_out:
        notes.append(f"{left_out} photos that the table does not name were left out")
    belts = {result.name: result for result in results if result.segments}
    samples = group(results, entries, belts)
    if all(sample.blank for sample in samples):
        raise BadArgumentError("there are only blanks; give results of a sample, too")
    if accuracy is None:
        accuracy, reason = card_accuracy(run, card_set)
        if accuracy is None:
            notes.append(
                f"counts are not corrected for recall: {reason}; give --recall and --precision"
            )
    sizes = SizeClasses(scale, bounds_mm)
    summaries = summarise(samples, accuracy, sizes)
    method = _method(run, scale, sizes, samples, accuracy)
    notes += _doubts(summaries, accuracy, run)
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return SampleReport(results, summaries, accuracy, method, notes, made)


def _table(rows: list[dict[str, Any]]) -> Table:
    """Without the columns that no row has a value in."""
    columns = dict.fromkeys(
        column for row in rows for column, value in row.items() if value is not None
    )
    order = [column for column in rows[0] if column in columns] if rows else ["sample"]
    return order, [{column: row[column] for column in order} for row in rows]


def _common_scale(results: Sequence[Results]) -> float:
    """The coarsest."""
    scales = [result.mm_per_pixel for result in results]
    low, high = min(scales), max(scales)
    if high > MAX_SCALE_RATIO * low:
        names = [next(r.name for r in results if r.mm_per_pixel == one) for one in (low, high)]
        raise BadArgumentError(
            f"{names[0]} has {low:g} mm per px and {names[1]} {high:g}: what the coarser cannot "
            f"show would look like a difference of the samples; make a report of each"
        )
    return high


def _common_run(results: Sequence[Results]) -> dict[str, Any]:
    """summary.json of the first; the others have the same engine and settings."""
    first = results[0]
    for result in results[1:]:
        for key in ("source_sha256", "threshold", "min_diameter_px", "max_diameter_px"):
            if result.run.get(key) != first.run.get(key):
                raise BadArgumentError(
                    f"{first.name} and {result.name} were made with a different {key}: their "
                    f"counts cannot be compared; run one of them again"
                )
    return first.run


def _method(
    run: Mapping[str, Any], scale: float, sizes: SizeClasses, samples: Sequence[Sample],
    accuracy: Accuracy | None,
) -> list[str]:  # fmt: skip
    lines = []
    if run:
        lines.append(f"engine {run['model']}, threshold {run['threshold']:g}")
    lines.append(
        f"{scale:g} mm per px: sizes and shapes of particles below {sizes.resolved_mm * 1000:.3g} "
        f"µm ({RESOLVED_PX:g} px) say little"
    )
    lines.append(
        "repeats are averaged, never summed; intervals are 95%, of Poisson counts, or by the "
        "standard deviation of the repeats (Student's t) where they differ by more than chance"
    )
    blanks = used_blanks(samples)
    matrix = any(sample.blank == "matrix" for sample in blanks)
    if blanks:
        repeats = sum(len(sample.repeats) for sample in blanks)
        lines.append(
            f"the mean of {repeats} repeats of {blanks[0].blank} blanks was subtracted; the "
            f"detection limit is Currie's for Poisson counts"
        )
    if accuracy:
        precision = (
            "false positives were subtracted with the matrix blanks, so precision was not used"
            if matrix
            else f"multiplied by the precision of {accuracy.precision}"
        )
        lines.append(
            f"corrected: divided by the recall of {accuracy.recall}, {accuracy.source}; {precision}"
        )
        lines.append(
            "that recall and precision hold for those photos; on other sand, light, sizes and "
            "densities they differ by more than their intervals tell"
        )
    return lines


def _doubts(
    summaries: Sequence[SampleSummary], accuracy: Accuracy | None, run: Mapping[str, Any]
) -> list[str]:
    notes = []
    clean = accuracy and accuracy.clean_per_megapixel
    matrix = any(one.sample.blank == "matrix" for one in summaries)
    for one in summaries:
        if one.sample.blank:
            continue
        name, repeats = one.sample.name, one.sample.repeats
        if one.detection_limit is not None and one.count.mean < one.detection_limit:
            notes.append(f"{name}: does not differ from the blanks (below the detection limit)")
        if clean and not matrix:
            megapixels = sum(p.area_px for r in repeats for p in r.photos) / len(repeats) / 1e6
            if one.count.mean < clean.high * megapixels:
                notes.append(
                    f"{name}: {one.count.mean:.3g} particles in {megapixels:.3g} megapixels are no "
                    f"more than sand without plastic gave on the card's photos ({clean} per "
                    f"megapixel); take a matrix blank, of clean sand of the same place"
                )
        amounts = {len(r.photos) for r in (*repeats, *_blank_repeats(summaries))}
        if len(amounts) > 1 and _blank_repeats(summaries):
            notes.append(f"{name}: its repeats and those of the blanks have different photo counts")
    sizes = [key for key in ("min_diameter_px", "max_diameter_px") if run.get(key) is not None]
    if sizes and accuracy:
        notes.append(f"the run left particles out ({', '.join(sizes)}), which recall does not know")
    return notes


def _blank_repeats(summaries: Iterable[SampleSummary]) -> list[Any]:
    return [repeat for one in summaries if one.sample.blank for repeat in one.sample.repeats]


def _formatted(row: Mapping[str, Any]) -> dict[str, Any]:
    """Floats to five digits, and None as nothing."""
    return {key: f"{v:.5g}" if isinstance(v, float) else v for key, v in row.items()}


def _write_xlsx(path: Path, tables: Mapping[str, Table]) -> None:
    """A sheet for each table.

    Raises:
        BadArgumentError: a table has more rows than a sheet.
        ModuleNotFoundError: openpyxl is not installed.
        OSError: it cannot be written.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    workbook = Workbook(write_only=True)
    for name, (columns, rows) in tables.items():
        if len(rows) >= 1 << 20:
            raise BadArgumentError(f"{len(rows)} {name} do not fit in a sheet; give --no-xlsx")
        sheet = workbook.create_sheet(name)
        sheet.freeze_panes = "A2"
        head = []
        for column in columns:
            cell = WriteOnlyCell(sheet, column)
            cell.font = Font(bold=True)
            head.append(cell)
        sheet.append(head)
        for row in rows:
            sheet.append([_text_cell(row.get(column)) for column in columns])
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        workbook.save(file)


def _text_cell(value: Any) -> Any:
    """A text that begins like a formula stays a text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" else value
