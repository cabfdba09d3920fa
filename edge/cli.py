"""edge-run: frames in, particles out."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.errors import needs, reported

if TYPE_CHECKING:
    from edge.run import Summary
    from edge.sinks.sink import Result


class Threshold(click.FloatRange):
    """A probability above 0, at most 1."""

    def __init__(self) -> None:
        super().__init__(min=0, max=1, min_open=True)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        threshold = float(super().convert(value, param, ctx))
        if math.isnan(threshold):  # within every range, as it is below and above nothing
            self.fail(f"{value!r} is not a number above 0, at most 1", param, ctx)
        return threshold


def _length(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, str] | None:
    """A length such as 3, 3px or 0.15mm as (number, "px" or "mm")."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(px|mm)?", text.strip())
    if not found or not float(found[1]):
        raise click.BadParameter(f"{text!r} is not a length above 0 such as 3, 3px or 0.15mm")
    return float(found[1]), found[2] or "px"


@click.command()
@click.option("--camera", type=click.IntRange(min=0), help="Number of a camera.")
@click.option("--source", help="Image, folder of images, glob of images, or video file.")
@click.option(
    "--engine",
    "engine_name",
    default="half_mrunet",
    show_default=True,
    help="Engine file, or a shipped model: half_mrunet, half_mrunet_lite, quarter_mrunet, ...",
)
@click.option(
    "--trust-engine",
    is_flag=True,
    help="Load a .trt that no sidecar vouches for. A plan can run code when loaded.",
)
@click.option(
    "--cuda",
    type=click.Choice(["pycuda", "cuda-python"]),
    help="What speaks to the GPU of a .trt.  [default: the first installed]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="New folder for overlays, masks, particles.jsonl, particles.csv and "
    "summary.json; nothing is written without it.",
)
@click.option(
    "--mm-per-pixel",
    type=click.FloatRange(min=0, min_open=True),
    help="Scale of the frames; adds lengths in mm to the records.",
)
@click.option(
    "--threshold",
    type=Threshold(),
    help="Probability from which on a pixel is a particle: lower finds more, higher is more often "
    "right.  [default: the engine's own]",
)
@click.option(
    "--min-diameter",
    metavar="LENGTH",
    callback=_length,
    help="Leave out smaller particles: of a diameter in px, such as 3, or, with --mm-per-pixel, "
    "in mm, such as 0.15mm. Of the circle of the same area.",
)
@click.option(
    "--max-diameter",
    metavar="LENGTH",
    callback=_length,
    help="Leave out larger particles, likewise.",
)
@click.option(
    "--policy",
    "policy_name",
    type=click.Choice(["every", "latest"]),
    help="What becomes of a frame that still waits when the next one comes: 'every' keeps it and "
    "holds the source up, 'latest' replaces it.  [default: latest for --camera, every for "
    "--source]",
)
def edge_run(
    camera: int | None,
    source: str | None,
    engine_name: str,
    trust_engine: bool,
    cuda: str | None,
    out: Path | None,
    mm_per_pixel: float | None,
    threshold: float | None,
    min_diameter: tuple[float, str] | None,
    max_diameter: tuple[float, str] | None,
    policy_name: str | None,
) -> None:
    """Find microplastic particles in the frames of a camera or a file.

    \b
    edge-run --camera 0 --engine half_mrunet.onnx
    edge-run --source photos/ --out results --mm-per-pixel 0.05

    Ctrl-C ends a run after the frames in work; everything found by then is written.
    """
    if (camera is None) == (source is None):
        raise click.UsageError("give either --camera N or --source FILE")
    min_px = _pixels("--min-diameter", min_diameter, mm_per_pixel)
    max_px = _pixels("--max-diameter", max_diameter, mm_per_pixel)
    if min_px is not None and max_px is not None and min_px > max_px:
        raise click.UsageError("--min-diameter is above --max-diameter: no particle fits")
    with reported():
        with needs("cpu"):
            from edge.engines import open_engine
            from edge.particles import ParticleFilter
            from edge.pipeline import Policy
            from edge.run import run
            from edge.sinks import open_sinks
            from edge.sources import open_source
            from edge.sources.camera import CameraSource
        frames = CameraSource(camera) if camera is not None else open_source(source or "")
        policy = Policy(policy_name or ("every" if camera is None else "latest"))
        with contextlib.closing(open_engine(engine_name, trust=trust_engine, cuda=cuda)) as engine:
            click.echo(f"{engine.info.model} on {engine.device}")
            wanted = ParticleFilter(threshold or engine.info.threshold, min_px, max_px)
            sinks = open_sinks(out, mm_per_pixel) if out else []
            if frames.total is None:

                def report(result: Result) -> None:
                    click.echo(
                        f"\rframe {result.frame.index}: {len(result.particles)} particles   ",
                        nl=False,
                    )

                summary = run(frames, engine, sinks, policy, report, wanted)
                click.echo()
            else:
                with click.progressbar(length=frames.total, label="frames") as bar:

                    def report(result: Result) -> None:
                        bar.update(result.frame.index + 1 - bar.pos)

                    summary = run(frames, engine, sinks, policy, report, wanted)
        if out:
            summary.write(out / "summary.json")
        _show(summary, out)


def _pixels(
    option: str, length: tuple[float, str] | None, mm_per_pixel: float | None
) -> float | None:
    """A length in px, to the two digits of the records."""
    if length is None:
        return None
    number, unit = length
    if unit == "mm":
        if mm_per_pixel is None:
            raise click.UsageError(f"{option} in mm needs --mm-per-pixel; or give it in px")
        number /= mm_per_pixel
    return round(number, 2)


def _show(summary: Summary, out: Path | None) -> None:
    from edge.latency import as_text

    for message in summary.skipped:
        click.echo(f"skipped {message}", err=True)
    skipped = f", {len(summary.skipped)} skipped" if summary.skipped else ""
    click.echo(f"{summary.frames} frames{skipped}, {summary.particles} particles")
    if age := summary.age_ms:
        click.echo(
            f"{summary.frames_per_second:.2f} frames a second ({summary.policy}, "
            f"{summary.dropped} dropped), known {age['p50']:.0f} ms after they were taken "
            f"(p99 {age['p99']:.0f}, max {age['max']:.0f})"
        )
    click.echo(as_text(summary.latency_ms))
    if out:
        click.echo(f"results in {out}")
