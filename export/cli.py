"""export-trt: from a checkpoint to a verified engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click

from edge.arguments import Number, OutputFile, PathArgument, Text
from edge.engines import WEIGHTS, Precision, engine_path, shipped
from edge.engines.variant import VARIANTS, open_variant
from edge.errors import error_handler, require_extra


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """HEIGHTxWIDTH in px."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", value)
    if not found:
        raise click.BadParameter(f"{value!r} is not HEIGHTxWIDTH, such as 1440x1440")
    return int(found[1]), int(found[2])


def _batch(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """N, or MIN,OPT,MAX."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)(?:,(\d+),(\d+))?", value)
    if not found:
        raise click.BadParameter(f"{value!r} is neither N nor MIN,OPT,MAX, such as 1,9,9")
    return tuple(int(number or found[1]) for number in found.groups())


class ShortForBuild(click.Group):
    """`export-trt FILE` is short for `export-trt build FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "--version"):
            args = ["build", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ShortForBuild)
@click.version_option(package_name="microplastic-edge", prog_name="export-trt")
def export_trt() -> None:
    """Turn checkpoints into verified engines.

    \b
    export-trt best.pt                 is short for: export-trt build best.pt
    export-trt half_mrunet             a shipped model
    export-trt inspect best.trt
    """


@export_trt.command()
@click.argument("source", type=Text())
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="bf16 is for OpenVINO: the .onnx stays in fp32, and is verified as edge-run computes it.  "
    "[default: fp16, or what an .onnx is already]",
)
@click.option(
    "--calibration",
    "photos",
    metavar="FOLDER",
    type=PathArgument(file_okay=False),
    help="Photos, with masks or without: half calibrate INT8, half evaluate the engine.",
)
@click.option(
    "--frame",
    metavar="HxW",
    callback=_size,
    help="Frame size to plan tiles for.  [default: 1440x1440]",
)
@click.option(
    "--tile", metavar="HxW", callback=_size, help="Tiles of this size instead of the planned ones."
)
@click.option(
    "--batch",
    metavar="N|MIN,OPT,MAX",
    callback=_batch,
    help="Tiles at a time.  [default: those of a frame]",
)
@click.option(
    "--target",
    type=click.Choice(list(VARIANTS)),
    help="native: TensorRT, on the device itself; rtx: TensorRT-RTX, anywhere.  [default: native]",
)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    metavar="X.Y",
    help="GPUs to build an rtx engine for; repeat it for several.  [default: this machine's, or "
    "all but 7.5]",
)
@click.option(
    "--max-drop",
    type=Number(min=0),
    help="R.w. F1 that the precision may cost.  [default: 0.001, or 0.01 for int8]",
)
@click.option(
    "--triton",
    metavar="FOLDER",
    type=PathArgument(file_okay=False),
    help="Put the engine into an NVIDIA Triton model repository as well.",
)
@click.option(
    "--out",
    type=OutputFile(),
    help="Engine to write: .trt, or .onnx for ONNX Runtime.  [default: SOURCE with .trt; of a "
    "shipped model, NAME.trt in the current folder]",
)
def build(
    source: str,
    precision: str | None,
    photos: Path | None,
    frame: tuple[int, int] | None,
    tile: tuple[int, int] | None,
    batch: tuple[int, int, int] | None,
    target: str | None,
    capabilities: tuple[str, ...],
    max_drop: float | None,
    triton: Path | None,
    out: Path | None,
) -> None:
    """Turn SOURCE, a checkpoint, an .onnx of export-trt or a shipped model, into an engine.

    \b
    export-trt best.pt
    export-trt best.pt --precision int8 --calibration photos/
    export-trt best.pt --target rtx --compute-capability 8.6
    export-trt best.pt --precision fp32 --out best.onnx
    export-trt half_mrunet

    The engine is verified. Its sidecar, best.trt.json, and model card, best.trt.md, are written
    beside it.
    """
    path = shipped().get(source, Path(source))
    if out is None:
        out = path.with_suffix(".trt")
        if out.resolve().parent == WEIGHTS.resolve():
            out = Path(out.name)
    if out.suffix not in (".trt", ".onnx"):
        raise click.UsageError(f"{out}: must end in .trt or .onnx")
    if not out.parent.is_dir():
        raise click.UsageError(f"{out.parent}: no such folder")
    if out.resolve().parent == WEIGHTS.resolve():
        raise click.UsageError(f"{out}: would lie among the shipped models; name another folder")
    if out.resolve() == path.resolve():
        raise click.UsageError(f"{out}: is the source itself; name another file with --out")
    for_plans = {
        "--frame": frame,
        "--tile": tile,
        "--batch": batch,
        "--target": target,
        "--compute-capability": capabilities,
    }
    for option, value in for_plans.items():
        if out.suffix == ".onnx" and value:
            raise click.UsageError(f"an .onnx runs on any device and tile: leave out {option}")
    if precision == "bf16" and out.suffix == ".trt":
        raise click.UsageError("bf16 is for OpenVINO, on a CPU: give --out X.onnx")
    if triton and target == "rtx":
        raise click.UsageError("Triton serves TensorRT and ONNX, not TensorRT-RTX")
    with error_handler():
        with require_extra("export"):
            from export.write import Target, export
        engine_target = None
        if out.suffix == ".trt":
            engine_target = Target(
                variant=open_variant(target or "native"),
                compute_capabilities=capabilities,
                frame_hw=frame or (1440, 1440),
                tile_hw=tile,
                batch=batch,
            )
        done = export(
            path,
            out,
            precision=precision,
            photos=photos,
            max_drop=max_drop,
            target=engine_target,
            on_progress=lambda text: click.echo(f"{text} ...", err=True),
        )
        if triton:
            from export.triton import write_repository

            where = write_repository(triton, out, done.sidecar)
            done.notes.append(f"Triton model repository: {where}")
        click.echo(done.verification.as_table())
        for note in done.notes:
            click.echo(note)
        click.echo(f"{out}: {done.sidecar.precision}, {out.stat().st_size / 1e6:.2f} MB")


@export_trt.command()
@click.argument("engine", type=Text())
def inspect(engine: str) -> None:
    """Say what ENGINE, a file or a shipped model, is, and whether this machine can run it."""
    with error_handler():
        with require_extra("export"):
            from export.inspection import inspection
        click.echo(inspection(engine_path(engine)))
