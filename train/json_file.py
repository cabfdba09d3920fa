"""JSON files that users give, which may hold anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.errors import ToolError


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8, with or without a byte order mark.

    Raises:
        ToolError: it is not UTF-8, not JSON, or nested too deeply.
        OSError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ToolError(
            f"{path}: not JSON: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    except RecursionError:
        raise ToolError(
            f"{path}: not usable JSON: its brackets are nested too deeply; give another file"
        ) from None
    except ValueError as error:
        raise ToolError(f"{path}: not JSON: {error}; correct the file") from None
