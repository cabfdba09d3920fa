"""Where the page is served."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import click


class Address(NamedTuple):
    """A host's name or IP address, and a port; port 0 is any that is free."""

    host: str
    port: int


class AddressArgument(click.ParamType):  # type: ignore[type-arg]
    """[HOST:]PORT, such as 8080, 0.0.0.0:8080 or [::1]:8080; without a host 127.0.0.1."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        """As `click.ParamType`."""
        if isinstance(value, Address):
            return value
        found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.%\w]+\]|[^\s:\[\]/]+):)?(\d{1,5})", value.strip())
        if not found or int(found[2]) > 65535:
            self.fail(f"{value!r} is not [HOST:]PORT, such as 8080 or 0.0.0.0:8080", param, ctx)
        return Address((found[1] or "127.0.0.1").strip("[]"), int(found[2]))
