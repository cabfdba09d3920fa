"""Where a run came from: its data, code, command and date, so that runs can be compared."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from train.data.samples import Sample


@dataclass(frozen=True)
class Origin:
    """How a run was asked for: the command, and the folder of its photos where it has one."""

    command: str
    data_folder: str | None = None

    @classmethod
    def of_this_process(cls, data_folder: Path | None = None) -> Origin:
        """Of the command that this process was started with."""
        words = [Path(sys.argv[0]).name, *sys.argv[1:]]
        return cls(shlex.join(words), str(data_folder.resolve()) if data_folder else None)


def provenance(origin: Origin, samples: Iterable[Sample]) -> dict[str, Any]:
    """An entry of `starts` in settings.json.

    `date`: UTC, ISO 8601; `version`: of this package; `commit`: see `git_commit`; `data_sha256`:
    see `content_sha256`.
    """
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **asdict(origin),
        "version": metadata.version("microplastic-edge"),
        "commit": git_commit(),
        "data_sha256": content_sha256(samples),
    }


def content_sha256(samples: Iterable[Sample]) -> str:
    """SHA-256 over names, pixels and masks, in hexadecimal; the order of the photos is none of it.

    So runs of one folder have the same, however it was split in training and validation.
    """
    digests = []
    for sample in samples:
        digest = hashlib.sha256(f"{sample.name}\0{sample.size_hw}\0".encode("utf-8", "replace"))
        for pixels in (sample.image, sample.mask, sample.labels):
            digest.update(np.ascontiguousarray(pixels).data)
        digests.append(digest.digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def git_commit() -> str | None:
    """The commit of the checkout that this code runs from, with "-dirty" where files differ from
    it; None where it is installed without one."""
    checkout = Path(__file__).parents[1]
    # A repository further up would be the user's own.
    if not (checkout / ".git").exists():
        return None
    words = ("git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40")
    try:
        done = subprocess.run(
            [*words, "--exclude=*"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
