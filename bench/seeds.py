"""Networks trained with several seeds, side by side: the models of a `bench accuracy` result.

python -m bench.seeds search.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import click

from bench.real_sets import BEADS, MPNET, SAND
from bench.scores import BEST_HERE
from bench.tables import table
from edge.arguments import PathArgument
from edge.errors import EdgeError, error_handler

TITLES = {SAND: "patches, F1", BEADS: "beads, F1", MPNET: "MP-Net, F1"}
# Detectors are compared on clean sand where they find as much on the patches.
RECALL = 0.7


def compare(result: Mapping[str, Any]) -> str:
    """Markdown: a row for each network, cheapest first, with the mean, lowest and highest of its
    seeds. A model is named NETWORK-SEED.

    Raises:
        EdgeError: a model of the result is not named so.
    """
    networks: dict[str, list[str]] = {}
    flops = {}
    for row in result["models"]:
        network, dash, seed = row["name"].rpartition("-")
        if not (dash and seed.isdigit()):
            raise EdgeError(f"{row['name']}: rename the model to NETWORK-SEED, as in half_mrunet-0")
        networks.setdefault(network, []).append(row["name"])
        flops[network] = row["flops"]
    best = {
        (row["dataset"], row["detector"]): row["f1"]["value"]
        for row in result["objects"]
        if row["choice"] == BEST_HERE
    }
    rows = [
        (
            f"`{network}`",
            f"{flops[network] / 1e9:.1f}",
            len(names),
            *(_spread([best[dataset, name] for name in names], 3) for dataset in TITLES),
            _clean_rates([result["curves"][SAND][name] for name in names]),
        )
        for network, names in sorted(networks.items(), key=lambda pair: flops[pair[0]])
    ]
    head = (
        "network", "GFLOPs", "seeds", *TITLES.values(),
        f"false positives per megapixel of clean sand, at a recall of {RECALL}",
    )  # fmt: skip
    return table(head, rows)


def _clean_rates(curves: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """At the highest threshold that reaches `RECALL`, if each network has one."""
    found = [
        [p["false_positives_per_megapixel"] for p in curve if p["recall"] >= RECALL]
        for curve in curves
    ]
    reached = [rates[-1] for rates in found if rates]
    if len(reached) < len(curves):
        return f"recall not reached by {len(curves) - len(reached)} of {len(curves)}"
    return _spread(reached, 0)


def _spread(values: Sequence[float], digits: int) -> str:
    """The mean, with the lowest and the highest."""
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


@click.command()
@click.argument("result", type=PathArgument(exists=True, dir_okay=False))
def main(result: Path) -> None:
    """Compare the networks of RESULT, a JSON file of 'bench accuracy' on all sets."""
    with error_handler():
        click.echo(compare(json.loads(result.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
