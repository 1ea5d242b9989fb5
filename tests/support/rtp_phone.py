"""The sound side of a phone that sipp signals for: a G.711 tone and RFC 4733 keys, written out by hand.

baresip sends nothing before the answer and sipp's own media needs files and raw sockets; a phone with early
sound needs neither. It listens to nothing.
"""

import audioop
import math
import random
import socket
import struct
import threading
import time

_PCMA, _EVENT = 8, 101
_KEYS = "0123456789*#ABCD"
_TICK_S, _SAMPLES = 0.02, 160


class RtpPhone:
    """Sends a tone from `port` (its own, for the SDP) as soon as it knows where to; `press_keys` on top of it."""

    def __init__(self, hz: float = 1000, level: float = 0.25, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.port = int(self._socket.getsockname()[1])
        self._hz = hz
        self._level = level
        self._target: tuple[str, int] | None = None
        self._keys: list[str] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rtp phone", daemon=True)

    def send_to(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._thread.start()

    def press_keys(self, digits: str) -> None:
        """Queue the keys, 100 ms each and as long a pause."""
        self._keys.extend(digits)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2)
        self._socket.close()

    def _run(self) -> None:
        sequence, stamp = random.getrandbits(15), random.getrandbits(31)
        ssrc = random.getrandbits(32)
        phase = tick = 0
        key, since, started = "", 0, 0
        next_s = time.monotonic()
        marker = True
        while not self._stopping.wait(max(0.0, next_s - time.monotonic())):
            next_s += _TICK_S
            tick += 1
            if not key and self._keys and tick - since >= 5:
                key, since, started, marker = self._keys.pop(0), tick, stamp, True
            if key:
                # Five packets of 20 ms, then the end three times (RFC 4733 2.5.1.4).
                count = tick - since + 1
                ended = count > 5
                body = struct.pack("!BBH", _KEYS.index(key), ended << 7 | 10, min(count, 5) * _SAMPLES)
                self._send(_EVENT, marker, sequence, started, ssrc, body)
                if count == 8:
                    key, since = "", tick
            else:
                turn = 2 * math.pi * self._hz / 8000
                samples = (round(32767 * self._level * math.sin(turn * n)) for n in range(phase, phase + _SAMPLES))
                frame = struct.pack(f"<{_SAMPLES}h", *samples)
                self._send(_PCMA, marker, sequence, stamp, ssrc, audioop.lin2alaw(frame, 2))
            marker = False
            phase += _SAMPLES
            sequence, stamp = (sequence + 1) & 0xFFFF, (stamp + _SAMPLES) & 0xFFFFFFFF

    def _send(self, kind: int, marker: bool, sequence: int, stamp: int, ssrc: int, body: bytes) -> None:
        head = struct.pack("!BBHII", 0x80, marker << 7 | kind, sequence, stamp, ssrc)
        assert self._target is not None
        self._socket.sendto(head + body, self._target)
