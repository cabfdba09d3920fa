"""An HTML file that loads nothing, in the look of the page of a run."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from importlib import resources
from string import Template

import cv2
import numpy as np
from numpy.typing import NDArray


def document(title: str, subtitle: str, sections: Iterable[str], css: str = "") -> str:
    """The HTML, in UTF-8.

    Args:
        title, subtitle: text.
        sections: HTML of `section`.
        css: more rules than those of every document.
    """
    common = (resources.files("edge.server") / "page" / "page.css").read_text(encoding="utf-8")
    template = (resources.files("edge.samples") / "page.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        css=common,
        more_css=css,
        sections="\n".join(sections),
    )


def section(title: str, content: str) -> str:
    """A part with its title; `content` is HTML."""
    return f'<section class="card"><h2>{escape(title)}</h2>{content}</section>'


def table(head: Iterable[str], body: Iterable[Iterable[str]], label: str) -> str:
    """A table of texts, which scrolls where it is wider than the screen.

    Args:
        label: says what it holds, for those who cannot see it.
    """
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    return (
        f'<div class="table" tabindex="0" role="group" aria-label="{escape(label)}"><table><thead>'
        f"<tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def jpeg_uri(image: NDArray[np.uint8], quality: int) -> str:
    """A picture (H,W,3) RGB as a data URI, `quality` 0 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
