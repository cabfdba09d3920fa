"""Mask files as tools write them: black and white, 0 and 1, one colour, palettes, alpha, numbers.

What is not black is particle. Where several values or colours stand beside each other, they are
numbers of objects or classes, and touching objects stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import EdgeError
from edge.sources.exif import UPRIGHT, is_tiff, orientation, upright
from edge.sources.images import image_data, readable

# In a mask: whether a particle is there is doubtful, so it counts neither way.
IGNORED = 255
# The border that Pascal VOC draws around objects, RGB.
VOID = (224 << 16) + (224 << 8) + 192
# 255 means void beside numbers of classes, which are few.
VOID_ABOVE = 32
WHITES = (255, 65535, 0xFFFFFF)
# So many classes at most; more values must be numbers of objects.
CLASSES = 8

INVERTED = (
    "INVERTED? More than half of the mask is particle; where particles are black on white, invert "
    "it, in ImageJ by Edit > Invert"
)
Objects = NDArray[np.int32]


class MaskSizeError(EdgeError):
    """A mask is of another size than its photo."""


class SoftMaskError(EdgeError):
    """A mask has greys between black and white, as JPEG and anti-aliasing leave them."""


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask: `pixels` uint8 (H,W) of 0, 1 and `IGNORED`; `objects` int32 (H,W), a number from 1 on
    each object, or None where objects are what is connected; and `notes` on what was guessed."""

    pixels: NDArray[np.uint8]
    objects: Objects | None = None
    notes: tuple[str, ...] = ()


def read_mask(path: Path, shape: tuple[int, ...], turn: int = UPRIGHT) -> Mask:
    """The mask of a photo.

    Args:
        shape: (H,W) of the photo, upright.
        turn: the EXIF orientation of the photo; a mask drawn on its pixels as stored is turned.

    Raises:
        EdgeError: the file is unreadable or of another size, or what its values mean is not plain.
    """
    values = _decoded(path)
    if values.shape[:2] != shape and upright(values, turn).shape[:2] == shape:
        values = upright(values, turn)
    if values.shape[:2] != shape:
        height, width = values.shape[:2]
        raise MaskSizeError(f"{path}: is {width}x{height} px, its photo {shape[1]}x{shape[0]}")
    numbers, notes = _numbers(values, path)
    mask = _separated(numbers, path)
    if np.count_nonzero(mask.pixels == 1) * 2 > mask.pixels.size:
        notes += (INVERTED,)
    return Mask(mask.pixels, mask.objects, notes + mask.notes)


def _decoded(path: Path) -> NDArray[Any]:
    """Values (H,W), or (H,W,3 or 4) with blue first, of any depth."""
    data = image_data(path)
    with readable(path, data):
        # The only way in which OpenCV gives alpha and 32 bits; but it turns TIFF files only.
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
        if values is None:
            raise cv2.error("no image")
    found = np.asarray(values)
    return found if is_tiff(data) else upright(found, orientation(data))


def _numbers(values: NDArray[Any], path: Path) -> tuple[NDArray[Any], tuple[str, ...]]:
    """One whole number a pixel, 0 on background, and a note on transparency."""
    if values.dtype.kind == "f":
        if not np.array_equal(values, np.rint(values)):
            raise EdgeError(
                f"{path}: holds fractions, as a map of probabilities does; save a mask of 0 and "
                f"255, or a label image of whole numbers"
            )
        values = values.astype(np.int64)
    if values.min() < 0:
        raise EdgeError(f"{path}: holds values below 0; background is 0 and particles are above")
    if values.ndim == 2:
        return values, ()
    if values.shape[2] == 4:
        values, alpha = values[..., :3], values[..., 3]
        if alpha.min() < alpha.max():
            return _transparent(_packed(values), alpha, path)
    return _packed(values), ()


def _packed(values: NDArray[Any]) -> NDArray[Any]:
    """Colours (H,W,3), blue first, as a number each; greys as their value."""
    blue, green, red = values[..., 0], values[..., 1], values[..., 2]
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return blue
    bits = 8 * values.dtype.itemsize
    wide: type[np.signedinteger[Any]] = np.int32 if bits == 8 else np.int64
    packed: NDArray[Any] = blue.astype(wide)
    packed |= green.astype(wide) << bits
    packed |= red.astype(wide) << 2 * bits
    return packed


def _transparent(
    colours: NDArray[Any], alpha: NDArray[Any], path: Path
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """What is opaque, where that is the mask; else the colours of what is."""
    shown = alpha > 0
    flat = colours.min() == colours.max()
    if not flat:
        opaque = colours[shown]
        # Without transparency the colours would say the same, or black is drawn as well.
        plain = not colours[~shown].any() or not np.count_nonzero(opaque == 0)
        if not plain:
            raise EdgeError(
                f"{path}: its alpha channel and its colours are different masks; save it without "
                f"transparency (in GIMP: Layer > Transparency > Remove Alpha Channel)"
            )
    if len(np.unique(alpha)) > 2:
        raise SoftMaskError(f"{path}: the edges of its alpha channel are soft; {_HARD}")
    one_colour = flat or opaque.min() == opaque.max()
    note = "the alpha channel of the mask was read: what is opaque is particle"
    return (shown.astype(np.uint8) if one_colour else np.where(shown, colours, 0)), (note,)


_HARD = "save it without anti-aliasing, smoothing and interpolation, as PNG or TIFF"


def _separated(numbers: NDArray[Any], path: Path) -> Mask:
    """The mask of whole numbers, with its objects where there are several."""
    there = numbers != 0
    values = np.unique(numbers[there])
    if len(values) == 0 or (len(values) == 1 and (values[0] in WHITES or not there.all())):
        return Mask(there.astype(np.uint8))
    first = f"grey value {values[0]}" if values[0] < 1 << 16 else f"colour #{values[0]:06x}"
    rule = "a mask is 0 for background and 255 for particle"
    if there.all():
        raise EdgeError(f"{path}: holds {first} and nowhere 0; {rule}")
    if path.suffix.lower() in {".jpg", ".jpeg"}:
        raise SoftMaskError(
            f"{path}: holds {first}; {rule}, which JPEG blurs: save masks as PNG or TIFF"
        )
    # Of 8-bit numbers of classes, and of VOC's colours.
    void = 255 if values[-1] == 255 and values[-2] <= VOID_ABOVE else VOID
    kept = values[values != void]
    regions = _Regions(
        np.where(numbers == void, 0, numbers) if len(kept) < len(values) else numbers
    )
    if not regions.are_labels(len(kept)):
        raise SoftMaskError(
            f"{path}: holds {first} and {len(values) - 1} others on soft edges; {rule}: {_HARD}"
        )
    pixels = there.astype(np.uint8)
    notes: tuple[str, ...] = ()
    if len(kept) < len(values):
        pixels[numbers == void] = IGNORED
        notes = ("the value for void in the mask counts neither way",)
    if regions.are_classes(len(kept)):
        notes += (f"{len(kept)} values or colours in the mask, all of which count as particle",)
    return Mask(pixels, regions.objects, notes)


class _Regions:
    """What is connected and of one number: by object, or by class."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        rows, columns = np.nonzero(numbers)
        _, inverse, sizes = np.unique(
            numbers[rows, columns], return_inverse=True, return_counts=True
        )
        order = np.argsort(inverse.ravel(), kind="stable")
        rows, columns = rows[order].astype(np.int32), columns[order].astype(np.int32)
        ends = np.cumsum(sizes)
        self.objects: Objects = np.zeros(numbers.shape, np.int32)
        self._count, small, work = 0, 0, 0
        touching = _touching(numbers)
        self.graded = False
        by_value = []
        for start, end in zip(ends - sizes, ends, strict=True):
            r, c = rows[start:end], columns[start:end]
            top, left = r.min(), c.min()
            box = np.zeros((r.max() - top + 1, c.max() - left + 1), np.uint8)
            work += box.size
            if len(sizes) > CLASSES and work > 20 * numbers.size:
                self.graded = True  # values that recur all over the photo
                return
            box[r - top, c - left] = 1
            count, regions = cv2.connectedComponents(box)
            found = np.asarray(regions)[r - top, c - left]
            areas = np.bincount(found, minlength=count)[1:]
            beside = np.bincount(found, weights=touching[r, c], minlength=count)[1:] > 0
            small += int(np.count_nonzero((areas <= 2) & beside))
            self._count += count - 1
            by_value.append((r, c, found, count - 1))
        self.graded = small * 2 > self._count
        # An object of several parts keeps its one number; a class has many.
        one_each = self._count <= 1.2 * len(sizes)
        first = 1
        for r, c, found, count in by_value:
            self.objects[r, c] = first if one_each else found - 1 + first
            first += 1 if one_each else count
        self._one_each = one_each

    def are_classes(self, values: int) -> bool:
        """Whether numbers recur on separate objects."""
        return not self._one_each and values > 1

    def are_labels(self, values: int) -> bool:
        """Whether the numbers are of objects or classes, and not the greys of soft edges."""
        return not self.graded and (self._count <= 1.5 * values or values <= CLASSES)


def _touching(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels with a neighbour of another number that is not 0."""
    found = np.zeros(numbers.shape, np.bool_)
    for a, b in (
        (np.s_[1:, :], np.s_[:-1, :]),
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[1:, 1:], np.s_[:-1, :-1]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):
        edge = (numbers[a] != numbers[b]) & (numbers[a] != 0) & (numbers[b] != 0)
        found[a] |= edge
        found[b] |= edge
    return found
