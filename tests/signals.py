"""Whether signals still reach Python: a library that keeps them away is noticed only by users."""

import os
import signal
import time


def interrupt_arrives() -> bool:
    """Send this process one SIGINT; whether its handler is called, once."""
    heard: list[int] = []
    earlier = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    finally:
        signal.signal(signal.SIGINT, earlier)
    return heard == [signal.SIGINT]
