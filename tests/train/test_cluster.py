"""Jobs on real Ray clusters of this machine."""

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, ScalarEvent

from edge.errors import ToolError
from train.checkpoint import load
from train.cluster import run_on_ray
from train.crossval import Job, claim_split, run
from train.fit import LAST, RESUME, Settings
from train.models.catalogue import MODELS
from train.recipe import RECIPES

SETTINGS = Settings("painted", epochs=15, batch=4, crop=32, devices=1)


def job(data: Path, out: Path, fold: int, settings: Settings = SETTINGS) -> Job:
    claim_split(data, out, "photo", settings)
    return Job(MODELS["quarter_mrunet"], RECIPES["paper"], fold, data, out, settings, 0)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that takes no jobs; nodes are added by the test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_BACKEND_LOG_LEVEL", "fatal")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # beside other work a nice worker starves
    logging.getLogger("ray").setLevel(logging.ERROR)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield started
    ray.shutdown()
    started.shutdown()


def test_a_job_whose_machine_is_lost_goes_on_elsewhere(
    cluster: Cluster, painted: Path, tmp_path: Path
) -> None:
    lost_node = cluster.add_node(num_cpus=1)
    lost, whole = (job(painted, tmp_path / name, 1) for name in ("lost", "whole"))
    command = [
        str(Path(sys.executable).with_name("train")), "crossval", "--model", "quarter_mrunet",
        "--fold", "1", "--data", str(painted), "--out", str(lost.out), "--ray", cluster.address,
        "--epochs", str(SETTINGS.epochs), "--crop", "32", "--devices", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (lost.folder / RESUME).is_file():
        assert process.poll() is None
        time.sleep(0.02)
    cluster.remove_node(lost_node, allow_graceful=False)
    done = load(lost.folder / LAST).training
    assert done["epochs"] < SETTINGS.epochs
    cluster.add_node(num_cpus=1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"best epoch {run(lost).outcome.best_epoch} of {SETTINGS.epochs}" in output
    assert "Traceback" not in output
    # A file of TensorBoard each time that training began, and the second did not begin anew.
    first, second = (
        [event.step for event in scalars(path)]
        for path in sorted((lost.folder / "tensorboard").glob("events.*"))
    )
    assert first[0] < done["steps"] <= second[0]
    assert run(lost) == run(whole)


def scalars(path: Path) -> list[ScalarEvent]:
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    events.Reload()
    return list(events.Scalars("loss"))


def test_a_job_that_fails_leaves_the_others_done(
    cluster: Cluster, painted: Path, tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=2)
    short = replace(SETTINGS, epochs=1)
    good, bad = (job(painted, tmp_path / "out", fold, short) for fold in (1, 2))
    bad = replace(bad, data=tmp_path / "elsewhere")
    ended = []

    def collect() -> None:
        ended.extend(done for done, _ in run_on_ray([bad, good], cluster.address))

    words = "1 of 2 jobs failed, quarter_mrunet fold 2; .*elsewhere: not there on"
    with pytest.raises(ToolError, match=words):
        collect()
    assert ended == [good]
    assert good.done
    # Finished ones are read, without a cluster's help.
    assert [j for j, _ in run_on_ray([good], cluster.address)] == [good]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nonsense", "auto"])
def test_no_cluster_is_one_sentence(address: str) -> None:
    start = time.monotonic()
    with pytest.raises(ToolError, match=f"{address}: no Ray cluster answers there"):
        list(run_on_ray([], address))
    assert time.monotonic() - start < 30
