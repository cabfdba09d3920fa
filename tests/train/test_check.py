import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from train.cli import train
from train.data.check import check
from train.data.samples import scan


def write_pair(folder: Path, name: str, mask: NDArray[np.uint8]) -> None:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(exist_ok=True)
    grey = np.random.default_rng(2).integers(0, 256, mask.shape, np.uint8)
    cv2.imwrite(str(folder / f"images/{name}.png"), grey)
    cv2.imwrite(str(folder / f"masks/{name}.png"), mask)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Photos of 40x30 px, one of them clean, and one of 20x10 px; 6+2+1 particle pixels in all."""
    mask = np.zeros((30, 40), np.uint8)
    write_pair(tmp_path, "clean", mask)
    mask[10:12, 20:23] = 255
    mask[[20, 21], [5, 6]] = 255  # touch by a corner: one object
    write_pair(tmp_path, "two", mask)
    small = np.zeros((10, 20), np.uint8)
    small[9, 19] = 255
    write_pair(tmp_path, "small", small)
    return tmp_path


def test_the_report_counts_what_is_there(data: Path) -> None:
    report = check(*scan(data))
    assert report.sizes == {(40, 30): 2, (20, 10): 1}
    assert report.clean == 1
    assert report.foreground == pytest.approx(9 / (2 * 1200 + 200))
    diameters = [2 * math.sqrt(area / math.pi) for area in (1, 2, 6)]
    assert sorted(report.diameters_px) == pytest.approx(diameters)
    assert sorted(report.lengths_px) == [1, 2, 3]
    assert report.broken == []


def test_the_command_shows_it(data: Path) -> None:
    result = CliRunner().invoke(train, ["check", str(data)])
    assert result.exit_code == 0
    rows = [line.split() for line in result.output.splitlines()]
    assert ["photos", "3,", "1", "of", "them", "without", "a", "particle"] in rows
    assert ["photo", "sizes,", "px", "40x30", "(2),", "20x10", "(1)"] in rows
    assert ["particle", "pixels", "0.3462%"] in rows
    assert ["objects", "3"] in rows
    assert ["diameter", "1.1", "1.2", "1.6", "2.6", "2.8"] in rows
    assert ["longer", "side", "1.0", "1.1", "2.0", "2.9", "3.0"] in rows


def test_every_broken_pair_is_named_and_the_rest_counted(data: Path) -> None:
    mask = np.zeros((30, 40), np.uint8)
    for name in ("cut", "grey", "turned", "alone"):
        write_pair(data, name, mask)
    cut = data / "images/cut.png"
    cut.write_bytes(cut.read_bytes()[:300])
    cv2.imwrite(str(data / "masks/grey.png"), mask + 7)
    cv2.imwrite(str(data / "masks/turned.png"), mask.T)
    (data / "masks/alone.png").unlink()
    result = CliRunner().invoke(train, ["check", str(data)])
    assert result.exit_code == 1
    broken = [line for line in result.output.splitlines() if line.startswith("broken: ")]
    assert broken == [
        f"broken: {data / 'images/alone.png'}: has no mask of the same name",
        f"broken: {cut}: not a readable image (damaged, or no image at all)",
        f"broken: {data / 'masks/grey.png'}: holds grey value 7 and nowhere 0; "
        "a mask is 0 for background and 255 for particle",
        f"broken: {data / 'masks/turned.png'}: is 30x40 px, its photo 40x30",
    ]
    assert result.output.splitlines()[-1].startswith(f"Error: {data}: 4 broken")
    assert "3, 1 of them without a particle" in result.output


def test_a_folder_without_one_whole_pair_has_a_report_too(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", np.full((30, 40), 7, np.uint8))
    report = check(*scan(tmp_path))
    assert "objects             0" in report.describe()
    assert len(report.broken) == 1


def test_a_file_name_cannot_control_the_terminal(data: Path) -> None:
    (data / "images/small.png").rename(data / "images/\x1b[31mred\nline.png")
    result = CliRunner().invoke(train, ["check", str(data)])
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "\\x1b[31mred\\nline.png: has no mask of the same name" in result.output
