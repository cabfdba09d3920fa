"""The README says what the committed results say."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.report import as_markdown, paper_cells, read_report

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "bench" / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_networks() -> None:
    report = read_report(RESULTS / "models-cpu.json")
    for cells in (paper_cells(report.result.table_4), report.frames()):
        for line in as_markdown(cells).splitlines():
            assert line in README


@pytest.mark.parametrize("table", ["frame", "tiling"])
def test_the_peers(table: str) -> None:
    for row in result("peers-cpu")[table]:
        ms = row["ms"]["p50"]
        time = f"{ms / 1e3:.2f} s" if ms >= 1e3 else f"{ms:.1f} ms"
        levels = "" if row["max_grey_levels"] is None else f"{row['max_grey_levels']}"
        assert f"| {row['name']} | {time} | {row['ratio']:.2f} | {levels} |" in README


@pytest.mark.parametrize("model", ["half", "quarter"])
def test_the_pipeline(model: str) -> None:
    found = result(f"pipeline-{model}-cpu")
    assert (
        f"| `{found['engine']}` | {found['alone_ms'] / 1e3:.2f} s | {found['efficiency']:.2f} | "
        f"{found['tiles']} ({found['megapixels']:.2f}) | "
        f"{found['paper_tiles']} ({found['paper_megapixels']:.2f}) | "
        f"{found['peak_memory_mb']:.0f} MB |"
    ) in README


def test_every_result_names_its_machine() -> None:
    for path in RESULTS.glob("*.json"):
        machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
        assert {"cpu", "cores", "system", "python"} <= machine.keys(), path
