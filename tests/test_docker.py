"""The docker files agree with each other, with pyproject.toml and with the commands of the docs."""

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from edge.cli import edge_run
from export.cli import export_trt

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parent.parent
NAMES = ("Dockerfile.gpu", "Dockerfile.jetson")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Python of the Ubuntu that an image is made of.
PYTHON = {"nvidia/cuda:13.0.1-cudnn-runtime-ubuntu24.04": "3.12",
          "nvcr.io/nvidia/l4t-jetpack:r36.4.0": "3.10"}  # fmt: skip
INSTALL = re.compile(r"pip install --no-cache-dir '/src\[([a-z,]+)\]'")

Instruction = tuple[str, str]


def instructions(name: str) -> list[Instruction]:
    """(name, arguments) of each, continued lines joined and comments left out."""
    lines = (ROOT / "deploy" / name).read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined) if word]


def of(kind: str, name: str) -> list[str]:
    return [arguments for word, arguments in instructions(name) if word == kind]


def test_both_do_the_same_in_the_same_order() -> None:
    gpu, jetson = map(instructions, NAMES)
    assert [word for word, _ in gpu] == [word for word, _ in jetson]
    for (word, ours), (_, theirs) in zip(gpu, jetson, strict=True):
        if word == "FROM":
            assert ours.split()[1:] == theirs.split()[1:]  # the stage's name
        elif word != "RUN":
            assert ours == theirs
    users = [re.findall(r"useradd .*?\bedge\b", " ".join(of("RUN", name))) for name in NAMES]
    assert users[0] == users[1]


@pytest.mark.parametrize("name", NAMES)
def test_images_are_pinned_and_their_python_is_supported(name: str) -> None:
    images = {arguments.split()[0] for arguments in of("FROM", name)}
    assert len(images) == 1, "the environment of one stage runs in the other"
    version = tuple(map(int, PYTHON[images.pop()].split(".")))
    low, high = re.findall(r"(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert tuple(map(int, low)) <= version < tuple(map(int, high))


@pytest.mark.parametrize(("name", "engine"), [(NAMES[0], "gpu"), (NAMES[1], "jetson")])
def test_the_extras_exist(name: str, engine: str) -> None:
    (found,) = INSTALL.findall(" ".join(of("RUN", name)))
    assert found.split(",") == [engine, "live"]
    assert set(found.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_built_from_is_copied(name: str) -> None:
    copied = set()
    for arguments in of("COPY", name):
        if not arguments.startswith("--from=build "):
            *sources, target = arguments.split()
            copied |= set(sources)
            assert target in ("/src/", f"/src/{sources[0]}")
    assert all((ROOT / path).exists() for path in copied)
    project = PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *project["license-files"]}
    assert copied == needed | set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


@pytest.mark.parametrize("name", NAMES)
def test_the_run_is_no_root_and_a_command_of_the_project(name: str) -> None:
    words = [word for word, _ in instructions(name)]
    assert of("USER", name) == ["edge"]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert of("ENTRYPOINT", name) == ['["edge-run"]']
    assert "edge-run" in PROJECT["project"]["scripts"]
    assert "PATH=/opt/edge-run/bin:$PATH" in of("ENV", name)[0]


@pytest.mark.parametrize("name", NAMES)
def test_lists_of_packages_are_not_kept(name: str) -> None:
    for run in of("RUN", name):
        if "apt-get" in run:
            assert "--no-install-recommends" in run
            assert "rm -rf /var/lib/apt/lists/*" in run


def documented(command: str) -> list[list[str]]:
    lines = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8").splitlines()
    found = [shlex.split(line) for line in lines if line.startswith(f"    {command} ")]
    assert found
    return found


def test_the_documented_commands_fit_the_files() -> None:
    built = {}
    for words in documented("docker build"):
        assert words[-1] == "."
        built[words[words.index("--tag") + 1]] = words[words.index("--file") + 1]
    assert sorted(built.values()) == [f"deploy/{name}" for name in NAMES]
    for words in documented("docker run"):
        at = next(i for i, word in enumerate(words) if word in built)
        before, after = words[:at], words[at + 1 :]
        gpu = ["--gpus", "all"] if built[words[at]].endswith("gpu") else ["--runtime", "nvidia"]
        assert before[3:5] == gpu
        assert "$PWD:/data" in before, "the working directory of the image"
        command: click.Group = export_trt if "export-trt" in before else edge_run
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in after if word.startswith("--")} <= known
