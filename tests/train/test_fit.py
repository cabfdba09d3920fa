import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train.module
from edge.errors import BadArgumentError, EdgeError
from tests.conftest import write_rgb
from train.checkpoint import load
from train.cli import train as cli
from train.data.augment import normalisation_of
from train.data.samples import IGNORED, Sample
from train.fit import BEST, LAST, RESUME, Settings, TrainingResult, fit
from train.models.registry import MODELS, build
from train.recipe import RECIPES

SPEC = MODELS["quarter_mrunet"]
# Of photos and crops, px: large enough to learn from, and four times as fast as 64.
SIDE = 32
SETTINGS = Settings("bright squares", epochs=2, batch=4, crop=SIDE, devices=1)


def photos(count: int) -> list[Sample]:
    """Sand-like noise with a bright square for a particle."""
    rng = np.random.default_rng(5)
    found = []
    for number in range(count):
        image = rng.integers(90, 140, (SIDE, SIDE, 3), np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        top, left = rng.integers(4, SIDE - 10, 2)
        mask[top : top + 6, left : left + 6] = 1
        image[mask > 0] = 250
        found.append(Sample(f"p{number}", image, mask))
    return found


def run(out: Path, settings: Settings = SETTINGS, recipe: str = "paper") -> TrainingResult:
    found = photos(18)
    return fit(SPEC, RECIPES[recipe], found[:16], found[16:], out, settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """A finished run of two epochs, and how it ended."""
    out = tmp_path_factory.mktemp("fit") / "run"
    return out, run(out)


@pytest.fixture
def finished(trained: tuple[Path, TrainingResult], tmp_path: Path) -> Path:
    """A copy of its folder."""
    shutil.copytree(trained[0], tmp_path / "run")
    return tmp_path / "run"


def losses(out: Path) -> list[tuple[int, float]]:
    """(step, loss) of every tenth step, from TensorBoard."""
    events = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_network_learns_and_its_best_epoch_stands(recipe: str, tmp_path: Path) -> None:
    result = run(tmp_path / "run", replace(SETTINGS, epochs=8), recipe)
    assert result.at_threshold["rw_f1"] > 0.5
    assert not result.collapsed
    kept = load(tmp_path / "run" / BEST)
    assert kept.training["validation_at_threshold"] == result.at_threshold
    assert kept.training["epochs"] == result.best_epoch
    assert load(tmp_path / "run" / LAST).training["epochs"] == 8
    assert kept.threshold == result.threshold
    # Plain weights, whatever the recipe trained.
    assert set(kept.weights) == set(kept.module().state_dict())
    assert kept.prior == (pytest.approx(36 / SIDE**2) if recipe == "paper" else 0.5)


@pytest.mark.parametrize("recipe", RECIPES)
def test_ignored_pixels_weigh_nothing(recipe: str) -> None:
    photo = photos(1)[0]
    image = torch.from_numpy(photo.image).permute(2, 0, 1)[None]
    mask = torch.from_numpy(photo.mask)[None, None].clone()
    mask[..., :12, :12] = IGNORED
    plain = replace(RECIPES[recipe], augment=False)
    module = train.module.SegmentationModule(
        SPEC, plain, normalisation_of([photo]), 0.5, seed=0, steps=1
    )
    seen: list[torch.Tensor] = []

    def watch(_: object, __: object, logits: torch.Tensor) -> None:
        logits.retain_grad()
        seen.append(logits)

    handle = module.network.register_forward_hook(watch)
    torch.autograd.backward(module.loss(image, mask))
    handle.remove()
    gradient = seen[0].grad
    assert gradient is not None
    assert not gradient[..., :12, :12].any()
    assert gradient[..., 12:, 12:].all()

    module.on_validation_epoch_start()
    module.validation_step((image, mask), 0)
    assert module._histogram.at(0).tp == (mask == 1).sum()
    assert module._histogram.at(0).fp == (mask == 0).sum()


def test_a_network_learns_from_points(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = ["file,x,y,ignore"]
    for photo in photos(18):
        write_rgb(tmp_path / f"data/{photo.name}.png", photo.image)
        y, x = np.argwhere(photo.mask).mean(axis=0) + 1
        lines += [f"{photo.name}.png,{x},{y},0", f"{photo.name}.png,3,{SIDE - 4},1"]
    points = tmp_path / "points.csv"
    points.write_text("\n".join(lines))
    command = ["fit", "--model", "quarter_mrunet", "--data", str(tmp_path / "data"), "--points",
               str(points), "--crop", str(SIDE), "--recipe", "strong", "--epochs", "12", "--out",
               str(tmp_path / "run")]  # fmt: skip
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    kept = load(tmp_path / "run" / BEST)
    assert kept.training["validation_at_threshold"]["rw_f1"] > 0.5
    assert CliRunner().invoke(cli, command).exit_code == 0  # the same run
    done = CliRunner().invoke(cli, [*command, "--point-diameter", "5"])
    assert done.exit_code == 2
    assert "another point_diameter" in done.output
    points.write_text("\n".join(lines[:-1]))
    done = CliRunner().invoke(cli, command)
    assert "another points" in done.output


KILLED = """
import sys
sys.path[:0] = {path!r}
from tests.train.test_fit import *
run(Path({out!r}), {settings!r}, {recipe!r})
"""


@pytest.mark.parametrize(
    # The other keeps the state of batch normalisation, too.
    "recipe",
    [pytest.param("paper", marks=pytest.mark.slow), "strong"],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(recipe: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=5)
    whole = run(tmp_path / "whole", settings, recipe)
    code = KILLED.format(
        path=[str(Path(__file__).parents[2])],
        out=str(tmp_path / "killed"),
        settings=settings,
        recipe=recipe,
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    while not (tmp_path / "killed" / RESUME).is_file():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load(tmp_path / "killed" / LAST).training["epochs"] < 5

    assert run(tmp_path / "killed", settings, recipe) == whole
    # The same losses (those between the last whole epoch and the kill came twice) and weights.
    assert dict(losses(tmp_path / "killed")) == dict(losses(tmp_path / "whole"))
    weights = [load(tmp_path / name / LAST).weights for name in ("whole", "killed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_finished_run_is_not_trained_again(
    trained: tuple[Path, TrainingResult], finished: Path
) -> None:
    before = (finished / BEST).stat().st_mtime_ns
    assert run(finished) == trained[1]
    assert (finished / BEST).stat().st_mtime_ns == before


def test_a_folder_with_another_run_is_left_alone(finished: Path, tmp_path: Path) -> None:
    for other, words in (
        (replace(SETTINGS, epochs=3), "another epochs"),
        (replace(SETTINGS, seed=1), "another seed"),
    ):
        with pytest.raises(BadArgumentError, match=words):
            run(finished, other)
    (tmp_path / "damaged").mkdir()
    for content, words in (("[]", "not the settings of a run"), ("{", "not JSON")):
        (tmp_path / "damaged/settings.json").write_text(content)
        with pytest.raises(EdgeError, match=words):
            run(tmp_path / "damaged")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/notes.txt").write_text("mine")
    with pytest.raises(BadArgumentError, match="is not empty"):
        run(tmp_path / "notes")


def test_a_resume_file_that_would_run_code_does_not(finished: Path, tmp_path: Path) -> None:
    class RunsCode:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": RunsCode()}, finished / RESUME)
    with pytest.raises(EdgeError, match="not safe to load"):
        run(finished)
    assert not (tmp_path / "ran").exists()


def test_a_seed_is_a_run(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tmp_path / name, replace(SETTINGS, epochs=3, seed=seed))
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def test_a_loss_that_is_not_finite_stops_with_the_step_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "paper", replace(RECIPES["paper"], learning_rate=1e30))
    with pytest.raises(EdgeError, match=r"step \d+ \(epoch 1\): the loss is (nan|inf)"):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / LAST).exists()


def test_a_collapsed_run_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network as the paper's U-nets ended: nothing is a particle, and no gradient comes back."""

    def dead(spec, norm):  # type: ignore[no-untyped-def]
        network = build(spec, norm)
        torch.nn.init.zeros_(network.head.weight)
        torch.nn.init.constant_(network.head.bias, -50.0)
        return network

    monkeypatch.setattr(train.module, "build", dead)
    result = run(tmp_path / "run")
    assert result.collapsed
    assert "collapsed: a constant prediction" in result.describe()


def test_the_learning_rate_is_the_papers() -> None:
    """1e-3 times 0.96 every 800 steps; a run that long would take too long here."""
    normalisation = normalisation_of(photos(2))
    module = train.module.SegmentationModule(
        SPEC, RECIPES["paper"], normalisation, 0.01, seed=0, steps=1600
    )
    parts = module.configure_optimizers()
    optimiser, schedule = parts["optimizer"], parts["lr_scheduler"]
    assert schedule["interval"] == "step"
    (group,) = optimiser.param_groups
    assert (group["betas"], group["eps"], group["lr"]) == ((0.9, 0.999), 1e-7, 1e-3)
    rates = []
    for _ in range(1600):
        rates.append(group["lr"])
        optimiser.step()
        schedule["scheduler"].step()
    assert rates[799] == 1e-3
    assert rates[800] == pytest.approx(0.96e-3)
    assert group["lr"] == pytest.approx(1e-3 * 0.96**2)


def command(data: Path, out: Path, *more: object) -> list[str]:
    """`train fit` for two epochs."""
    words = ("fit", "--model", "quarter_mrunet", "--data", data, "--out", out, "--epochs", 2)
    return [str(word) for word in (*words, "--crop", 32, *more)]


def test_two_processes_train_one_network(rendered_data: Path, tmp_path: Path) -> None:
    """Data parallel on the CPU, started as a user starts it: same steps, same batch over all."""
    script = str(Path(sys.executable).with_name("train"))
    words = command(rendered_data, tmp_path / "run", "--devices", 2)
    done = subprocess.run([script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = load(tmp_path / "run" / LAST)
    # 9 photos of 3x3 crops of 32 px, 81 crops: 21 steps of 4 an epoch, 2 from each process.
    assert kept.training["steps"] == 42
    assert len(json.loads((tmp_path / "run/settings.json").read_text())["training"]) == 9


def test_a_batch_that_does_not_share_out(rendered_data: Path, tmp_path: Path) -> None:
    words = command(rendered_data, tmp_path / "run", "--devices", 2, "--batch", 3)
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert "a batch of 3 crops cannot be split over 2 devices" in result.output


def test_a_full_disk_leaves_the_earlier_checkpoints_whole(
    rendered_data: Path, tmp_path: Path
) -> None:
    """Room for a checkpoint, but not for Lightning's state, which is three times as large."""
    words = command(rendered_data, tmp_path / "run")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        result = CliRunner().invoke(cli, words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if "Error" in line]
    assert errors == [f"Error: {tmp_path}/run/resume.ckpt: File too large"]
    assert "Traceback" not in result.output
    assert load(tmp_path / "run" / BEST).training["epochs"] == 1
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.pt", "last.pt", "settings.json", "tensorboard",
    ]  # fmt: skip
    # With room again the same command goes on.
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert load(tmp_path / "run" / LAST).training["epochs"] == 2


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_stopped_run_says_so_in_one_sentence(
    number: signal.Signals, rendered_data: Path, tmp_path: Path
) -> None:
    words = command(rendered_data, tmp_path / "run")
    words[words.index("--epochs") + 1] = "500"
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("train")), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "run" / RESUME).is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip() == "stopped; the same command resumes after the last whole epoch"


def test_fine_tuning_starts_from_the_weights_and_keeps_their_normalisation(
    trained: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    start = load(trained[0] / LAST)
    found = photos(18)
    settings = replace(SETTINGS, epochs=1, init=start.content_hash())
    recipe = replace(RECIPES["strong"].fine_tuning(), learning_rate=0.0)
    brighter = [replace(photo, image=photo.image + np.uint8(5)) for photo in found]
    fit(SPEC, recipe, brighter[:16], brighter[16:], tmp_path / "tuned", settings, start)
    tuned = load(tmp_path / "tuned" / LAST)
    assert tuned.normalisation == start.normalisation
    for name, tensor in start.weights.items():
        assert torch.equal(tuned.weights[name], tensor)


def test_weights_of_another_network_are_refused(trained: tuple[Path, TrainingResult]) -> None:
    with pytest.raises(BadArgumentError, match="weights of quarter_mrunet do not fit half_mrunet"):
        load(trained[0] / LAST).weights_for(MODELS["half_mrunet"])


def test_a_network_or_weights_must_be_named() -> None:
    done = CliRunner().invoke(cli, ["fit", "--data", ".", "--out", "run"])
    assert done.exit_code == 2
    assert "give --model NAME, or --init" in done.output
