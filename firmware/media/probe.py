"""What a sound check (`sound_check`) does to the tick: the sound card to itself for a while."""


class Probe:
    """Takes the sound card for itself: plays `sound` and keeps what is captured meanwhile. For the audio thread."""

    def __init__(self, sound: bytes) -> None:
        self._sound = sound
        self._at = 0
        self.recorded = bytearray()

    def exchange(self, captured: bytes) -> bytes:
        """The frame to write in the tick that captured `captured`; b"" once all was played."""
        size = len(captured)
        frame = self._sound[self._at : self._at + size]
        if not frame:
            return b""
        self.recorded += captured
        self._at += size
        return frame.ljust(size, b"\x00")
