"""train report: runs as one page."""

from __future__ import annotations

from pathlib import Path

import click

from edge.arguments import OutputFile
from edge.errors import error_handler, printable, require_extra
from edge.files import atomic_write
from edge.terminal import Terminal
from train.commands.options import DATA, TOLERANCE


@click.command()
@click.argument("runs", metavar="RUN...", type=DATA, nargs=-1, required=True)
@click.option(
    "--data",
    type=DATA,
    help="Where the photos with masks are now, or others.  [default: where they were]",
)
@TOLERANCE
@click.option(
    "--out",
    type=OutputFile(),
    help="HTML file to write.  [default: report.html in the first RUN]",
)
def report(runs: tuple[Path, ...], data: Path | None, tolerance: int, out: Path | None) -> None:
    """Compare runs in one HTML file: settings, training curves, precision over recall, recall by
    size, and the photos with the most errors.

    \b
    RUN is the --out folder of
      train fit        evaluated on the photos that it validated on
      train crossval   with its tables; a fold in it (RUN/MODEL/fold1) on its test photos
    """
    with error_handler():
        with require_extra("train"):
            from train.crossval import SPLIT
            from train.report import RunReport
        terminal, made = Terminal(), RunReport(data, tolerance)
        for number, path in enumerate(runs, 1):
            terminal.progress(f"run {number} of {len(runs)}")
            if (path / SPLIT).is_file():
                made.add_crossval(path)
            else:
                made.add_run(path)
        terminal.end_progress()
        target = out or runs[0] / "report.html"
        with atomic_write(target) as temporary:
            temporary.write_text(made.html(), encoding="utf-8")
    for note in made.notes:
        terminal.say(f"warning: {printable(note)}", error=True)
    terminal.say(printable(str(target)))
