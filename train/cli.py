"""train: render synthetic data and fit the networks of the paper."""

from __future__ import annotations

import click

from train.commands.analyse import analyse
from train.commands.check import check
from train.commands.crossval import crossval
from train.commands.evaluate import evaluate
from train.commands.fit import fit
from train.commands.import_labels import import_labels
from train.commands.mine import mine
from train.commands.rank import rank
from train.commands.report import report
from train.commands.samples import samples
from train.commands.sirst import sirst
from train.commands.synth import synth
from train.commands.tables import tables


@click.group()
@click.version_option(package_name="microplastic-edge", prog_name="train")
def train() -> None:
    """Render synthetic photos and train the networks of the paper."""


for command in (
    synth, import_labels, check, fit, crossval, tables, sirst, evaluate, report, mine, rank,
    samples, analyse,
):  # fmt: skip
    train.add_command(command)
