"""edge-run calibrate: a camera's lens and scale from photos of a board, which it prints too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.arguments import Number, OutputFile, PathArgument, Text
from edge.errors import BadArgumentError, error_handler, printable, require_extra
from edge.terminal import Terminal

if TYPE_CHECKING:
    from edge.calibration.board import Board
    from edge.calibration.fit import Fit

# Above these, the photos or the camera want another look.
MAX_RMS_PX = 1.0
MAX_SCALE_RANGE = 0.02
GOOD_REACH = 0.8


def _squares(_: click.Context, __: click.Parameter, text: str) -> tuple[int, int]:
    """COLUMNSxROWS."""
    found = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if not found:
        raise click.BadParameter(f"{text!r} is not COLUMNSxROWS, such as 11x8")
    return int(found[1]), int(found[2])


@click.command()
@click.argument("photos", type=Text(), nargs=-1)
@click.option(
    "--flat",
    type=PathArgument(),
    metavar="PHOTO",
    help="Photo of the board lying flat on the belt, where the particles will be: it tells the "
    "scale.",
)
@click.option(
    "--out",
    type=OutputFile(),
    metavar="FILE",
    default="camera.json",
    show_default=True,
    help="New file for the calibration.",
)
@click.option(
    "--board",
    "board_file",
    type=OutputFile(),
    metavar="FILE.pdf",
    help="Write the board as a new PDF file to print, and do nothing else.",
)
@click.option(
    "--pattern",
    type=click.Choice(["charuco", "chessboard"]),
    default="charuco",
    show_default=True,
    help="A ChArUco board may be seen in part, a chessboard may not.",
)
@click.option(
    "--squares",
    metavar="COLUMNSxROWS",
    default="11x8",
    show_default=True,
    callback=_squares,
    help="Number of squares of the board.",
)
@click.option(
    "--square-mm",
    type=Number(min=0, min_open=True, max=1000),
    default=10,
    show_default=True,
    help="Side of a square.",
)
@click.option(
    "--paper",
    type=click.Choice(["a4", "letter"]),
    default="a4",
    show_default=True,
    help="Of --board.",
)
def calibrate(
    photos: tuple[str, ...],
    flat: Path | None,
    out: Path,
    board_file: Path | None,
    pattern: str,
    squares: tuple[int, int],
    square_mm: float,
    paper: str,
) -> None:
    """Learn a camera's lens and scale from PHOTOS of a board: files, folders or globs.

    \b
    edge-run calibrate --board board.pdf
    edge-run calibrate photos/ --flat photos/flat.png --out camera.json
    edge-run --camera 0 --calibration camera.json --out results

    Take about 15 photos with the focus and frame size of the runs: the board tilted by 20 to 40
    degrees, each time another way, and in each corner of the frame; and one of it flat on the belt.
    """
    with error_handler():
        with require_extra("cpu"):
            from edge.calibration.board import Board
        board = Board(*squares, square_mm, "charuco" if pattern == "charuco" else "chessboard")
        if board_file is not None:
            if photos or flat is not None:
                raise click.UsageError("--board only writes a board; leave out photos and --flat")
            _print_board(board_file, board, paper)
        else:
            if not photos or flat is None:
                raise click.UsageError(
                    "give photos of the board and, with --flat, one of it flat on the belt; or "
                    "print a board with --board FILE.pdf"
                )
            _calibrate(photos, flat, board, out)


def _print_board(path: Path, board: Board, paper: str) -> None:
    from edge.calibration.board_pdf import RULER_MM, write_board

    _check_new(path)
    write_board(path, board, paper)
    Terminal().say(
        f"{printable(str(path))}: {board}\nPrint it at 100 %, and check that its ruler is "
        f"{RULER_MM} mm long."
    )


def _calibrate(photos: tuple[str, ...], flat: Path, board: Board, out: Path) -> None:
    from edge.calibration.fit import fit, photo_paths

    _check_new(out)
    terminal = Terminal()
    found = fit(photo_paths(photos), flat, board, terminal.progress)
    terminal.end_progress()
    found.calibration.write(out)
    _show(found, flat, terminal)
    terminal.say(printable(str(out)))


def _check_new(path: Path) -> None:
    if path.exists():
        raise BadArgumentError(f"{path}: exists; name a new file")


def _show(found: Fit, flat: Path, terminal: Terminal) -> None:
    made = found.calibration
    low, high = made.scale_range()
    variation = (high - low) / made.mm_per_pixel
    worst = printable(found.worst.name)
    terminal.say(
        f"{made.corners} corners in {made.photos} photos, {made.board}\n"
        f"re-projection error {made.reprojection_rms_px:.3f} px RMS, "
        f"{made.reprojection_max_px:.2f} px at most ({worst})\n"
        f"scale {made.mm_per_pixel:.5g} mm per px in the middle, {low:.5g} to {high:.5g} in the "
        f"frame ({variation:.1%}); the camera is tilted by {made.tilt_degrees():.1f} degrees\n"
        f"check: squares of {printable(flat.name)}, measured without them, are "
        f"{made.length_error_mean_percent:+.2f}% off on average, "
        f"{made.length_error_max_percent:.2f}% at most"
    )
    warnings = [f"not used: {reason}" for reason in found.left_out]
    if made.reprojection_rms_px > MAX_RMS_PX:
        warnings.append(
            f"a re-projection error above {MAX_RMS_PX:g} px: {worst} may be blurred, the board "
            f"bent, or its number of squares wrong"
        )
    if variation > MAX_SCALE_RANGE:
        warnings.append(
            f"the scale varies by {variation:.1%} over the frame, by lens and tilt; records are "
            f"corrected for it, but --min-diameter and --max-diameter in mm hold for the middle"
        )
    if found.reach < GOOD_REACH:
        warnings.append(
            f"corners were seen up to {found.reach:.0%} of the way to a corner of the frame; "
            f"beyond, the distortion is a guess"
        )
    for warning in warnings:
        terminal.say(f"warning: {printable(warning)}", error=True)
