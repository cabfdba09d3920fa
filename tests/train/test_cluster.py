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
import torch
from ray.cluster_utils import Cluster
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge.errors import BadArgumentError, EdgeError
from train.checkpoint import load
from train.cluster import run_on_ray
from train.crossval import Job, prepare_split, run
from train.fit import LAST, Settings
from train.models.registry import MODELS
from train.recipe import RECIPES

SETTINGS = Settings("rendered_data", epochs=10, batch=4, crop=32, devices=1)


def job(data: Path, out: Path, fold: int, settings: Settings = SETTINGS) -> Job:
    prepare_split(data, out, "photo", settings)
    return Job(MODELS["quarter_mrunet"], RECIPES["paper"], fold, data, out, settings, 0)


def epochs(of: Job) -> int:
    """Epochs that are done."""
    last = of.folder / LAST
    return int(load(last).training["epochs"]) if last.is_file() else 0


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head that takes no jobs; nodes are added by the test."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    # Without a token: Ray would keep it in the home folder.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # beside other work a nice worker starves
    monkeypatch.setenv("RAY_health_check_period_ms", "500")  # a lost node is soon known to be one
    logging.getLogger("ray").setLevel(logging.ERROR)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a worker
    yield started
    torch.set_num_threads(threads)
    ray.shutdown()
    started.shutdown()


@pytest.mark.slow
def test_a_job_whose_machine_is_lost_goes_on_elsewhere(
    cluster: Cluster, rendered_data: Path, tmp_path: Path
) -> None:
    lost_node = cluster.add_node(num_cpus=1)
    lost, whole = (job(rendered_data, tmp_path / name, 1) for name in ("lost", "whole"))
    command = [
        str(Path(sys.executable).with_name("train")), "crossval", "--model", "quarter_mrunet",
        "--fold", "1", "--data", str(rendered_data), "--out", str(lost.out),
        "--ray", cluster.address,
        "--epochs", str(SETTINGS.epochs), "--crop", "32", "--devices", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while epochs(lost) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    cluster.remove_node(lost_node, allow_graceful=False)
    done = epochs(lost)
    assert done < SETTINGS.epochs
    cluster.add_node(num_cpus=1)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert f"best epoch {run(lost).training_result.best_epoch} of {SETTINGS.epochs}" in output
    assert "Traceback" not in output
    # A file of TensorBoard each time that training began, and the second did not begin anew.
    _, second = sorted((lost.folder / "tensorboard").glob("events.*"))
    events = EventAccumulator(str(second), size_guidance={"scalars": 0})
    events.Reload()
    # The machine may have been lost just before it kept the state of its last epoch.
    assert events.Scalars("epoch")[0].value >= done - 1
    assert run(lost) == run(whole)
    first, second = (load(of.folder / LAST).weights for of in (lost, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_job_that_fails_leaves_the_others_done(
    cluster: Cluster, rendered_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two GPUs, as far as Ray knows, and no CPU to take instead.
    cluster.add_node(num_cpus=0, num_gpus=2)
    # Workers are not in this folder.
    monkeypatch.chdir(tmp_path)
    short = replace(SETTINGS, epochs=1)
    good, bad = (job(rendered_data, Path("out"), fold, short) for fold in (1, 2))
    bad = replace(bad, data=Path("elsewhere"))
    ended = []

    def collect() -> None:
        ended.extend(done for done, _ in run_on_ray([bad, good], cluster.address))

    words = f"1 of 2 jobs failed .quarter_mrunet fold 2., .* {tmp_path}/elsewhere: not there on"
    with pytest.raises(EdgeError, match=words):
        collect()
    assert ended == [good]
    assert good.done
    # Finished ones are read, without a cluster's help.
    assert [j for j, _ in run_on_ray([good], cluster.address)] == [good]


def test_local_is_a_cluster_of_its_own(cluster: Cluster) -> None:
    assert not list(run_on_ray([], "local"))
    assert not cluster.global_state.job_table()
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nonsense"])
def test_no_cluster_is_one_sentence(address: str) -> None:
    start = time.monotonic()
    with pytest.raises(EdgeError, match=f"{address}: no Ray cluster that takes jobs") as raised:
        list(run_on_ray([], address))
    assert time.monotonic() - start < 30
    assert "\n" not in str(raised.value)


def test_a_job_takes_one_device(rendered_data: Path, tmp_path: Path) -> None:
    two = job(rendered_data, tmp_path / "out", 1, replace(SETTINGS, devices=2))
    with pytest.raises(BadArgumentError, match="one device"):
        list(run_on_ray([two], "local"))
