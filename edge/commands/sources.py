"""edge-run sources: what can be read here, and how it is given to edge-run."""

from __future__ import annotations

import importlib.util

import click

from edge.errors import EdgeError, MissingExtraError, describe, error_handler, require_extra

MISSING_GSTREAMER = "needs an OpenCV built with GStreamer, which that of pip is not"


@click.command()
def sources() -> None:
    """List the cameras that are there, with their formats, sizes and rates, and the kinds of
    streams that can be read."""
    with error_handler():
        with require_extra("cpu"):
            from edge.sources.gstreamer import has_gstreamer
        for lines in (_cameras(), _genicam()):
            click.echo("\n".join(lines))
        pyav = importlib.util.find_spec("av") is not None
        gstreamer = "OpenCV with GStreamer" if has_gstreamer() else MISSING_GSTREAMER
        click.echo(_row("rtsp://, http(s)://", "PyAV" if pyav else "needs pip install '.[live]'"))
        click.echo(_row("gst:PIPELINE, csi:N", gstreamer))


def _cameras() -> list[str]:
    from edge.sources.camera import list_cameras

    lines = []
    for camera in list_cameras():
        lines.append(_row(f"--camera {camera.number}", camera.name))
        lines += [_row("", mode) for mode in camera.modes]
    return lines or [_row("--camera N", "no camera found")]


def _genicam() -> list[str]:
    from edge.sources.genicam import cameras

    try:
        found = [_row(f"--source genicam:{serial}", name) for serial, name in cameras()]
    except MissingExtraError:
        return [_row("--source genicam:SERIAL", "needs pip install '.[genicam]'")]
    except EdgeError as error:
        return [_row("--source genicam:SERIAL", describe(error))]
    return found or [_row("--source genicam:SERIAL", "no camera found")]


def _row(what: str, said: str) -> str:
    return f"{what:<28}{said}".rstrip()
