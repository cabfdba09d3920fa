"""The docs say what the committed results say."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.report import paper_cells, read_report
from bench.seeds import compare
from bench.tables import table
from train.models.registry import MODELS

ROOT = Path(__file__).parents[2]
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
NETWORKS = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
EXPORT = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
RESULTS = ROOT / "bench" / "results"


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_the_networks() -> None:
    report = read_report(RESULTS / "models-cpu.json")
    for cells in (paper_cells(report.result.table_4), report.frames()):
        for line in table(*cells).splitlines():
            assert line in PERFORMANCE


@pytest.mark.parametrize("part", ["frame", "tiling"])
def test_the_baselines(part: str) -> None:
    for row in result("baselines-cpu")[part]:
        ms = row["ms"]["p50"]
        time = f"{ms / 1e3:.2f} s" if ms >= 1e3 else f"{ms:.1f} ms"
        levels = "" if row["max_abs_difference"] is None else f"{row['max_abs_difference']}"
        assert f"| {row['name']} | {time} | {row['ratio']:.2f} | {levels} |" in PERFORMANCE


@pytest.mark.parametrize("model", ["half", "quarter"])
def test_the_pipeline(model: str) -> None:
    found = result(f"pipeline-{model}-cpu")
    assert (
        f"| `{found['engine']}` | {found['alone_ms'] / 1e3:.2f} s | {found['efficiency']:.2f} | "
        f"{found['tiles']} ({found['megapixels']:.2f}) | "
        f"{found['paper_tiles']} ({found['paper_megapixels']:.2f}) | "
        f"{found['peak_memory_mb']:.0f} MB |"
    ) in PERFORMANCE


def test_the_engines() -> None:
    engines = result("engines-rtx-cpu")["engines"]
    for model in {row["model"] for row in engines}:
        rows = [row for row in engines if row["model"] == model]
        height, width = rows[0]["tile_hw"]
        built = [f"{row['engine_mb']:.1f} MB in {row['build_s']:.1f} s" for row in rows]
        cells = (MODELS[model].title, f"{height}x{width}", str(rows[0]["batch"]), *built)
        assert f"| {' | '.join(cells)} |" in EXPORT


def test_the_latency() -> None:
    latency, memory = result("latency-cpu"), result("memory-cpu")
    total, engine = latency["end_to_end_ms"], latency["engine_ms"]
    text = " ".join(PERFORMANCE.split())
    assert (
        f"the end-to-end latency was {total['p50']:.0f} ms "
        f"(p99 {total['p99']:.0f} ms, {latency['p99_in_engine_times']:.2f} times the "
        f"{engine['p50']:.0f} ms of the engine). Over {memory['frames']:,} small frames memory "
        f"grew by {memory['mb_per_1000_frames']:.2f} MB per 1,000 frames."
    ) in text


def test_the_search() -> None:
    assert compare(result("search-cpu")) in NETWORKS


def test_every_result_names_its_machine() -> None:
    for path in RESULTS.glob("*.json"):
        machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
        assert {"cpu", "cores", "system", "python"} <= machine.keys(), path
