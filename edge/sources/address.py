"""Addresses without what opens them."""

from __future__ import annotations

import re

# In rtsp://user:password@host, and in http://host/stream?user=me&pwd=secret.
_USER = re.compile(r"(?<=://)[^\s/?#\"']*@")
_SECRET = re.compile(
    r"([?&][^=&\s]*(?:user|usr|login|pass|pwd|pw|token|secret|key|auth|sig)[^=&\s]*=)[^&\s#\"']+",
    re.IGNORECASE,
)


def without_credentials(uri: str) -> str:
    """`uri` as it may be shown, logged and stored.

    Example:
        >>> without_credentials("rtsp://me:secret@10.0.0.5/live?pwd=secret&channel=1")
        'rtsp://10.0.0.5/live?pwd=***&channel=1'
    """
    return _SECRET.sub(r"\1***", _USER.sub("", uri))
