"""Jobs of a comparison on a Ray cluster: one task a job, retried where its machine is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from edge.errors import ToolError
from train.crossval import FoldResult, Job, run

LOCAL = "local"
# Times that one job may lose its machine.
RETRIES = 10
CONNECT_S = 5.0


def run_on_ray(jobs: Sequence[Job], address: str) -> Iterator[tuple[Job, FoldResult]]:
    """Run jobs on the cluster at `address` and give each back as it ends; finished ones are read.

    A job takes a GPU where the cluster has any, a CPU otherwise. One whose machine is lost starts
    again on another and goes on after its last whole epoch, from the folder it writes to: `data`
    and `out` must be the same shared folders on every machine.

    Args:
        address: "local" for a cluster on this machine, "auto" for the one that this machine is part
            of, or HOST:PORT.

    Raises:
        ToolError: there is no cluster, or jobs failed; the others have ended by then.
    """
    with _connected(address):
        gpu = bool(ray.cluster_resources().get("GPU"))  # type: ignore[no-untyped-call]
        task = ray.remote(max_retries=RETRIES)(_run).options(
            num_cpus=0 if gpu else 1, num_gpus=int(gpu)
        )
        waiting = {}
        for job in jobs:
            if job.done:
                yield job, run(job)
            else:
                waiting[task.remote(job)] = job
        failed: dict[Job, str] = {}
        while waiting:
            (ended,), _ = ray.wait(list(waiting))
            job = waiting.pop(ended)
            try:
                yield job, ray.get(ended)
            except RayTaskError as error:
                failed[job] = str(error.cause)
            except RayError as error:
                failed[job] = f"its machine was lost {RETRIES + 1} times ({type(error).__name__})"
    if failed:
        job, reason = next(iter(failed.items()))
        raise ToolError(
            f"{len(failed)} of {len(jobs)} jobs failed, {', '.join(map(str, failed))}; "
            f"{job}: {reason}"
        )


def _run(job: Job) -> FoldResult:
    """What a worker does."""
    if not job.data.is_dir() or not job.out.is_dir():
        missing = job.out if job.data.is_dir() else job.data
        raise ToolError(
            f"{missing}: not there on {socket.gethostname()}; the folders must be shared by all "
            f"machines of the cluster"
        )
    # Ray gives a CPU task one core.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # progress bars
        return run(job)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection that ends with the block; a local cluster ends with it, too."""
    # Ray's own log, which repeats what is raised; set before its first line.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        host, _, port = address.rpartition("/")[2].rpartition(":")
        if host:
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        ray.init(
            address=None if address == LOCAL else address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False if address == LOCAL else None,
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise ToolError(
            f"{address}: no Ray cluster answers there; start one with 'ray start --head' and give "
            f"its HOST:PORT, or --ray local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
