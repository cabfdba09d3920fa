from collections.abc import Callable
from pathlib import Path

import pytest

from edge.calibration.calibration import Calibration
from edge.errors import EdgeError
from edge.files import read_json, write_json
from train.crossval import FoldResult
from train.data.coco import read_coco
from train.data.folds import Split
from train.data.points import read_points
from train.models.registry import open_model

BROKEN = [
    (b"[" * 100_000, "nested too deeply"),
    (b'{"a":' * 100_000, "nested too deeply"),
    (b"{", "not JSON: Expecting property name"),
    (b"", "not JSON: Expecting value"),
    (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
    (b"9" * 5000, "not JSON: Exceeds the limit"),
]


def test_a_file_that_cannot_be_written_is_named_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "absent/x.json"
    with pytest.raises(FileNotFoundError) as caught:
        write_json(path, {})
    assert caught.value.filename == str(path)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('\ufeff{"a": [1]}', encoding="utf-8")
    assert read_json(path) == {"a": [1]}


@pytest.mark.parametrize(
    "read",
    [
        read_json,
        Calibration.read,
        read_coco,
        read_points,
        Split.read,
        FoldResult.read,
        lambda path: open_model(str(path)),
    ],
    ids=["json", "calibration", "coco", "points", "split", "result", "model"],
)
@pytest.mark.parametrize(("content", "words"), BROKEN, ids=lambda value: str(value)[:20])
def test_a_broken_file_is_one_sentence(
    read: Callable[[Path], object], content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(EdgeError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "content", ["{}", "[]", "7", '{"training_result": {}}', '{"training_result": 3}']
)
def test_a_file_that_is_no_result_says_so(content: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(EdgeError, match="not a result of 'train crossval'"):
        FoldResult.read(path)
