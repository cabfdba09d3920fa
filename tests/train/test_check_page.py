"""train check: what it finds doubtful, and its page."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from train.check_page import ADVICE, PER_KIND, PHOTOS
from train.cli import train
from train.data.check import BROKEN, DOUBTFUL, check
from train.data.duplicates import near_duplicates, perceptual_hash
from train.data.samples import scan

Image = NDArray[np.uint8]


def photo(seed: int, particles: int = 20, side: int = 128) -> tuple[Image, Image]:
    """Noise with bright discs of 4 to 7 px, and their mask."""
    rng = np.random.default_rng(seed)
    image, mask = rng.normal(120, 15, (side, side, 3)), np.zeros((side, side), np.uint8)
    for x, y in rng.integers(10, side - 10, (particles, 2)).tolist():
        cv2.circle(mask, (x, y), int(rng.integers(2, 4)), 255, -1)
    image[mask > 0] += 70
    return np.clip(image, 0, 255).astype(np.uint8), mask


def write(folder: Path, name: str, image: Image, mask: Image) -> None:
    for kind, content in (("images", image), ("masks", mask)):
        (folder / kind).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / kind / f"{name}.png"), content)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five photos of which all is well."""
    for seed in range(5):
        write(tmp_path, f"good{seed}", *photo(seed))
    return tmp_path


def run(data: Path, *options: object) -> tuple[Result, str]:
    """What the command says, and its page."""
    page = data / "page.html"
    words = ["check", str(data), "--page", str(page), *map(str, options)]
    return CliRunner().invoke(train, words), page.read_text("utf-8")


def shown(page: str) -> list[str]:
    """Kinds of findings with a section of their own."""
    return [kind for kind, (title, _) in ADVICE.items() if f"<h2>{title}: " in page]


def test_good_data_has_no_finding(data: Path) -> None:
    result, page = run(data)
    assert result.exit_code == 0, result.output
    assert [line.split(":")[0] for line in result.output.splitlines() if ":" in line] == ["page"]
    assert shown(page) == []
    assert page.count("<figure>") == 5
    assert not re.search(r"""(src|href)=(?!"data:)|url\(|@import|<script""", page)


def jpeg(image: Image) -> Image:
    encoded = cv2.imencode(".jpg", image)[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED), np.uint8)


DEFECTS: dict[str, Callable[[Image], Image]] = {
    "inverted": lambda mask: 255 - mask,
    "displaced": lambda mask: np.roll(mask, (-3, 5), axis=(0, 1)),
    "no particle": lambda mask: mask * 0,
    "soft mask": jpeg,
    "mask size": lambda mask: mask[::2, ::2],
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_doubtful_mask_is_found_and_shown(data: Path, kind: str) -> None:
    image, mask = photo(9)
    write(data, "bad", image, DEFECTS[kind](mask))
    result, page = run(data)
    report = check(*scan(data))
    (finding,) = [*report.broken, *report.doubtful]
    assert (finding.kind, finding.photos) == (kind, ("bad",))
    label = "broken" if kind in BROKEN else kind
    assert f"\n{label}: {finding.text}\n" in result.output
    assert shown(page) == [kind]
    if kind == "displaced":
        assert finding.text == "bad: its mask would lie better 5 px to the left and 3 px down"


def test_every_kind_has_advice() -> None:
    assert tuple(ADVICE) == (*BROKEN, *DOUBTFUL)


def test_copies_are_found_and_those_apart_in_a_fold(data: Path) -> None:
    image, mask = photo(2)
    image = np.asarray(cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA), np.uint8)
    mask = np.asarray(cv2.resize(mask, (96, 96), interpolation=cv2.INTER_NEAREST), np.uint8)
    write(data, "copy", jpeg(image[:, ::-1] // 2 + 60), mask[:, ::-1])
    assert "\nduplicate: copy and good2 show the same\n" in run(data)[0].output

    together = {"training": ["good0", "good1"], "validation": ["good3"], "test": ["copy", "good2"]}
    apart = {**together, "training": ["copy", "good0"], "test": ["good2"]}
    split = data / "split.txt"
    split.write_text(
        json.dumps({"by": "photo", "seed": 0, "folds": [together, apart] * 2 + [apart]})
    )
    result, page = run(data, "--split", split)
    assert "leak: copy and good2 show the same and are in different parts of folds 2, 4, 5" in (
        result.output
    )
    assert shown(page) == ["leak"]

    split.write_text(split.read_text().replace("good", "other").replace("copy", "another"))
    result, _ = run(data, "--split", split)
    assert result.exit_code == 1
    assert "names no photo of this data" in result.output


def test_light_alone_makes_no_copy() -> None:
    y, x = np.mgrid[-1:1:200j, -1:1:300j]
    light = 190 - 60 * (x**2 + y**2)[..., None]
    photos = [
        np.clip(light + np.random.default_rng(seed).normal(0, 3, (200, 300, 3)), 0, 255)
        for seed in range(6)
    ]
    hashes = [perceptual_hash(one.astype(np.uint8)) for one in photos]
    assert near_duplicates(hashes) == []
    assert near_duplicates([*hashes, hashes[4]]) == [[4, 6]]


def test_the_page_of_many_photos_shows_some_of_them(tmp_path: Path) -> None:
    count = PHOTOS + 15
    for seed in range(count):
        write(tmp_path, f"p{seed:03d}", *photo(seed, particles=0, side=48))
    result, page = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert page.count("<figure>") == PHOTOS + PER_KIND
    assert f"Photos: {count}, of which {PHOTOS} are shown" in page
    assert len(page) < 25_000 * (PHOTOS + PER_KIND)
    assert all(f"p{seed:03d}" in page for seed in range(count))


def test_even_a_particle_of_one_pixel_is_outlined(tmp_path: Path) -> None:
    grey, mask = np.full((1200, 1600, 3), 128, np.uint8), np.zeros((1200, 1600), np.uint8)
    write(tmp_path, "nothing", grey, mask)
    mask[300, 800] = 255
    write(tmp_path, "one", grey, mask)
    _, page = run(tmp_path)
    pictures = page.partition("<h2>Photos: 2")[2]
    outlined = {}
    for uri, name in re.findall(r'base64,([^"]*)" alt="([^"]*)"', pictures):
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(uri), np.uint8), cv2.IMREAD_COLOR)
        blue, green, red = np.moveaxis(np.asarray(picture, int), 2, 0)
        outlined[name] = np.argwhere(np.minimum(blue, red) - green > 40)
    assert not len(outlined["nothing"])
    assert np.abs(outlined["one"].mean(axis=0) - (45, 120)).max() < 1.5
