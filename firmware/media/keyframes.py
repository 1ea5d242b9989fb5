"""The one place where everybody who needs a keyframe asks for it.

PLI and FIR (RFC 4585, RFC 5104), INFO media_control (RFC 5168), legs that join, move or are young: six
monitors that ring at once must not make the encoder send six IDRs in a row, nor may the last of them
wait forever. The first request is served at once and whoever asks before its IDR comes shares it; those after
it, but within `window_s` of the request, are served together at the window's end. Pure: the caller brings the
time and asks the camera.
"""

WINDOW_S = 0.4  # 300 to 500 ms is what gateways use; shorter floods Wi-Fi with IDRs


class KeyframeRequests:
    """`requested` and `served` count since the start. The caller serialises the calls."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self.requested = 0
        self.served = 0
        self._window_s = window_s
        self._next_s = float("-inf")
        self._waiting = False

    def request(self, now: float) -> bool:
        """Somebody needs an IDR; True: ask the camera now, False: it will be `due` later."""
        self.requested += 1
        self._waiting = True
        return self.due(now)

    def due(self, now: float) -> bool:
        """True once when a waiting request's window is over: ask the camera now."""
        if not self._waiting or now < self._next_s:
            return False
        self._waiting = False
        self._next_s = now + self._window_s
        self.served += 1
        return True

    def arrived(self) -> None:
        """An IDR is about to be sent: everybody who asked until now gets it."""
        self._waiting = False

    def deadline(self) -> float | None:
        return self._next_s if self._waiting else None
