"""Two phones that answer in the same millisecond: a little user agent server over UDP (RFC 3261 8.2, 13.3).

They ring when they are called and answer both together when told to, one send after the other, CANCEL or not.
A 200 is repeated each half second until its ACK (13.3.1.4). What they received is kept as text.
"""

import re
import socket
import threading
import time
from dataclasses import dataclass, field

_SDP = """\
v=0\r
o=twin 1 1 IN IP4 127.0.0.1\r
s=-\r
c=IN IP4 127.0.0.1\r
t=0 0\r
m=audio {port} RTP/AVP 8 101\r
a=rtpmap:101 telephone-event/8000\r
m=video 0 RTP/AVP 96\r
"""


@dataclass(slots=True)
class Twin:
    """One of them. `received` holds the requests in order, repeats of the same transaction once."""

    phone: socket.socket
    name: str
    received: list[str] = field(default_factory=list)
    invite: str = ""
    caller: tuple[str, int] = ("", 0)
    answered_s: float = 0.0
    acknowledged: bool = True

    @property
    def uri(self) -> str:
        return "sip:{}@{}:{}".format(self.name, *self.phone.getsockname())

    def requests(self, method: str) -> list[str]:
        return [text for text in self.received if text.startswith(f"{method} ")]


class TwinPhones:
    def __init__(self) -> None:
        self.twins = [Twin(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), name) for name in ("left", "right")]
        for twin in self.twins:
            twin.phone.bind(("127.0.0.1", 0))
            twin.phone.settimeout(0.05)
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._serve, args=(twin,), daemon=True) for twin in self.twins]
        for thread in self._threads:
            thread.start()

    def ringing(self) -> bool:
        return all(twin.invite for twin in self.twins)

    def answer_both(self) -> None:
        """Both 200 leave now; `answered_s` says when."""
        for twin in self.twins:
            twin.acknowledged = False
        for twin in self.twins:
            self._answer(twin)
            twin.answered_s = time.monotonic()

    def forget_call(self) -> None:
        """Ready for the next one."""
        for twin in self.twins:
            twin.invite = ""

    def stop(self) -> None:
        self._stopping.set()
        for thread, twin in zip(self._threads, self.twins, strict=True):
            thread.join(2)
            twin.phone.close()

    def _serve(self, twin: Twin) -> None:
        while not self._stopping.is_set():
            try:
                data, caller = twin.phone.recvfrom(65536)
            except TimeoutError:
                if not twin.acknowledged and time.monotonic() - twin.answered_s > 0.5:
                    twin.answered_s = time.monotonic()
                    self._answer(twin)
                continue
            text = data.decode()
            method = text.split(" ", 1)[0]
            repeated = text in twin.received
            if not repeated:
                twin.received.append(text)
            match method:
                case "INVITE":
                    twin.invite, twin.caller = text, caller
                    self._send(twin, caller, text, "180 Ringing", tag=True)
                case "CANCEL":
                    self._send(twin, caller, text, "200 OK", tag=True)
                case "ACK":
                    twin.acknowledged = True
                case "BYE":
                    self._send(twin, caller, text, "200 OK")

    def _answer(self, twin: Twin) -> None:
        self._send(twin, twin.caller, twin.invite, "200 OK", tag=True, body=_SDP.format(port=9))

    @staticmethod
    def _send(
        twin: Twin, caller: tuple[str, int], request: str, status: str, *, tag: bool = False, body: str = ""
    ) -> None:
        kept = re.findall(r"^(?:Via|From|To|Call-ID|CSeq|Record-Route): .*(?=\r$)", request, re.MULTILINE)
        if tag:
            kept = [f"{line};tag={twin.name}" if line.startswith("To: ") else line for line in kept]
        contact = f"Contact: <{twin.uri}>"
        content = [contact, *(["Content-Type: application/sdp"] if body else []), f"Content-Length: {len(body)}"]
        twin.phone.sendto("\r\n".join([f"SIP/2.0 {status}", *kept, *content, "", body]).encode(), caller)
