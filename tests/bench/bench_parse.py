"""Messages per second on the INVITE of a door: `parse_message` beside the standard library's BytesParser.

`python -m tests.bench.bench_parse` prints a table. The parsers take turns, a few milliseconds each, so that a busy
machine slows both; each figure is the median of its rounds, each ratio the median of the rounds' ratios.
"""

import email.parser
import statistics
import time
from collections.abc import Callable

from firmware.sip.message import Request, check_request, parse_message
from tests.support.door_invite import DOOR_INVITE

ROUNDS = 41
ROUND_S = 0.01


def parse_only() -> None:
    parse_message(DOOR_INVITE)


def parse_and_match() -> None:
    """What the transaction layer needs of any message: top Via, CSeq, tags, Call-ID."""
    message = parse_message(DOOR_INVITE)
    _ = message.top_via.branch, message.cseq.method, message.from_.tag, message.to.tag, message.call_id


def parse_and_check() -> None:
    """What a request of a stranger costs before anything is done with it: every field the core relies on."""
    message = parse_message(DOOR_INVITE)
    assert isinstance(message, Request)
    check_request(message)


def parse_and_write() -> None:
    parse_message(DOOR_INVITE).serialize()


_email = email.parser.BytesParser()


def email_parser() -> None:
    _email.parsebytes(DOOR_INVITE)


CASES: dict[str, Callable[[], None]] = {
    "email.parser.BytesParser": email_parser,
    "parse_message": parse_only,
    "parse_message, transaction fields": parse_and_match,
    "parse_message, check_request": parse_and_check,
    "parse_message, serialize": parse_and_write,
}
YARDSTICK = "email.parser.BytesParser"


def _rate(case: Callable[[], None]) -> float:
    count = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < ROUND_S:
        for _ in range(20):
            case()
        count += 20
    return count / elapsed


def run() -> dict[str, dict[str, float]]:
    """Messages per second and the ratio to the yardstick, by case; printed as a table too."""
    rates: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(ROUNDS):
        for name, case in CASES.items():
            rates[name].append(_rate(case))
    results = {
        name: {
            "per_second": statistics.median(found),
            "ratio": statistics.median(a / b for a, b in zip(found, rates[YARDSTICK], strict=True)),
        }
        for name, found in rates.items()
    }
    print(f"\n{len(DOOR_INVITE)} octets{'messages/s':>38}{'ratio':>9}")
    for name, result in results.items():
        print(f"{name:<37}{result['per_second']:>11.0f}{result['ratio']:>9.2f}")
    return results


if __name__ == "__main__":
    run()
