"""Jobs of a comparison on a Ray cluster: one task per job, retried where its machine is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from edge.errors import BadArgumentError, EdgeError
from train.crossval import FoldResult, Job, run

LOCAL = "local"
# Times that one job may lose its machine.
RETRIES = 10
CONNECT_S = 5.0


def run_on_ray(jobs: Sequence[Job], address: str) -> Iterator[tuple[Job, FoldResult]]:
    """Run jobs on the cluster at `address` and give each back as it ends; finished ones are read.

    A job takes a GPU where the cluster has any, a CPU otherwise. One whose machine is lost starts
    again on another and resumes after its last whole epoch, from the folder it writes to: `data`
    and `out` must be the same shared folders on every machine.

    Args:
        address: "local" for a cluster on this machine, "auto" for the one that this machine is part
            of, HOST:PORT of that one's head, or ray://HOST:10001 for one it is not part of.

    Raises:
        BadArgumentError: a job asks for several devices.
        EdgeError: there is no cluster, or jobs failed; the others have ended by then.
    """
    if any(job.settings.devices not in (1, "auto") for job in jobs):
        raise BadArgumentError("on a cluster a network trains on one device; leave out --devices")
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
                # A worker starts in another folder than this process.
                sent = replace(job, data=job.data.absolute(), out=job.out.absolute())
                waiting[task.remote(sent)] = job
        failed: dict[Job, str] = {}
        while waiting:
            (ended,), _ = ray.wait(list(waiting))
            job = waiting.pop(ended)
            try:
                result = ray.get(ended)
            except RayTaskError as error:
                # Anything else comes from before `_run` could begin.
                failed[job] = (
                    str(error.cause)
                    if isinstance(error.cause, EdgeError)
                    else f"a machine needs 'microplastic-edge[cluster]' as installed on this one "
                    f"({str(error.cause).splitlines()[0]})"
                )
            except RayError as error:
                failed[job] = f"its machine was lost {RETRIES + 1} times ({type(error).__name__})"
            else:
                yield job, result
    if failed:
        raise EdgeError(
            f"{len(failed)} of {len(jobs)} jobs failed ({', '.join(map(str, failed))}), the first "
            f"because: {next(iter(failed.values()))}"
        )


def _run(job: Job) -> FoldResult:
    """What a worker does.

    Raises:
        EdgeError: the job cannot be done, whatever the reason: unlike other exceptions, this one is
            sure to survive the way back.
    """
    for folder in (job.data, job.out):
        if not folder.is_dir():
            raise EdgeError(
                f"{folder}: not there on {socket.gethostname()}; the folders must be shared by all "
                f"machines of the cluster"
            )
    # Ray gives a CPU task one core.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # progress bars
            return run(job)
    except EdgeError as error:
        raise EdgeError(str(error)) from error
    except Exception as error:
        raise EdgeError(f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection that ends with the block; a local cluster ends with it, too."""
    try:
        host, _, port = address.rpartition("/")[2].rpartition(":")
        if host:
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        ray.init(
            address,
            logging_level=logging.ERROR,
            log_to_driver=False,
            include_dashboard=False if address == LOCAL else None,
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise EdgeError(
            f"{address}: no Ray cluster that takes jobs ({reason}); start one with 'ray start "
            f"--head' and give its HOST:PORT, with RAY_AUTH_MODE=token set if it wants a token, or "
            f"--ray local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
