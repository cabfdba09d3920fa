"""edge-run: frames in, particles out."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from edge.arguments import POSITIVE, Length, LengthArgument, PathArgument, Text, Threshold
from edge.belt_options import BeltOptions, belt_options
from edge.commands.calibrate import calibrate
from edge.commands.report import report
from edge.commands.sources import sources
from edge.commands.view import view
from edge.engines import DEFAULT_MODEL, Backend, Device, Precision
from edge.errors import describe, error_handler, is_expected, printable, require_extra
from edge.interrupts import Interrupts
from edge.server.address import Address, AddressArgument
from edge.source_options import SourceOptions, source_options
from edge.terminal import Terminal, configure_logging

if TYPE_CHECKING:
    from edge.calibration.calibration import Calibration
    from edge.report import Report
    from edge.runner import Run


@click.group(invoke_without_command=True)
@source_options
@click.option(
    "--engine",
    "engine_name",
    type=Text(),
    default=DEFAULT_MODEL,
    show_default=True,
    help="Engine file, or a shipped model: mrunet_lite, half_mrunet_lite, half_mrunet8, ...",
)
@click.option(
    "--backend",
    type=click.Choice(get_args(Backend)),
    default="auto",
    show_default=True,
    help="What runs the engine; auto is the fastest that is installed.",
)
@click.option(
    "--device",
    type=click.Choice(get_args(Device)),
    default="auto",
    show_default=True,
    help="Where it runs.",
)
@click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    help="bf16: compute an fp32 .onnx in bfloat16, in OpenVINO. Others must be that of the engine "
    "file.  [default: that of the engine file]",
)
@click.option(
    "--trust-engine",
    is_flag=True,
    help="Load a .trt that no sidecar verifies. Such a file can run code when loaded.",
)
@click.option(
    "--cuda",
    type=click.Choice(["pycuda", "cuda-python"]),
    help="CUDA bindings for a .trt.  [default: the first installed]",
)
@click.option(
    "--out",
    type=PathArgument(),
    metavar="FOLDER",
    help="New folder for frames.csv, particles.csv, particles.jsonl, masks, overlays and "
    "summary.json, with --belt segments.csv; nothing is written without it.",
)
@click.option(
    "--sink",
    "sink_uris",
    type=Text(),
    metavar="URI",
    multiple=True,
    help="Where results go besides: jsonl:FILE, csv:FILE, frames:FILE, shapes:FILE, segments:FILE, "
    "sqlite:FILE, video:FILE, masks:FOLDER, overlays:FOLDER, crops:FOLDER, coco:FILE, "
    "labelstudio:FILE, mqtt://HOST/TOPIC, mqtts://HOST/TOPIC or prometheus://:PORT. Repeatable.",
)
@click.option(
    "--shapes",
    is_flag=True,
    help="Add shapes.csv to --out: Feret diameters, outline, colour and shape class of each "
    "particle. 'edge-run report' measures them from masks and photos where it is missing.",
)
@click.option("--no-masks", is_flag=True, help="Leave the masks out of --out.")
@click.option("--no-overlays", is_flag=True, help="Leave the overlays out of --out.")
@click.option(
    "--mm-per-pixel",
    type=POSITIVE,
    help="Scale of the frames; adds lengths in mm to the records.",
)
@click.option(
    "--calibration",
    "calibration_file",
    type=PathArgument(exists=True, dir_okay=False),
    metavar="FILE",
    help="The camera's lens and scale, of 'edge-run calibrate'; corrects the records, and adds "
    "lengths in mm.",
)
@click.option(
    "--threshold",
    type=Threshold(),
    help="Probability from which on a pixel is a particle: lower finds more, higher is more often "
    "right.  [default: the engine's own]",
)
@click.option(
    "--min-diameter",
    type=LengthArgument(),
    help="Leave out smaller particles: of a diameter in px, such as 3, or, with --mm-per-pixel, "
    "in mm, such as 0.15mm. Of the circle of the same area.  [default: the engine's own]",
)
@click.option(
    "--max-diameter",
    type=LengthArgument(),
    help="Leave out larger particles, likewise.",
)
@click.option(
    "--policy",
    "policy_name",
    type=click.Choice(["every", "latest"]),
    help="What becomes of a frame that still waits when the next one comes: 'every' keeps it and "
    "holds the source up, 'latest' replaces it.  [default: latest for cameras and streams, else "
    "every]",
)
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--seconds", type=POSITIVE, help="Stop after so long.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Process one frame in so many.",
)
@belt_options
@click.option(
    "--serve",
    "address",
    type=AddressArgument(),
    metavar="[HOST:]PORT",
    help="Show the run as a web page, on 127.0.0.1 where no HOST is given. On another, viewers "
    "need a token: that of the environment variable EDGE_RUN_TOKEN, or one that is made and shown.",
)
@click.option("--verbose", is_flag=True, help="Log every step to stderr.")
@click.option("--log-json", is_flag=True, help="Log as JSON, an object per line.")
@click.version_option(package_name="microplastic-edge", prog_name="edge-run")
@click.pass_context
def edge_run(
    context: click.Context,
    given: SourceOptions,
    engine_name: str,
    backend: Backend,
    device: Device,
    precision: Precision | None,
    trust_engine: bool,
    cuda: str | None,
    out: Path | None,
    sink_uris: tuple[str, ...],
    shapes: bool,
    no_masks: bool,
    no_overlays: bool,
    mm_per_pixel: float | None,
    calibration_file: Path | None,
    threshold: float | None,
    min_diameter: Length | None,
    max_diameter: Length | None,
    policy_name: str | None,
    frames: int | None,
    seconds: float | None,
    every: int,
    belt_given: BeltOptions,
    address: Address | None,
    verbose: bool,
    log_json: bool,
) -> None:
    """Find microplastic particles in the frames of cameras, streams and files.

    \b
    edge-run --camera 0 --engine half_mrunet.onnx
    edge-run --source photos/ --out results --mm-per-pixel 0.05
    edge-run --source rtsp://HOST/PATH --camera 0 --out results

    Ctrl-C ends a run after the frames in flight; everything found by then is written.

    Exit code: 0 when every frame was read, 1 after an error or where the source ended early, 2 for
    bad arguments, 128 plus its number for a signal.
    """
    if context.invoked_subcommand:
        return
    if not given.cameras and not given.sources:
        raise click.UsageError("give --camera N or --source URI, or both")
    calibration = _calibration(calibration_file, mm_per_pixel)
    if calibration and len(given.cameras) + len(given.sources) > 1:
        raise click.UsageError("--calibration is of one camera; give one source with it")
    if belt_given.belt:
        if len(given.cameras) + len(given.sources) > 1:
            raise click.UsageError("--belt is of one camera; give one source with it")
        if every > 1:
            raise click.UsageError("--belt needs every frame; leave out --every")
        if calibration:
            raise click.UsageError("--belt takes --mm-per-pixel in place of --calibration")
    belt = belt_given.settings(mm_per_pixel)
    mm_per_pixel = calibration.mm_per_pixel if calibration else mm_per_pixel
    min_px = min_diameter.pixels("--min-diameter", mm_per_pixel) if min_diameter else None
    max_px = max_diameter.pixels("--max-diameter", mm_per_pixel) if max_diameter else None
    if min_px is not None and max_px is not None and min_px > max_px:
        raise click.UsageError("--min-diameter is above --max-diameter: no particle fits")
    if max_px == 0:
        raise click.UsageError("--max-diameter is 0: no particle fits")
    configure_logging(verbose=verbose, as_json=log_json)
    terminal = Terminal()
    with error_handler(), contextlib.ExitStack() as opened:
        interrupts = opened.enter_context(Interrupts(terminal))
        opened.enter_context(interrupts.exiting())
        with require_extra("cpu"):
            from edge.model import load_model
            from edge.pipeline import Policy
            from edge.runner import default_policy, run
            from edge.sinks import open_sink, open_sinks
            from edge.systemd import Service

            reader = given.open()
        opened.callback(reader.close)
        model = load_model(
            engine_name,
            backend=backend,
            device=device,
            precision=precision,
            trust=trust_engine,
            cuda=cuda,
        )
        opened.callback(model.close)
        terminal.say(f"{model.name} on {model.device}")
        # Before any file is made, what `run` would refuse.
        model.particle_filter(threshold, min_px, max_px)
        policy = Policy(policy_name) if policy_name else None
        if not policy and not belt:
            policy = default_policy(reader)
        if address:
            with require_extra("live"):
                from edge.server.live import LiveSink
                from edge.server.live_app import live_app
                from edge.server.server import Server
            server = opened.enter_context(contextlib.closing(Server(address)))
        interrupts.defer()
        sinks = [open_sink(uri, mm_per_pixel) for uri in sink_uris]
        if out:
            sinks += open_sinks(
                out,
                mm_per_pixel,
                masks=not no_masks,
                overlays=not no_overlays,
                belt=belt is not None,
                shapes=shapes,
            )
        serving: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if address:
            page = LiveSink(mm_per_pixel, str(out) if out else None)
            sinks.append(page)
            serving = server.serve(live_app(page))
            server.announce(terminal)
        results = run(
            reader,
            model,
            sinks=sinks,
            threshold=threshold,
            min_diameter_px=min_px,
            max_diameter_px=max_px,
            policy=policy,
            frames=frames,
            seconds=seconds,
            every=every,
            calibration=calibration,
            belt=belt,
        )
        with serving, Service(results):
            code = _follow(results, interrupts, terminal)
        report = results.report()
        if out:
            report.write(out / "summary.json")
        _show(report, out, terminal)
        if code > 128:
            # The engine may still be at work on a frame; Python would wait for it.
            terminal.flush()
            os._exit(code)
    if code:
        raise SystemExit(code)


def _follow(run: Run, interrupts: Interrupts, terminal: Terminal) -> int:
    """Iterate to the end, an error or a signal, and close the run; the exit code."""
    failed = False
    try:
        with run:
            interrupts.attach(run)
            for result in run:
                of = f" of {run.expected}" if run.expected else ""
                where = f"{result.frame.source} " if result.frame.source else ""
                terminal.progress(
                    f"{where}frame {result.frame.index + 1}{of}: {len(result.particles)} particles"
                )
    except Exception as error:
        if not is_expected(error):
            raise
        failed = True
        terminal.end_progress()
        terminal.say(f"Error: {describe(error)}", error=True)
    else:
        terminal.end_progress()
    if interrupts.received:
        return interrupts.exit_code
    return int(failed or run.truncated)


def _calibration(path: Path | None, mm_per_pixel: float | None) -> Calibration | None:
    """Read from its file."""
    if path is None:
        return None
    if mm_per_pixel is not None:
        raise click.UsageError("--calibration tells the scale; leave out --mm-per-pixel")
    with error_handler():
        with require_extra("cpu"):
            from edge.calibration.calibration import Calibration
        return Calibration.read(path)


def _show(report: Report, out: Path | None, terminal: Terminal) -> None:
    from edge.stage_timer import format_latency

    for problem in report.problems:
        terminal.say(f"warning: {printable(problem)}", error=True)
    due = report.frames_expected
    of = f" of {due}" if due is not None and due != report.frames_processed else ""
    failed = f", {report.frames_failed} failed" if report.frames_failed else ""
    frames = "frame" if (due or report.frames_processed) == 1 else "frames"
    particles = "particle" if report.particles == 1 else "particles"
    line = f"{report.frames_processed}{of} {frames}{failed}, {report.particles} {particles}"
    if report.ended == "interrupted":
        line = f"stopped by {report.reason}: {line}"
    elif report.ended == "truncated":
        line = f"the source ended early: {line}"
    terminal.say(line)
    if latency := report.end_to_end_ms:
        terminal.say(
            f"{report.fps:.2f} FPS ({report.policy}, {report.frames_dropped} dropped), "
            f"end-to-end latency {latency['p50']:.0f} ms "
            f"(p99 {latency['p99']:.0f}, max {latency['max']:.0f})"
        )
        terminal.say(format_latency(report.latency_ms))
    if out:
        terminal.say(f"results in {printable(str(out))}")


for command in (calibrate, report, sources, view):
    edge_run.add_command(command)
