"""Waiting for what another process does: poll a condition until it holds or a deadline passes.

The deadline proves nothing about speed: it is for what never comes, and long enough for a machine of which others
take nine tenths.
"""

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_S = 30.0  # under the 32 s after which SIP gives up by itself: a test of what comes sooner still fails

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = PATIENCE_S, poll_s: float = 0.02) -> T:
    """The first true value of `condition`; AssertionError saying `what` did not come about in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(poll_s)
