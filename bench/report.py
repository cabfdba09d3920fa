"""The report of `bench --all-models`, read and written."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench import plots
from bench.machine import describe
from bench.models import TILE, BackendRow, ModelsResult
from bench.paper import PaperRow
from bench.roofline import Roofline
from bench.tables import table
from edge.errors import BadArgumentError, EdgeError
from edge.files import atomic_write, ensure_empty_directory, write_json
from train.models.registry import MODELS

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 112rem; padding: 0 1rem;
       color: #1c2733; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.88rem; }
th, td { padding: 0.25rem 0.5rem; border-bottom: 1px solid #d8dee5; text-align: right;
         white-space: nowrap; }
th { background: #f2f5f8; } th:first-child, td:first-child { text-align: left; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0 1rem; }
dt { color: #5b6b7b; } dd { margin: 0; } p { max-width: 60rem; }
svg { max-width: min(100%, 76rem); height: auto; }
"""

Cells = tuple[Sequence[str], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class Report:
    """A result, and the machine it was measured on, of `machine_info`."""

    machine: Mapping[str, str | int | float]
    result: ModelsResult

    def write(self, folder: Path) -> None:
        """As report.json, .csv, .md and .html in an empty folder.

        Raises:
            BadArgumentError: the folder is not empty.
            OSError: a file cannot be written.
        """
        ensure_empty_directory(folder)
        write_json(folder / "report.json", self.as_json())
        for name, text in (
            ("report.csv", self.as_csv()),
            ("report.md", self.as_markdown()),
            ("report.html", self.as_html()),
        ):
            with atomic_write(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def as_json(self) -> dict[str, Any]:
        """All of it, for `read_report`."""
        return {"machine": self.machine, **asdict(self.result)}

    def as_csv(self) -> str:
        """One line per row, all numbers but the single runs."""
        lines = [_flat(row) for row in self.result.rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, lines[0] if lines else ["model"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()

    def as_markdown(self) -> str:
        """The tables and the machine."""
        parts = [f"## {title}\n\n{table(*cells)}" for title, cells in self._tables().items()]
        return "\n\n".join([describe(self.machine), *parts, *self.remarks()]) + "\n"

    def as_html(self) -> str:
        """One page that needs no other file."""
        tables = [
            f"<h2>{html.escape(title)}</h2>\n<div class=wide>{table(*cells, style='html')}</div>"
            for title, cells in self._tables().items()
        ]
        figures = [
            f"<h2>{html.escape(title)}</h2>\n{figure}"
            for title, figure in plots.plots(self.result).items()
        ]
        machine = "".join(
            f"<dt>{html.escape(key)}</dt><dd>{html.escape(str(value))}</dd>"
            for key, value in self.machine.items()
        )
        remarks = "".join(f"<p>{html.escape(remark)}</p>" for remark in self.remarks())
        return (
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n"
            '<meta name=viewport content="width=device-width">\n'
            f"<title>Networks on this machine</title>\n<style>{STYLE}</style>\n"
            f"<h1>Networks on {html.escape(str(self.machine.get('gpu', self.machine['cpu'])))}</h1>"
            f"\n{remarks}\n" + "\n".join((*tables, *figures)) + f"\n<h2>Machine</h2>\n"
            f"<dl>{machine}</dl>\n</html>\n"
        )

    def remarks(self) -> list[str]:
        """Notes on the method, and what was not measured."""
        result = self.result
        height, width = result.frame_hw
        remarks = [
            "Times are medians of interleaved runs. A median is followed by half of its 95% "
            "confidence interval where six runs or more give one. One task that was timed beside "
            f"every group of networks drifted by a factor of {result.drift:.2f}. "
            f"A frame is {height}x{width} px, a tile {TILE}x{TILE} px; memory is that of a "
            "process that does nothing but one frame. Mask IoU compares with torch in FP32; INT8 "
            "is calibrated on one rendered scene here, and exported engines do better. Networks "
            "without r.w. F1 have random weights."
        ]
        remarks += [f"Not measured: {name}: {why}" for name, why in result.unavailable.items()]
        return remarks

    def _tables(self) -> dict[str, Cells]:
        return {
            "Against the paper's Table 4": paper_cells(self.result.table_4),
            "A frame, ms": self.frames(),
            "Each network, backend and precision": self._rows(),
        }

    def frames(self) -> Cells:
        """Medians of a frame, ms: networks down, backends and precisions across."""
        rows = self.result.rows
        columns = list(dict.fromkeys((row.backend, row.precision) for row in rows))
        frame = {row.key: _time(row.frame_ms) for row in rows}
        lines = [
            (MODELS[key].title, *(frame.get((key, *column), "") for column in columns))
            for key in dict.fromkeys(row.model for row in rows)
        ]
        return ("", *(" ".join(column) for column in columns)), lines

    def _rows(self) -> Cells:
        head = (
            *("", "backend", "precision", "tile, ms", "p90", "p99", "frame, ms", "p90", "p99"),
            *("split into", "tiles/s", "at batch", "GFLOP/s", "memory, MB", "GPU, MB", "file, MB"),
            *("r.w. F1, FP32", "mask IoU"),
        )
        lines = [
            (
                MODELS[row.model].title,
                row.backend,
                row.precision,
                *(_time(row.tile_ms), number(row.tile_ms["p90"]), number(row.tile_ms["p99"])),
                *(_time(row.frame_ms), number(row.frame_ms["p90"]), number(row.frame_ms["p99"])),
                row.tiles,
                number(row.tiles_per_s),
                str(row.batch),
                number(row.gflops_per_s),
                f"{row.peak_memory_mb:.0f}",
                "" if row.gpu_memory_mb is None else f"{row.gpu_memory_mb:.0f}",
                number(row.engine_mb),
                "" if row.rw_f1 is None else f"{row.rw_f1:.3f}",
                f"{row.mask_iou:.4f}",
            )
            for row in self.result.rows
        ]
        return head, lines


def paper_cells(rows: Sequence[PaperRow]) -> Cells:
    """Parameters and FLOPs, the paper's, and whether they match."""
    answers = {True: "yes", False: "no", None: ""}
    lines = [
        (
            row.title,
            f"{row.params:,}",
            row.paper_params or "",
            f"{row.flops:,}",
            row.paper_flops or "",
            answers[row.matches],
        )
        for row in rows
    ]
    return ("", "parameters", "paper, M", "FLOPs at 512x512", "paper, G", "match"), lines


def read_report(path: Path) -> Report:
    """A report.json.

    Raises:
        BadArgumentError: there is no such file.
        EdgeError: it is not one of `bench --all-models --out`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        machine = dict(content.pop("machine"))
        content["table_4"] = [PaperRow(**row) for row in content["table_4"]]
        content["rows"] = [BackendRow(**row) for row in content["rows"]]
        content["roofline"] = Roofline(**content["roofline"])
        height, width = content["frame_hw"]
        content["frame_hw"] = height, width
        return Report(machine, ModelsResult(**content))
    except FileNotFoundError:
        raise BadArgumentError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EdgeError(
            f"{path}: is no report of bench; give a report.json of bench --all-models --out"
        ) from None


def number(value: float) -> str:
    """With three digits or more."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _time(times: Mapping[str, Any]) -> str:
    text = number(times["p50"])
    if times["interval"]:
        low, high = times["interval"]
        text += f" ±{50 * (high - low) / times['p50']:.0f}%"
    return text


def _flat(row: BackendRow) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, dict):
            kind = field.name.removesuffix("_ms")
            flat |= {f"{kind}_{key}_ms": value[key] for key in ("p50", "p90", "p99")}
            flat[f"{kind}_runs"] = len(value["runs"])
        else:
            flat[field.name] = value
    return flat
