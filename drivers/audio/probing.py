"""Whether the sound card can be had: found by its name, opened in both directions at its rate, or who has it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from drivers.access import User
from drivers.access import check as check_access
from drivers.audio.alsa import AlsaAudio, Direction, OpenPcm, find_card
from drivers.audio.base import AudioError
from drivers.findings import Finding

DIRECTIONS: tuple[Direction, ...] = ("capture", "playback")
OURS = "portero"


def check(
    card: str,
    rate_hz: int,
    user: User,
    *,
    capture_pcm: str = "",
    playback_pcm: str = "",
    open_pcm: OpenPcm | None = None,
    root: Path = Path("/"),
) -> Iterator[Finding]:
    """`card`, or the names of two PCMs, as `AlsaAudio` takes them. Opens and closes both directions, silently."""
    sound = root / "proc/asound"
    find = partial(find_card, cards=sound / "cards", devices=root / "sys/class/sound")
    where = "audio.card"
    try:
        if card:
            found = find(card)
            yield Finding(where, f'sound card "{card}" is there, its id is "{found}"')
    except AudioError as error:
        yield Finding(where, str(error), "plug it in, or write the name of one that is present")
        return
    for node in sorted((root / "dev/snd").glob("controlC*")):
        yield from check_access("audio", node, user)
    device = AlsaAudio(
        card, rate_hz, capture_pcm=capture_pcm, playback_pcm=playback_pcm, open_pcm=open_pcm, find=find
    )
    for direction in DIRECTIONS:
        key = f"audio.{direction}_pcm" if not card else "audio.card"
        try:
            yield Finding(key, f"{direction} works at {rate_hz} Hz, {device.try_direction(direction)}")
        except AudioError as error:
            owner = _owner(sound, direction)
            if owner == OURS:
                yield Finding(key, f"{direction} is in use by {owner}, as it is in a call")
            elif owner:
                yield Finding(key, f"{error}; {owner} has it", f"end {owner}")
            else:
                yield Finding(key, str(error), _remedy(card))


def _remedy(card: str) -> str:
    if card:
        return (
            "write a rate_hz that the card does (16000 or 48000); a card without microphone or speaker will not do"
        )
    return "install the board's asound.conf as /etc/asound.conf, and load the driver of the card that it names"


def _owner(sound: Path, direction: Direction) -> str:
    """The program that has a PCM of this direction open; empty where none has."""
    for status in sorted(sound.glob(f"card*/pcm*{direction[0]}/sub*/status")):
        for line in status.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "owner_pid":
                try:
                    return (sound.parent / value.strip() / "comm").read_text().strip()
                except OSError:
                    return f"process {value.strip()}"
    return ""
