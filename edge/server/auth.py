"""The token that lets a viewer in."""

from __future__ import annotations

import hmac
import os
import secrets
import time
from collections import OrderedDict, deque

from edge.errors import BadArgumentError

VARIABLE = "EDGE_RUN_TOKEN"
MIN_LENGTH = 16
# Wrong tokens that an address may send in so long; then it waits.
MAX_WRONG, WRONG_WINDOW_S = 10, 60.0
# Addresses remembered.
MAX_ADDRESSES = 1024


class Token:
    """A secret, and the cookie that stands for it in a browser.

    Attributes:
        text: the secret.
        made: whether it was made here, and nobody knows it yet.
    """

    def __init__(self, text: str, *, made: bool = False) -> None:
        self.text, self.made = text, made
        # The browser keeps what is made from the token, not the token.
        self.cookie = hmac.digest(text.encode(), b"edge-run cookie", "sha256").hex()

    @classmethod
    def find(cls, *, required: bool) -> Token | None:
        """That of the environment, or a new one where one is required.

        Raises:
            BadArgumentError: it is too short, or no plain text.
        """
        text = os.environ.get(VARIABLE, "")
        if not text:
            return cls(secrets.token_hex(12), made=True) if required else None
        if len(text) < MIN_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
            raise BadArgumentError(
                f"{VARIABLE}: give at least {MIN_LENGTH} letters and digits, or leave it unset: "
                f"then a token is made"
            )
        return cls(text)

    def is_text(self, given: str) -> bool:
        """Whether that is the token; takes as long for every wrong one."""
        return hmac.compare_digest(given.encode(), self.text.encode())

    def is_cookie(self, given: str) -> bool:
        """Whether that is the cookie; takes as long for every wrong one."""
        return hmac.compare_digest(given.encode(), self.cookie.encode())


class WrongTries:
    """Wrong tokens by address, in bounded memory."""

    def __init__(self) -> None:
        self._times_s: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long an address must wait until it may try again; mostly 0."""
        times_s = self._times_s.get(address)
        if not times_s or len(times_s) < MAX_WRONG:
            return 0.0
        return max(0.0, times_s[0] + WRONG_WINDOW_S - time.monotonic())

    def add(self, address: str) -> None:
        """Note a wrong try."""
        times_s = self._times_s.setdefault(address, deque(maxlen=MAX_WRONG))
        times_s.append(time.monotonic())
        self._times_s.move_to_end(address)
        if len(self._times_s) > MAX_ADDRESSES:
            self._times_s.popitem(last=False)

    def forget(self, address: str) -> None:
        """After a right one."""
        self._times_s.pop(address, None)
