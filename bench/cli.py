"""bench: measure the toolkit on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.arguments import POSITIVE, Number, OutputFile, PathArgument
from edge.engines.variant import VARIANTS, open_variant
from edge.errors import BadArgumentError, EdgeError, error_handler, require_extra
from edge.files import ensure_empty_directory

if TYPE_CHECKING:
    from bench.accuracy import AccuracyResult
    from bench.baselines import BaselinesResult
    from bench.belt.counts import CountsResult
    from bench.belt.long_run import LongRunResult
    from bench.belt.rate import RateResult
    from bench.energy import EnergyResult
    from bench.engines import EnginesResult
    from bench.gpu_check import GpuCheck
    from bench.latency import LatencyResult
    from bench.layers import LayersResult
    from bench.live import LiveResult
    from bench.pipeline import PipelineResult
    from bench.soak import SoakResult


ENGINE = click.option(
    "--engine", default="half_mrunet", show_default=True, help="Engine file or shipped model."
)
JSON = click.option(
    "--json",
    "json_path",
    type=OutputFile(),
    help="Also write the result here.",
)


def _show(
    result: AccuracyResult
    | LatencyResult
    | EnergyResult
    | EnginesResult
    | GpuCheck
    | LayersResult
    | BaselinesResult
    | CountsResult
    | LiveResult
    | LongRunResult
    | PipelineResult
    | RateResult
    | SoakResult,
    json_path: Path | None,
) -> None:
    """Print a result with the machine it was measured on, and write both."""
    from bench.machine import describe, machine_info
    from edge.files import write_json

    machine = machine_info()
    click.echo(describe(machine))
    click.echo(result.describe())
    if json_path:
        write_json(json_path, {"machine": machine, **asdict(result)})


def _progress(text: str) -> None:
    click.echo(f"{text} ...", err=True)


class Percent(Number):
    """A percentage such as 5%, as 5.0."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        return super().convert(str(value).removesuffix("%"), param, ctx)


@click.group(invoke_without_command=True)
@click.option(
    "--all-models", is_flag=True, help="Every network on every backend here, and Table 4."
)
@click.option("--model", "models", multiple=True, help="This network only; may be repeated.")
@click.option(
    "--limit",
    "limit_s",
    type=POSITIVE,
    default=10,
    show_default=True,
    help="Seconds that the runs of one network, backend and precision may take.",
)
@click.option(
    "--out",
    type=PathArgument(file_okay=False),
    help="New folder for report.json, .csv, .md and .html.",
)
@click.version_option(package_name="microplastic-edge", prog_name="bench")
@click.pass_context
def bench(
    context: click.Context,
    all_models: bool,
    models: tuple[str, ...],
    limit_s: float,
    out: Path | None,
) -> None:
    """Measure the toolkit on this machine, against the paper.

    \b
    bench --all-models --out report
    bench compare earlier/report.json report/report.json --fail-above 5%
    """
    if context.invoked_subcommand is not None:
        return
    if not (all_models or models):
        click.echo(context.get_help())
        return
    with error_handler():
        with require_extra("bench"):
            from bench.machine import machine_info
            from bench.models import measure
            from bench.networks import ALL_MODELS
            from bench.report import Report
            from train.models.registry import MODELS
        for key in models:
            if key not in MODELS:
                raise BadArgumentError(f"--model {key}: not one of {', '.join(MODELS)}")
        if out:
            ensure_empty_directory(out)
        machine = machine_info()  # before the load of the runs
        keys = ALL_MODELS if all_models else tuple(dict.fromkeys(models))
        report = Report(machine, measure(keys, limit_s, _progress))
        if out:
            report.write(out)
        click.echo(report.as_markdown(), nl=False)
        if out:
            click.echo(out / "report.html")


@bench.command()
@click.argument("before", type=PathArgument(dir_okay=False))
@click.argument("after", type=PathArgument(dir_okay=False))
@click.option("--fail-above", type=Percent(), help="Exit with 1 if anything got worse by more.")
def compare(before: Path, after: Path, fail_above: float | None) -> None:
    """Significant changes between two report.json of bench --all-models."""
    with error_handler():
        with require_extra("bench"):
            from bench.compare import compare as run
            from bench.report import read_report
        found = run(read_report(before), read_report(after))
        click.echo(found.describe())
        if fail_above is not None and (worse := found.worse(fail_above)):
            names = "; ".join(f"{c.row}: {c.metric} {c.ratio - 1:+.1%}" for c in worse)
            raise EdgeError(f"{len(worse)} worse by more than {fail_above:g}%: {names}")


@bench.command()
@ENGINE
@click.option("--seconds", type=Number(min=1), default=30, show_default=True)
@JSON
def energy(engine: str, seconds: float, json_path: Path | None) -> None:
    """Energy per frame in joules, where the GPU or the board measures its power."""
    with error_handler():
        with require_extra("bench"):
            from bench.energy import measure
        _show(measure(engine, seconds), json_path)


@bench.command()
@ENGINE
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--picture",
    type=OutputFile(),
    help="Also draw a flame graph, .svg or .png.",
)
@JSON
def layers(engine: str, runs: int, picture: Path | None, json_path: Path | None) -> None:
    """Profile a network: a table of its layers, the slowest first."""
    with error_handler():
        with require_extra("bench"):
            from bench import flame_graph
            from bench.layers import measure
            from bench.picture import check_suffix
        if picture:
            check_suffix(picture, "a flame graph")
        result = measure(engine, runs)
        _show(result, json_path)
        if picture:
            flame_graph.write(result, picture)
            click.echo(picture)


@bench.command()
@click.option("--model", default="half_mrunet", show_default=True, help="A shipped network.")
@click.option(
    "--limit",
    "limit_s",
    type=POSITIVE,
    default=60,
    show_default=True,
    help="Seconds that the runs of each baseline may take.",
)
@click.option(
    "--also",
    "others",
    multiple=True,
    metavar="FILE",
    help="Another .onnx to time on the frame, such as one in INT8. Repeatable.",
)
@JSON
def baselines(model: str, limit_s: float, others: tuple[str, ...], json_path: Path | None) -> None:
    """Compare a frame with baselines: SAHI, a loop over 16 crops, torch, OpenVINO."""
    with error_handler():
        with require_extra("peers"):
            from bench.baselines import measure
        _show(measure(model, limit_s, others), json_path)


@bench.command()
@click.option(
    "--engine", default="quarter_mrunet", show_default=True, help="Engine file or shipped model."
)
@click.option(
    "--data",
    "photos",
    multiple=True,
    help="Folder or glob of photos of sand, for belts made of these too; may be repeated.",
)
@click.option(
    "--rate-seconds",
    type=Number(min=1),
    help="Instead: FPS and latency of frames of 1440x1080, four runs of so many seconds.",
)
@click.option(
    "--max-latency",
    "max_latency_s",
    type=POSITIVE,
    help="With --rate-seconds, as of edge-run.",
)
@click.option(
    "--soak-hours",
    type=POSITIVE,
    help="Instead: memory over so many hours of belt, as fast as it can be taken.",
)
@JSON
def belt(
    engine: str,
    photos: tuple[str, ...],
    rate_seconds: float | None,
    max_latency_s: float | None,
    soak_hours: float | None,
    json_path: Path | None,
) -> None:
    """Count on simulated belts: edge-run --belt against the truth and against ByteTrack.

    Every condition with an oracle in place of the network, and some with the network.
    """
    if rate_seconds and soak_hours:
        raise click.UsageError("--rate-seconds and --soak-hours are runs of their own: give one")
    if photos and (rate_seconds or soak_hours):
        raise click.UsageError("--data is for counts, without --rate-seconds or --soak-hours")
    if max_latency_s and not rate_seconds:
        raise click.UsageError("--max-latency needs --rate-seconds")
    with error_handler():
        result: CountsResult | LongRunResult | RateResult
        if rate_seconds:
            with require_extra("cpu"):
                from bench.belt import rate
            result = rate.measure(engine, rate_seconds, _progress, max_latency_s)
        elif soak_hours:
            with require_extra("cpu"):
                from bench.belt import long_run
            result = long_run.measure(engine, soak_hours, _progress)
        else:
            with require_extra("peers"):
                from bench.belt import counts
            result = counts.measure(engine, photos, _progress)
        _show(result, json_path)


@bench.command()
@ENGINE
@click.option("--frames", type=click.IntRange(min=1), default=10, show_default=True)
@JSON
def pipeline(engine: str, frames: int, json_path: Path | None) -> None:
    """Overhead of edge-run over the engine alone, on 1440x1440 JPEG photos."""
    with error_handler():
        with require_extra("cpu"):
            from bench.pipeline import measure
        _show(measure(engine, frames), json_path)


@bench.command()
@click.option("--fps", type=POSITIVE, default=60, show_default=True)
@click.option("--seconds", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--frames", type=click.IntRange(min=1), help="In place of --seconds.")
@click.option("--size", type=click.IntRange(min=32), default=256, show_default=True)
@ENGINE
@JSON
def latency(
    fps: float, seconds: int, frames: int | None, size: int, engine: str, json_path: Path | None
) -> None:
    """End-to-end latency from a simulated camera, and memory over time."""
    with error_handler():
        with require_extra("cpu"):
            from bench.latency import measure
        _show(measure(engine, fps, frames or round(fps * seconds), size), json_path)


@bench.command()
@click.option(
    "--seconds",
    type=Number(min=1),
    default=60,
    show_default=True,
    help="Of each of the stretches.",
)
@JSON
def live(seconds: float, json_path: Path | None) -> None:
    """A live stream through edge.run and through a plain loop with OpenCV, interleaved."""
    with error_handler():
        with require_extra("bench"), require_extra("live"):
            from bench.live import measure
        _show(measure(seconds), json_path)


@bench.command()
@click.option("--minutes", type=Number(min=2), default=30, show_default=True)
@JSON
def soak(minutes: float, json_path: Path | None) -> None:
    """Run edge-run for long while cameras, disks, the broker and viewers fail; check it all."""
    with error_handler():
        with require_extra("bench"), require_extra("live"):
            from bench.soak import measure
        result = measure(minutes, _progress)
        _show(result, json_path)
        if result.failed:
            raise EdgeError(f"{len(result.failed)} failed: {'; '.join(result.failed)}")


@bench.command()
@click.option("--target", type=click.Choice(list(VARIANTS)), default="rtx", show_default=True)
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
    """Build every network in three precisions: time, size, and difference from FP32."""
    with error_handler():
        with require_extra("bench"):
            from bench.engines import measure
        _show(measure(open_variant(target), capabilities), json_path)


def _crossvals(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    found = {}
    for value in values:
        name, equals, folder = value.partition("=")
        if not (equals and folder):
            raise click.BadParameter(f"{value!r} is not SET=FOLDER, such as beads=runs/beads")
        found[name] = Path(folder)
    return found


@bench.command()
@click.argument("data", type=PathArgument(file_okay=False))
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["half_mrunet", "quarter_mrunet"],
    show_default=True,
    help="Shipped model, engine file or checkpoint (.pt); may be repeated.",
)
@click.option(
    "--crossval",
    "crossvals",
    multiple=True,
    metavar="SET=FOLDER",
    callback=_crossvals,
    help="Also the networks of a 'train crossval' folder on beads or mpnet, by fold.",
)
@click.option(
    "--plot",
    type=OutputFile(),
    help="Also time a frame in each engine, and draw the scores, .svg or .png.",
)
@click.option(
    "--out",
    "json_path",
    type=OutputFile(),
    help="Also write the result here, as JSON.",
)
def accuracy(
    data: Path,
    models: tuple[str, ...],
    crossvals: dict[str, Path],
    plot: Path | None,
    json_path: Path | None,
) -> None:
    """Score models and classical filters on the real photos under DATA.

    DATA holds sand/, sand_clean/, beads/ and mpnet/; those that are missing are left out.
    """
    with error_handler():
        with require_extra("bench"):
            from bench import accuracy_plot
            from bench.accuracy import measure
            from bench.picture import check_suffix
        if plot:
            check_suffix(plot, "a plot")

        result = measure(data, models, crossvals, plot is not None, _progress)
        _show(result, json_path)
        if plot:
            accuracy_plot.write(result, plot)
            click.echo(plot)


@bench.command("gpu-check")
@click.option("--target", type=click.Choice(list(VARIANTS)), default="native", show_default=True)
@JSON
def gpu_check(target: str, json_path: Path | None) -> None:
    """Within ten minutes, what only a GPU can tell: a verdict a line; then every engine's speed."""
    with error_handler():
        with require_extra("bench"):
            from bench.gpu_check import measure
        result = measure(open_variant(target))
        _show(result, json_path)
        if result.problems:
            names = ", ".join(verdict.name for verdict in result.problems)
            raise EdgeError(f"{len(result.problems)} problem(s): {names}")


@bench.command()
@click.argument("folder", type=PathArgument(file_okay=False))
@ENGINE
@click.option("--seed", type=click.IntRange(min=0), default=3, show_default=True)
@click.option("--frames", type=click.IntRange(min=1), default=6, show_default=True)
def demo(folder: Path, engine: str, seed: int, frames: int) -> None:
    """Render a belt clip into FOLDER, run edge-run on it, and compare with the ground truth."""
    with error_handler():
        with require_extra("cpu"):
            from bench.demo import SMALLEST, edge_arguments, render_clip, run_edge
        click.echo(f"rendering {frames} frames of a belt (seed {seed})")
        clip = render_clip(folder, seed, frames)
        out = folder / "results"
        click.echo(f"edge-run {' '.join(edge_arguments(clip, engine, out))}")
        counts = list(run_edge(clip, engine, out))
        # No table: tabulate is not among the few packages that the demo needs.
        for index, frame in enumerate(counts):
            click.echo(
                f"frame {index}: found {frame.tp} of {frame.true}, {frame.fp} false positives"
            )
        true, found = sum(c.true for c in counts), sum(c.tp for c in counts)
        false = sum(c.fp for c in counts)
        click.echo(
            f"all: found {found} of {true} particles of {SMALLEST:g} px and more, "
            f"{false} false positives"
        )
        click.echo(
            f"look at {out / 'overlays'} (visualisations) and {out / 'particles.csv'} (particles)"
        )
