import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bench import seeds


def result(names: dict[str, int]) -> dict[str, Any]:
    """Of models by name, with their FLOPs; the n-th one has an F1 of n / 10."""
    objects = [
        {"dataset": dataset, "detector": name, "choice": choice, "f1": {"value": number / 10}}
        for number, name in enumerate(names)
        for dataset in ("sand", "beads", "mpnet")
        for choice in ("shipped", "best here")
    ]
    curve = [
        {"recall": recall, "false_positives_per_megapixel": rate}
        for recall, rate in ((0.95, 900.0), (0.71, 90.0), (0.69, 9.0))
    ]
    return {
        "models": [{"name": name, "flops": flops} for name, flops in names.items()],
        "objects": objects,
        "curves": {"sand": dict.fromkeys(names, curve)},
    }


def test_seeds_of_a_network_share_a_row_and_the_cheapest_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    names = {"big-net-0": 4_000_000_000, "small-0": 1_000_000_000, "big-net-1": 4_000_000_000}
    file.write_text(json.dumps(result(names)), "utf-8")
    done = CliRunner().invoke(seeds.main, [str(file)])
    assert done.exit_code == 0, done.output
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in done.output.splitlines()
    ]
    assert rows[2] == ["`small`", "1.0", "1", *["0.100 (0.100-0.100)"] * 3, "90 (90-90)"]
    assert rows[3] == ["`big-net`", "4.0", "2", *["0.100 (0.000-0.200)"] * 3, "90 (90-90)"]


def test_a_seed_that_finds_too_little_has_no_rate() -> None:
    found = result({"net-0": 10**9, "net-1": 10**9})
    found["curves"]["sand"]["net-1"] = found["curves"]["sand"]["net-1"][2:]
    assert "recall not reached by 1 of 2" in seeds.compare(found)


def test_a_model_without_a_seed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "search.json"
    file.write_text(json.dumps(result({"half_mrunet": 10**9})), "utf-8")
    done = CliRunner().invoke(seeds.main, [str(file)])
    assert done.exit_code == 1
    assert "half_mrunet: rename the model to NETWORK-SEED" in done.output
