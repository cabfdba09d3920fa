"""The Python in docs/extending.md and README.md runs as it stands."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.engines import BACKENDS
from edge.sinks import SINKS
from edge.sources import SOURCES
from train.models.registry import MODELS

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(document: Path) -> int:
    """Run all Python blocks of a page in one namespace; how many there were."""
    text = document.read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": document.stem}
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        # Blank lines before it, so that an error names the line of the page.
        code = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        exec(compile(code, str(document), "exec"), names)
    return len(blocks)


@pytest.fixture(autouse=True)
def registries() -> Iterator[None]:
    """As they were, after the test."""
    earlier = [(registry, dict(registry)) for registry in (BACKENDS, MODELS, SINKS, SOURCES)]
    yield
    for registry, entries in earlier:
        registry.clear()
        registry.update(entries)


def test_the_worked_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_blocks(ROOT / "docs" / "extending.md") == 14
    assert "quarter_mrunet_lite" in MODELS


def test_the_readme_runs(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photo.parent)
    (photo.parent / "photos").mkdir()
    (photo.parent / "photos" / "sand.png").write_bytes(photo.read_bytes())
    assert run_blocks(ROOT / "README.md") == 1
