"""Files as other tools write them: refused by name, and nothing in them is run."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edge.errors import EdgeError
from train.checkpoint import load

PARTS = ("encoder", "decoder", "segmentation_head")


def network_of(module: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network whose class lies in `module`, as a pickle names it."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    kind = type("Network", (nn.Module,), {"__module__": module})
    monkeypatch.setattr(sys.modules[module], "Network", kind, raising=False)
    network: nn.Module = kind()
    for part in PARTS:
        network.add_module(part, nn.Conv2d(3, 3, 3))
    return network


def yolo(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of("ultralytics.nn.tasks", monkeypatch)
    content = {"epoch": -1, "best_fitness": None, "model": network, "ema": None, "train_args": {}}
    torch.save(content, path)


def smp_module(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(network_of("segmentation_models_pytorch.decoders.unet.model", monkeypatch), path)


def smp_weights(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(network_of("somewhere", monkeypatch).state_dict(), path)


def smp_in_training(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"epoch": 3, "state_dict": network_of("x", monkeypatch).state_dict()}, path)


def lightning(path: Path, _: pytest.MonkeyPatch) -> None:
    content = {"pytorch-lightning_version": "2.6", "state_dict": nn.Conv2d(3, 4, 3).state_dict()}
    torch.save(content, path)


def script(path: Path, _: pytest.MonkeyPatch) -> None:
    torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)).save(str(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("write", "words"),
    [
        (yolo, "is a YOLO checkpoint of ultralytics"),
        (smp_module, "is a network of segmentation_models_pytorch"),
        (smp_weights, "is a network of segmentation_models_pytorch"),
        (smp_in_training, "is a network of segmentation_models_pytorch"),
        (lightning, "is a checkpoint of Lightning"),
        (script, "is a TorchScript file"),
        (lambda path, _: torch.save(nn.Conv2d(3, 4, 3), path), "is a whole PyTorch module"),
        (lambda path, _: torch.save(nn.Conv2d(3, 4, 3).state_dict(), path), "is a bare state_dict"),
        (lambda path, _: torch.save([1, 2], path), "not one of our checkpoints"),
    ],
)
def test_a_file_of_another_tool_is_named(
    write: Callable[[Path, pytest.MonkeyPatch], Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "best.pt"
    write(path, monkeypatch)
    with pytest.raises(EdgeError, match=f"best.pt: {words}.*'train fit") as raised:
        load(path)
    assert "\n" not in str(raised.value)
