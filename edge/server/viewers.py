"""How many look at the page at a time."""

from __future__ import annotations

import time

MAX_VIEWERS = 24
# Who asked for nothing for so long has left.
VIEWER_TIMEOUT_S = 10.0


class Viewers:
    """Lets in at most `MAX_VIEWERS`, each by an id that its page makes."""

    def __init__(self) -> None:
        self._seen_s: dict[str, float] = {}

    def admit(self, viewer: str) -> bool:
        """Whether there is room for that viewer, who counts from now on."""
        now_s = time.monotonic()
        self._seen_s = {
            known: seen_s
            for known, seen_s in self._seen_s.items()
            if now_s - seen_s < VIEWER_TIMEOUT_S
        }
        if viewer not in self._seen_s and len(self._seen_s) >= MAX_VIEWERS:
            return False
        self._seen_s[viewer] = now_s
        return True
