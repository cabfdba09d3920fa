"""export-trt: from a checkpoint to a verified engine."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import needs, reported


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format", "file_format", type=click.Choice(["onnx"]), default="onnx", show_default=True
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Engine file to write.  [default: beside the checkpoint]",
)
def export_trt(checkpoint: Path, file_format: str, out: Path | None) -> None:
    """Turn CHECKPOINT (of 'train fit') into an engine, checked against torch before it is kept.

    Its model card is written beside it.
    """
    out = out or checkpoint.with_suffix(f".{file_format}")
    if not out.parent.is_dir():
        raise click.UsageError(f"{out.parent}: no such folder")
    if out.suffix != f".{file_format}":
        raise click.UsageError(f"{out}: must end in .{file_format}")
    with reported():
        with needs("export"):
            from export.write import write_onnx
        verification = write_onnx(checkpoint, out)
        click.echo(
            f"{out}: {out.stat().st_size / 1e6:.2f} MB, at most "
            f"{verification.max_grey_levels} grey level(s) from torch "
            f"over {verification.pixels:,} pixels"
        )
