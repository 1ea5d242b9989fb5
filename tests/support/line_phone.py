"""The sound side of whoever is behind a gateway: an analogue telephone, a speakerphone, a PBX that converts keys.

sipp signals for it. It listens to what the door sends and can return it as an echo, turn the keys that it hears in
it into telephone-events (libspandsp hears them, as in many a PBX), and press keys of its own as sound. PCMA
throughout.
"""

import audioop
import random
import socket
import struct
import threading
import time
import wave
from collections import deque
from pathlib import Path

from tests.support import spandsp

_PCMA, _EVENT = 8, 101
_KEYS = "0123456789*#ABCD"
_TICK_S, _SAMPLES = 0.02, 160
_SILENCE = bytes(2 * _SAMPLES)


class LinePhone:
    """`echo`: how loud what comes is returned, `echo_s` later. `converts`: keys in it return as events as well."""

    def __init__(self, *, echo: float = 0.0, echo_s: float = 0.2, converts: bool = False, host: str = "127.0.0.1"):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self.keys_heard = 0
        self._echo = echo
        self._room = bytearray(round(echo_s / _TICK_S) * len(_SILENCE))
        self._receiver = spandsp.Receiver() if converts or echo else None
        self._converts = converts
        self._target: tuple[str, int] | None = None
        self._events: deque[str] = deque()
        self._sound: deque[bytes] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="line phone", daemon=True)

    def send_to(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._thread.start()

    def listen(self, file: Path) -> None:
        """Write what comes to a WAV file, and send nothing."""
        self._thread = threading.Thread(target=self._record, args=(file,), name="line phone", daemon=True)
        self._thread.start()

    def _record(self, path: Path) -> None:
        with path.open("wb", buffering=0) as raw, wave.open(raw, "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            while not self._stopping.wait(_TICK_S):
                file.writeframes(self._heard())

    def play_keys(self, keys: str) -> None:
        """As sound, 100 ms each and as long a pause."""
        pcm = spandsp.tape(keys, tone_ms=100, gap_ms=100)
        size = 2 * _SAMPLES
        self._sound.extend(pcm[at : at + size].ljust(size, b"\0") for at in range(0, len(pcm), size))

    def press_keys(self, keys: str) -> None:
        """As telephone-events, 100 ms each and as long a pause."""
        self._events.extend(keys)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2)
        self._socket.close()
        if self._receiver is not None:
            self._receiver.close()

    def _run(self) -> None:
        sequence, stamp, ssrc = random.getrandbits(15), random.getrandbits(31), random.getrandbits(32)
        key, step, started = "", 0, 0
        next_s = time.monotonic()
        while not self._stopping.wait(max(0.0, next_s - time.monotonic())):
            next_s += _TICK_S
            self._room += self._heard()
            returned = audioop.mul(bytes(self._room[: 2 * _SAMPLES]).ljust(2 * _SAMPLES, b"\0"), 2, self._echo)
            del self._room[: 2 * _SAMPLES]
            if not key and self._events:
                key, step, started = self._events.popleft(), 0, stamp
            if key:
                step += 1
                if step <= 8:  # five packets, the last as end twice more
                    body = struct.pack("!BBH", _KEYS.index(key), (step >= 5) << 7 | 10, min(step, 5) * _SAMPLES)
                    self._send(_EVENT, step == 1, sequence, started, ssrc, body)
                    sequence = sequence + 1 & 0xFFFF
                elif step > 10:
                    key = ""
            frame = self._sound.popleft() if self._sound else returned
            self._send(_PCMA, False, sequence, stamp, ssrc, audioop.lin2alaw(frame, 2))
            sequence, stamp = sequence + 1 & 0xFFFF, stamp + _SAMPLES & 0xFFFFFFFF

    def _heard(self) -> bytes:
        """What has come of the door's sound."""
        pcm = b""
        try:
            while True:
                packet = self._socket.recv(2048)
                if packet[1] & 0x7F == _PCMA:
                    pcm += audioop.alaw2lin(packet[12:], 2)
        except BlockingIOError:
            pass
        if self._receiver is not None and pcm:
            keys = self._receiver.feed(pcm)
            self.keys_heard += len(keys)
            if self._converts:
                self._events.extend(keys)
        return pcm

    def _send(self, kind: int, marker: bool, sequence: int, stamp: int, ssrc: int, body: bytes) -> None:
        assert self._target is not None
        head = struct.pack("!BBHII", 0x80, marker << 7 | kind, sequence, stamp, ssrc)
        self._socket.sendto(head + body, self._target)
