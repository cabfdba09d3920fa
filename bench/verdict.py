"""The answer to a question that a machine settles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge.errors import describe

# Whether all is well, None where the question does not arise here; and what was found, in words.
Answer = tuple[bool | None, str]


@dataclass(frozen=True)
class Verdict:
    """A named answer; as a string, one line."""

    name: str
    ok: bool | None
    found: str

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "-"}[self.ok]
        return f"{word:<7} {self.name}: {self.found}"


def ask(name: str, question: Callable[[], Answer]) -> Verdict:
    """The answer to `question`; one that breaks is a failure, and the next can still be asked."""
    try:
        return Verdict(name, *question())
    except Exception as error:
        return Verdict(name, False, f"{type(error).__name__}: {describe(error)}")
