import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.engines import open_engine
from edge.engines.profile import Profile
from edge.engines.sidecar import Sidecar, read_sidecar, sha256, sidecar_path
from edge.errors import EdgeError


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "half.trt"
    path.write_bytes(b"a plan")
    sidecar = Sidecar(
        info=open_engine("quarter_mrunet").info,
        precision="fp16",
        engine_sha256=sha256(path),
        onnx_sha256="0" * 64,
        checkpoint_sha256=None,
        profile=Profile((512, 480), (1, 4, 9)),
        variant="rtx",
        version="1.7.1",
        device="CPU",
        compute_capabilities=("8.6", "8.9"),
        verification={"comparisons": []},
    )
    sidecar.write(sidecar_path(path))
    assert read_sidecar(path) == sidecar
    return path


def test_it_lies_beside_its_engine(engine: Path) -> None:
    assert sidecar_path(engine).name == "half.trt.json"


def test_another_engine_is_noticed(engine: Path) -> None:
    engine.write_bytes(b"another plan")
    with pytest.raises(EdgeError, match="is not the file that half"):
        read_sidecar(engine)


def test_engines_from_before_there_was_a_smallest_diameter_have_none(engine: Path) -> None:
    path = sidecar_path(engine)
    content = json.loads(path.read_text("utf-8"))
    del content["info"]["min_diameter_px"]
    path.write_text(json.dumps(content), "utf-8")
    sidecar = read_sidecar(engine)
    assert sidecar
    assert sidecar.info.min_diameter_px == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(schema=1), "schema 2"),
        (lambda c: c.pop("schema"), "schema 2"),
        (lambda c: c.pop("profile"), "lacks an entry"),
        (lambda c: c["profile"].update(batch=[4, 2, 1]), "lacks an entry"),
        (lambda c: c["profile"].update(tile_hw=[512]), "lacks an entry"),
        (lambda c: c.update(version=7), "of the wrong kind"),
        (lambda c: c.update(compute_capabilities=[8.6]), "of the wrong kind"),
        (lambda c: c.update(verification=[]), "of the wrong kind"),
        (lambda c: c["info"].pop("halo"), "'halo'"),
        (lambda c: c["info"].update(halo=-1), "'halo'"),
        (lambda c: c["info"].update(threshold="high"), "'threshold'"),
        (lambda c: c["info"].update(mean=[1, 2]), "'mean'"),
        (lambda c: c["info"].update(min_diameter_px=-1), "'min_diameter_px'"),
    ],
)
def test_an_edited_sidecar_is_refused(
    change: Callable[[dict[str, Any]], None], words: str, engine: Path
) -> None:
    path = sidecar_path(engine)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EdgeError, match=words):
        read_sidecar(engine)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "missing"), ("{", "not JSON"), ("[" * 100_000, "nested too deeply"), ("7", "schema")],
)
def test_a_missing_or_damaged_one(content: str | None, words: str, engine: Path) -> None:
    path = sidecar_path(engine)
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(EdgeError, match=words):
        read_sidecar(engine)
