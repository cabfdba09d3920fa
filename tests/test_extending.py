"""The Python in docs/extending.md and README.md runs, and the commands on every page exist."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bench.cli import bench
from edge.cli import edge_run
from edge.engines import BACKENDS
from edge.sinks import SINKS
from edge.sources import SOURCES
from export.cli import export_trt
from train.cli import train
from train.models.registry import MODELS

ROOT = Path(__file__).parent.parent
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])
COMMANDS = {"bench": bench, "edge-run": edge_run, "export-trt": export_trt, "train": train}
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


def options(command: click.Command) -> set[str]:
    return {name for param in command.params for name in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_command_exists(page: Path) -> None:
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        program = line[4:].partition(" ")[0]
        if not line.startswith("    ") or program not in COMMANDS:
            continue
        words = shlex.split(line, comments=True)
        command, known = COMMANDS[program], options(COMMANDS[program])
        if isinstance(command, click.Group) and not words[1].startswith("--"):
            # `export-trt X` is short for `export-trt build X`.
            short = program == "export-trt" and words[1] not in command.commands
            command = command.commands["build" if short else words[1]]
            known |= options(command)
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_options_of_a_run_are_those_described() -> None:
    running = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(--[a-z-]+)", running))
    assert named - {"--help"} == options(edge_run) - {"--version"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / page.parent / target).exists(), target
