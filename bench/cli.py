"""bench: measure the toolkit on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.engines.flavour import FLAVOURS, open_flavour
from edge.errors import ToolError, needs, reported

if TYPE_CHECKING:
    from bench.delay import DelayResult
    from bench.engines import EnginesResult
    from bench.gpu_check import GpuCheck
    from bench.pipeline import PipelineResult
    from bench.training import TrainingResult


JSON = click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write the result here.",
)


def _show(
    result: DelayResult | EnginesResult | GpuCheck | PipelineResult | TrainingResult,
    json_path: Path | None,
) -> None:
    """Print a result with the machine it was measured on, and write both."""
    from bench.machine import describe
    from edge.files import write_json

    machine = describe()
    click.echo(", ".join(f"{key} {value}" for key, value in machine.items()))
    click.echo(result.as_text())
    if json_path:
        write_json(json_path, {"machine": machine, **asdict(result)})


@click.group(invoke_without_command=True)
@click.option("--all-models", is_flag=True, help="Parameters and FLOPs beside the paper's Table 4.")
@click.pass_context
def bench(context: click.Context, all_models: bool) -> None:
    """Measure the toolkit on this machine, against the paper."""
    if all_models:
        with reported(), needs("bench"):
            from bench.paper import as_text, table_4
        click.echo(as_text(table_4()))
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


@bench.command()
@click.option(
    "--engine", default="half_mrunet", show_default=True, help="Engine file or shipped model."
)
@click.option("--frames", type=click.IntRange(min=1), default=10, show_default=True)
@JSON
def pipeline(engine: str, frames: int, json_path: Path | None) -> None:
    """How much of the engine's speed a run of edge-run keeps, on 1440x1440 JPEG photos."""
    with reported():
        with needs("cpu"):
            from bench.pipeline import measure
        _show(measure(engine, frames), json_path)


@bench.command()
@click.option("--fps", type=click.FloatRange(min=0, min_open=True), default=60, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--frames", type=click.IntRange(min=1), help="In place of --seconds.")
@click.option("--size", type=click.IntRange(min=32), default=256, show_default=True)
@click.option("--engine", default="half_mrunet", show_default=True)
@JSON
def delay(
    fps: float, seconds: int, frames: int | None, size: int, engine: str, json_path: Path | None
) -> None:
    """Age of a simulated camera's frames when their particles are known, and memory over time."""
    with reported():
        with needs("cpu"):
            from bench.delay import measure
        _show(measure(engine, fps, frames or round(fps * seconds), size), json_path)


@bench.command()
@click.option("--model", default="quarter_mrunet", show_default=True)
@click.option("--epochs", type=click.IntRange(min=2), default=6, show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@JSON
def training(model: str, epochs: int, repeats: int, json_path: Path | None) -> None:
    """Training throughput beside a plain PyTorch loop, and memory over the epochs."""
    with reported():
        with needs("bench"):
            from bench.training import measure
        _show(measure(model, epochs, repeats), json_path)


@bench.command()
@click.option("--target", type=click.Choice(list(FLAVOURS)), default="rtx", show_default=True)
@click.option(
    "--compute-capability",
    "capabilities",
    multiple=True,
    default=["8.6"],
    show_default=True,
    help="GPUs to build for.",
)
@JSON
def engines(target: str, capabilities: tuple[str, ...], json_path: Path | None) -> None:
    """Build the five networks in three precisions: time, size, and how far from FP32."""
    with reported():
        with needs("bench"):
            from bench.engines import measure
        _show(measure(open_flavour(target), capabilities), json_path)


@bench.command("gpu-check")
@click.option("--target", type=click.Choice(list(FLAVOURS)), default="native", show_default=True)
@JSON
def gpu_check(target: str, json_path: Path | None) -> None:
    """All that needs a GPU: builds, runs, compares and times every engine; watches the memory."""
    with reported():
        with needs("bench"):
            from bench.gpu_check import measure
        result = measure(open_flavour(target))
        _show(result, json_path)
        if result.problems:
            raise ToolError(f"{len(result.problems)} problem(s): {'; '.join(result.problems)}")


@bench.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--engine", default="half_mrunet", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=7, show_default=True)
@click.option("--frames", type=click.IntRange(min=1), default=6, show_default=True)
def demo(folder: Path, engine: str, seed: int, frames: int) -> None:
    """Paint a belt clip into FOLDER, run edge-run on it, and hold its count against the truth."""
    with reported():
        with needs("cpu"):
            from bench.demo import paint_clip, run_edge
        click.echo(f"painting {frames} frames of a belt (seed {seed})")
        clip = paint_clip(folder, seed, frames)
        out = folder / "results"
        click.echo(f"edge-run --source {clip.path} --engine {engine} --out {out}")
        counts = list(run_edge(clip, engine, out))
        click.echo(f"\n{'frame':<8}{'true':>8}{'found':>8}{'missed':>8}{'false':>8}")
        for index, frame in enumerate(counts):
            click.echo(
                f"{index:<8}{frame.true:>8}{frame.found:>8}{frame.missed:>8}{frame.false:>8}"
            )
        true, found = sum(c.true for c in counts), sum(c.found for c in counts)
        false = sum(c.false for c in counts)
        click.echo(f"{'all':<8}{true:>8}{found:>8}{true - found:>8}{false:>8}")
        click.echo(f"\nfound {found} of {true} particles, {false} false alarms")
        click.echo(f"look at {out / 'overlays'} (pictures) and {out / 'particles.csv'} (records)")
