"""A board as a PDF page, to be printed at its true size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.calibration.board import MODULES_PER_SQUARE, Board
from edge.errors import BadArgumentError
from edge.files import atomic_write

# Landscape: width and height, mm.
PAPERS_MM = {"a4": (297.0, 210.0), "letter": (279.4, 215.9)}
POINTS_PER_MM = 72 / 25.4
# What printers leave white, and the room below the board for ruler and text.
MARGIN_MM, FOOT_MM = 12.0, 24.0
RULER_MM = 100


def write_board(path: Path, board: Board, paper: str) -> None:
    """Write `board` and a ruler to check its size with as a PDF page.

    Args:
        paper: of `PAPERS_MM`.

    Raises:
        BadArgumentError: the board is larger than the paper.
        OSError: the file cannot be written.
    """
    width_mm, height_mm = PAPERS_MM[paper]
    free_mm = (width_mm - 2 * MARGIN_MM, height_mm - 2 * MARGIN_MM - FOOT_MM)
    largest_mm = min(free_mm[0] / board.columns, free_mm[1] / board.rows)
    if board.square_mm > largest_mm:
        raise BadArgumentError(
            f"{board.size} squares of {board.square_mm:g} mm do not fit on {paper} paper; there "
            f"they are at most {int(largest_mm * 10) / 10:g} mm"
        )
    module_mm = board.square_mm / MODULES_PER_SQUARE
    left_mm = (width_mm - board.columns * board.square_mm) / 2
    lines = [
        # Units of mm, from the top left corner down.
        f"{POINTS_PER_MM:.8f} 0 0 {-POINTS_PER_MM:.8f} 0 {height_mm * POINTS_PER_MM:.6f} cm",
        *(
            f"{left_mm + x * module_mm:.5f} {MARGIN_MM + y * module_mm:.5f} "
            f"{w * module_mm:.5f} {h * module_mm:.5f} re"
            for x, y, w, h in _rectangles(board.modules())
        ),
        "f",
    ]
    foot_mm = height_mm - MARGIN_MM - FOOT_MM + 8
    lines += _ruler(MARGIN_MM, foot_mm)
    texts = (
        f"{board}. Print at 100 %, not fitted to the page, and glue it to something flat.",
        f"Check that the ruler is {RULER_MM} mm long. Otherwise measure it, and give --square-mm "
        f"{board.square_mm:g} x measured / {RULER_MM}.",
        f"edge-run calibrate --pattern {board.pattern} --squares {board.size} "
        f"--square-mm {board.square_mm:g} --flat FLAT.png PHOTOS",
    )
    for number, text in enumerate(texts):
        lines.append(f"BT /F 3.2 Tf 1 0 0 -1 {MARGIN_MM} {foot_mm + 7 + 4.5 * number} Tm")
        lines.append(f"({text.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}) Tj ET")
    page = _pdf("\n".join(lines), width_mm * POINTS_PER_MM, height_mm * POINTS_PER_MM)
    with atomic_write(path) as temporary:
        temporary.write_bytes(page)


def _ruler(left_mm: float, top_mm: float) -> list[str]:
    """A line of `RULER_MM` with a tick each 10 mm, which ends where the line does."""
    ticks = [f"{left_mm + at} {top_mm} m {left_mm + at} {top_mm - 3} l" for at in range(0, 101, 10)]
    return ["0.2 w", f"{left_mm} {top_mm} m {left_mm + RULER_MM} {top_mm} l", *ticks, "S"]


def _rectangles(black: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """(x, y, width, height) that cover the True pixels, each once."""
    found: list[tuple[int, int, int, int]] = []
    begun: dict[tuple[int, int], int] = {}  # the row that a run (begin, end) began in
    for y, row in enumerate([*black, np.zeros(black.shape[1], bool)]):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]])))
        runs = {(int(begin), int(end)) for begin, end in edges.reshape(-1, 2)}
        for run in begun.keys() - runs:
            top = begun.pop(run)
            found.append((run[0], top, run[1] - run[0], y - top))
        begun |= dict.fromkeys(runs - begun.keys(), y)
    return sorted(found)


def _pdf(content: str, width: float, height: float) -> bytes:
    """A file of one page, its size in points."""
    stream = content.encode("ascii")
    objects = [
        # Viewers that heed it offer to print at true size first.
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %.4f %.4f] /Contents 4 0 R "
        b"/Resources << /Font << /F 5 0 R >> >> >>" % (width, height),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    file, offsets = b"%PDF-1.6\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    return file + (
        b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table)
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(file))
    )
