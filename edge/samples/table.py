"""The user's table: which photo belongs to which sample, and what that is a sample of."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import BadArgumentError
from edge.samples.results import Photo

AMOUNTS = ("mass_g", "volume_l", "area_cm2")
BLANKS = ("procedural", "matrix")
COLUMNS = ("file", "sample", "repeat", *AMOUNTS, "blank")


@dataclass(frozen=True)
class Entry:
    """What is known of a photo.

    Attributes:
        sample: its name.
        repeat: name of the repeat; photos of the same one show different parts of it.
        mass_g, volume_l, area_cm2: of the repeat; None where not known.
        blank: one of `BLANKS`, or empty for a sample.
    """

    sample: str
    repeat: str
    mass_g: float | None = None
    volume_l: float | None = None
    area_cm2: float | None = None
    blank: str = ""


def read_table(path: Path, photos: Sequence[Photo]) -> dict[Photo, Entry]:
    """The entries of the photos that a table names; those it does not name are left out.

    Args:
        path: CSV with commas, semicolons (decimal commas are read then) or tabs; `COLUMNS`, of
            which `file` and `sample` are needed. `file` is a photo's name or path as in frames.csv,
            FOLDER/NAME where several results have that name, or the name of a folder of results.

    Raises:
        BadArgumentError: it is no CSV; a line names no photo, or several, or holds what is no
            number.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadArgumentError(f"{path}: is not UTF-8; save it as CSV in UTF-8") from None
    try:
        return _entries(text, path, photos)
    except csv.Error as error:
        raise BadArgumentError(f"{path}: is no table ({error}); save it as CSV in UTF-8") from None


def _entries(text: str, path: Path, photos: Sequence[Photo]) -> dict[Photo, Entry]:
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    columns = [column.strip() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    for column in ("file", "sample"):
        if column not in columns:
            raise BadArgumentError(f"{path}: has no column {column}; its first line names them")
    unknown = [column for column in columns if column and column not in COLUMNS]
    if unknown:
        known = ", ".join(COLUMNS)
        raise BadArgumentError(f"{path}: {unknown[0]!r} is no column; there are {known}")
    entries: dict[Photo, Entry] = {}
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        values = {key: (value or "").strip() for key, value in row.items() if key}
        if not any(values.values()):
            continue
        if not values["sample"]:
            raise BadArgumentError(f"{where}: names no sample")
        amounts = {
            key: _amount(values.get(key, ""), f"{where}: {key}", delimiter) for key in AMOUNTS
        }
        blank = values.get("blank", "")
        if blank and blank not in BLANKS:
            raise BadArgumentError(
                f"{where}: blank is {blank!r}; write procedural (a clean dish or filter), matrix "
                f"(clean sand or water), or nothing for a sample"
            )
        named = _named(values["file"], photos, where)
        for number, photo in enumerate(named):
            if photo in entries:
                raise BadArgumentError(f"{where}: {values['file']} was named before")
            repeat = values.get("repeat") or _own_repeat(photo, number)
            entries[photo] = Entry(values["sample"], repeat, **amounts, blank=blank)
    if not entries:
        raise BadArgumentError(f"{path}: names no photo")
    return entries


def _named(file: str, photos: Sequence[Photo], where: str) -> list[Photo]:
    """The photo of that name, or all of a folder of results."""
    tests = (
        lambda photo: photo.file == file,
        lambda photo: f"{photo.folder}/{Path(photo.file).name}" == file,
        lambda photo: Path(photo.file).name == file,
    )
    for test in tests:
        found = [photo for photo in photos if test(photo)]
        if len({photo.folder for photo in found}) > 1:
            raise BadArgumentError(
                f"{where}: {file} is in several results; write {found[0].folder}/{file}"
            )
        if found:
            return found
    found = [photo for photo in photos if photo.folder == file]
    if not found:
        raise BadArgumentError(
            f"{where}: no photo and no folder of the results has the name {file!r}; correct it, or "
            f"leave the line out"
        )
    return found


def _own_repeat(photo: Photo, number: int) -> str:
    return f"{photo.folder}/{Path(photo.file).name}" + (f" {number}" if number else "")


def _amount(text: str, where: str, delimiter: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text.replace(",", ".") if delimiter != "," else text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise BadArgumentError(f"{where} is {text!r}; write a number above 0, or nothing")
    return value
