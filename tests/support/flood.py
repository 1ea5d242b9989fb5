"""Bogus SIP at a steady rate, on its own: `python -m tests.support.flood HOST PORT PER_SECOND SECONDS`.

A third is damaged messages, a third requests for dialogs that are not, a third strangers who ask and call.
Prints how many were sent, and in how many seconds.
"""

import contextlib
import random
import socket
import sys
import time

from tests.support.damaged_sip import damaged

METHODS = ("OPTIONS", "INVITE", "REGISTER", "BYE", "SUBSCRIBE", "MESSAGE", "CANCEL", "ACK", "NOTIFY")
_TURN_S = 0.005


def bogus(chance: random.Random, number: int) -> bytes:
    kind = number % 3
    if kind == 0:
        return damaged(chance)
    method = METHODS[number // 3 % len(METHODS)]
    to_tag = ";tag=nobody" if kind == 1 else ""
    return (
        f"{method} sip:door@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKf{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:stranger@127.0.0.1>;tag={number}\r\nTo: <sip:door@127.0.0.1>{to_tag}\r\n"
        f"Call-ID: flood{number}\r\nCSeq: 1 {method}\r\nContact: <sip:stranger@127.0.0.1:9>\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def main(host: str, port: int, per_second: int, seconds: float) -> None:
    chance = random.Random(3000)
    messages = [bogus(chance, number) for number in range(6000)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((host, port))
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * per_second:
                with contextlib.suppress(OSError):  # ICMP
                    out.send(messages[sent % len(messages)])
                sent += 1
            time.sleep(_TURN_S)
    print(f"sent {sent} in {passed:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
