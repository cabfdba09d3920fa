"""What `train check` found, as one HTML file with thumbnails.

At most `PHOTOS` photos, and `PER_KIND` of each kind of finding, are shown, as JPEG of `SIDE` px, so
that the page has a few MB at most, whatever the number and size of the photos. The others are
named.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import printable
from edge.samples.charts import Row, bars
from edge.samples.document import document, jpeg_uri, section, table
from train.data.check import BROKEN, DOUBTFUL, Finding, Report
from train.data.displacement import LEFT, MIN_OBJECTS, REACH_PX, SURE
from train.data.duplicates import NEAR_BITS
from train.data.samples import Sample

PHOTOS, PER_KIND = 60, 24
SIDE, JPEG_QUALITY = 240, 75
# Of a view of a displaced mask: particles across, and px at least.
VIEW_DIAMETERS, MIN_VIEW_PX = 12, 80
SIZE_CLASSES = 12

# As the page of a run marks particles, and where a displaced mask would lie better.
OUTLINE, BETTER = (255, 92, 255), (86, 220, 255)

CSS = """
.photos { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); margin: .5rem 0 1rem; }
.photos img { display: block; width: 100%; height: 9.5rem; object-fit: contain; background: #000; border-radius: .3rem; }
.views { grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.views img { height: 15rem; }
.chart .interval { display: none; }
.outline { color: #ff5cff; } .better { color: #56dcff; }
.outline, .better { background: #000; padding: 0 .4rem; border-radius: .2rem; }
details p { overflow-wrap: anywhere; }
td { white-space: normal; }
"""  # noqa: E501

# What each kind of finding is, and what to do about it.
ADVICE = {
    "soft mask": (
        "Soft masks, as JPEG blurs them",
        "Export them again as PNG or TIFF, without anti-aliasing, smoothing and interpolation; "
        "converting the file that is there keeps its soft edges.",
    ),
    "mask size": (
        "Masks of another size than their photo",
        "Export them at the size of the photo; enlarging a small mask does not bring back small "
        "particles.",
    ),
    "broken": (
        "Files that cannot be used",
        "Do what the sentence says, or remove the file; training refuses the folder until then.",
    ),
    "leak": (
        "Near-duplicates in different parts of a fold",
        "Put a group into one part of the split file, or keep one photo of it: else a network is "
        "judged by what it has learnt by heart.",
    ),
    "duplicate": (
        "Near-duplicates",
        "Keep one photo of a group, or all of them in one part of every fold: 'train check --split "
        "FILE' says where they are.",
    ),
    "inverted": (
        "Possibly inverted masks",
        "Invert the mask, in ImageJ by Edit > Invert, unless particles do cover most of the photo.",
    ),
    "displaced": (
        "Possibly displaced masks",
        "Compare the two outlines; where the second is right, export the mask again without "
        "margins and at the size of the photo, or move it by what is said.",
    ),
    "no particle": (
        "Photos without particles",
        "Keep those that are clean; label or remove those that nobody has labelled, since they "
        "teach a network to miss particles.",
    ),
}
RULES = (
    f"Near-duplicates: perceptual hashes of 255 bits (pHash of Zauner, 2010, with 16 x 16 "
    f"frequencies, of clipped greys) differ in at most {NEAR_BITS}, also turned by quarters or "
    f"mirrored; parts of a photo that overlap are not found.",
    "Inverted: more than half of the mask is particle.",
    f"Displaced: of a mask moved by up to a particle's diameter ({REACH_PX} px at least), the mean "
    f"local contrast of the photo under it is highest at least 2 px and a quarter of a diameter "
    f"away, is there at least {1 / LEFT:.2g} times as far above the photo's mean, and gains "
    f"{SURE:g} standard errors over the particles, of which there must be {MIN_OBJECTS}.",
)


class CheckPage:
    """Collects thumbnails while `train.data.check.check` reads the photos."""

    def __init__(self) -> None:
        # JPEGs of about 15 KB each: which are shown is known at the end only.
        self._pictures: dict[str, str] = {}
        self._views: dict[str, str] = {}

    def add(self, sample: Sample, away: tuple[int, int] | None) -> None:
        """A photo, and by how many px (right, down) its mask is displaced, if it is."""
        picture = _drawn(sample.image, {OUTLINE: sample.mask == 1})
        self._pictures[sample.name] = jpeg_uri(picture, JPEG_QUALITY)
        if away:
            self._views[sample.name] = jpeg_uri(_displaced(sample, away), JPEG_QUALITY)

    def html(self, data: str, report: Report) -> str:
        """The page, in UTF-8, of the folder of that name."""
        findings = [*report.broken, *report.doubtful]
        parts = [_overview(report)]
        for kind in (*BROKEN, *DOUBTFUL):
            if found := [one for one in findings if one.kind == kind]:
                parts.append(self._findings(kind, found))
        if report.notes:
            items = "".join(f"<li>{_text(note)}</li>" for note in report.notes)
            parts.append(section("Guessed", f"<ul>{items}</ul>"))
        if self._pictures:
            parts.append(self._photos())
        rules = "".join(f"<li>{escape(rule)}</li>" for rule in RULES)
        parts.append(section("How these are found", f"<ul>{rules}</ul>"))
        made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        return document(f"Photos and masks of {printable(data)}", f"made {made}", parts, CSS)

    def _findings(self, kind: str, found: Sequence[Finding]) -> str:
        title, advice = ADVICE[kind]
        content = [f"<p>{escape(advice)}</p>"]
        if kind == "displaced":
            content.append(
                '<p class="note">Enlarged parts of the photos: <span class="outline">the mask'
                '</span> <span class="better">where it would lie better</span></p>'
            )
        left = PER_KIND
        more: list[str] = []
        single: list[str] = []
        for one in found:
            shown = [name for name in one.photos if name in self._pictures][:left]
            left -= len(shown)
            if not shown:
                more.append(one.text)
            elif len(one.photos) == 1:
                pictures = self._views if kind == "displaced" else self._pictures
                single.append(_figure(pictures[shown[0]], one.text))
            else:
                figures = "".join(_figure(self._pictures[name], name) for name in shown)
                content.append(
                    f'<p class="note">{_text(one.text)}</p><div class="photos">{figures}</div>'
                )
                more += one.photos[len(shown) :]
        if single:
            views = " views" if kind == "displaced" else ""
            content.append(f'<div class="photos{views}">{"".join(single)}</div>')
        if more and kind in BROKEN:
            content.append(f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in more)}</ul>")
        elif more:
            listed = "<br>".join(map(_text, more))
            content.append(f"<details><summary>{len(more)} more</summary><p>{listed}</p></details>")
        count = sum(len(one.photos) for one in found) if kind == "no particle" else len(found)
        return section(f"{title}: {count}", "".join(content))

    def _photos(self) -> str:
        names = list(self._pictures)
        places = np.linspace(0, len(names) - 1, min(PHOTOS, len(names))).round().astype(int)
        figures = "".join(_figure(self._pictures[names[place]], names[place]) for place in places)
        title = f"Photos: {len(names)}"
        if len(places) < len(names):
            title += f", of which {len(places)} are shown"
        note = '<p class="note">Masks are <span class="outline">outlined</span>.</p>'
        return section(title, f'{note}<div class="photos">{figures}</div>')


def _figure(uri: str, text: str) -> str:
    return (
        f'<figure><img src="{uri}" alt="{_text(text)}">'
        f"<figcaption>{_text(text)}</figcaption></figure>"
    )


def _text(text: str) -> str:
    return escape(printable(text))


def _overview(report: Report) -> str:
    facts = report.facts().items()
    content = table(["", "all photos"], facts, "What is there")
    if len(report.diameters_px):
        chart = bars(_histogram(report.diameters_px), "Particles by diameter")
        note = "Particles by the diameter of the circle of their area, px."
        content += f'<div class="chart"><h3>Sizes</h3>{chart}<p class="note">{note}</p></div>'
    return section("What is there", content)


def _histogram(diameters_px: NDArray[np.float64]) -> list[Row]:
    """Counts in classes that grow by the square root of 2, or by 2 where there would be many."""
    octaves = np.log2(diameters_px)
    width = 0.5 if np.ptp(octaves) < SIZE_CLASSES / 2 - 1 else 1.0
    first = math.floor(octaves.min() / width)
    last = math.floor(octaves.max() / width)
    edges = [2 ** (place * width) for place in range(first, last + 2)]
    counts = np.bincount(np.floor(octaves / width).astype(int) - first, minlength=last - first + 1)
    return [
        Row(f"{_px(low)}-{_px(high)} px", count, count, count)
        for (low, high), count in zip(itertools.pairwise(edges), counts.tolist(), strict=True)
    ]


def _px(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _displaced(sample: Sample, away: tuple[int, int]) -> NDArray[np.uint8]:
    """A part around a particle in the middle, with the mask as it is and as it would lie better."""
    there = sample.mask == 1
    y, x = np.nonzero(there)
    count = cv2.connectedComponents(there.astype(np.uint8), connectivity=8)[0] - 1
    diameter = 2 * math.sqrt(len(y) / count / math.pi)
    side = max(MIN_VIEW_PX, round(VIEW_DIAMETERS * diameter))
    height, width = sample.size_hw
    middle = len(y) // 2
    top = max(0, min(int(y[middle]) - side // 2, height - side))
    left = max(0, min(int(x[middle]) - side // 2, width - side))
    part = np.s_[top : top + side, left : left + side]
    moved = np.roll(there, away, axis=(1, 0))
    return _drawn(sample.image[part], {OUTLINE: there[part], BETTER: moved[part]})


def _drawn(
    image: NDArray[np.uint8], outlines: dict[tuple[int, int, int], NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    """A picture of `SIDE` px with masks (H,W) outlined by colour."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    drawn = np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)
    for colour, mask in outlines.items():
        if scale < 1:
            # Every particle, however small.
            shown = np.zeros((size[1], size[0]), np.uint8)
            y, x = np.nonzero(mask)
            shown[y * size[1] // height, x * size[0] // width] = 1
        else:
            shown = np.asarray(
                cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), np.uint8
            )
        # One pixel away, so that what is outlined stays visible.
        near = cv2.dilate(shown, np.ones((3, 3), np.uint8))
        drawn[np.asarray(cv2.dilate(near, np.ones((3, 3), np.uint8)) > near)] = colour
    return drawn
