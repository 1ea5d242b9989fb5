"""How the calls of now sound and look, as text for `doorctl call --stats`: a few lines a leg, and sparklines."""

from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
# Rows of a plot: history's name, what to call it, the ends of its scale (None: that of the values), unit.
_PLOTTED = (
    ("mos", "MOS", 1.0, 4.5, ""),
    ("loss_percent", "lost", 0.0, None, " %"),
    ("jitter_ms", "jitter", 0.0, None, " ms"),
    ("depth_ms", "buffer", 0.0, None, " ms"),
)


def lines(quality: Json, before: Json | None, seconds: float, *, plot: bool) -> Iterator[str]:
    """The answer to `quality` as text. Bit rates are since `before`, the answer `seconds` earlier, if any."""
    if not quality["legs"]:
        yield "no call"
        return
    earlier = {leg["leg"]: leg["statistics"] for leg in before["legs"]} if before is not None else {}
    for leg in quality["legs"]:
        says = "talks" if leg["talk"] else "rings" if leg["direction"] == "outgoing" else "listens"
        yield f"leg {leg['leg']}  {leg['party']}  {says}"
        statistics = leg["statistics"]
        was = earlier.get(leg["leg"])
        yield from _sound(statistics, was, seconds)
        if statistics.get("video_sent"):
            yield _picture(statistics, was, seconds)
        if plot:
            yield from _plots(leg["history"])


def _sound(statistics: Json, was: Json | None, seconds: float) -> Iterator[str]:
    codec = statistics.get("audio_codec")
    if codec is None:
        yield "  sound   none agreed"
        return
    due = statistics["audio_received"] + statistics["audio_lost"]
    parts = [
        str(codec),
        *(("encrypted",) if "audio_srtp" in statistics else ()),
        *_rates("audio", statistics, was, seconds),
        f"lost {_percent(statistics['audio_lost'], due)}",
        f"jitter {statistics['audio_jitter_ms']:g} ms",
    ]
    if "audio_depth_ms" in statistics:
        concealed, played = statistics["audio_concealed_ms"], statistics["audio_played_ms"]
        parts.append(f"buffer {statistics['audio_depth_ms']} ms")
        parts.append(f"concealed {_percent(concealed, concealed + played)}")
    yield "  sound   " + ", ".join(parts)
    if "audio_mos" in statistics:
        worst = f", at worst {statistics['audio_mos_worst']:.1f}" if statistics["audio_mos_worst"] else ""
        yield f"  MOS     {statistics['audio_mos']:.1f}{worst} (of 4.4)"
    yield from _far_end("audio", statistics)


def _picture(statistics: Json, was: Json | None, seconds: float) -> str:
    parts = [*_rates("video", statistics, was, seconds), f"{statistics['video_keyframes']} keyframes"]
    if "video_bound_bps" in statistics:
        parts.append(f"{statistics['video_bound_bps'] // 1000} kbit/s wanted there")
    if statistics["video_resent"]:
        parts.append(f"{statistics['video_resent']} packets sent again")
    if "video_peer_lost" in statistics:
        parts.append(f"lost on the way {_percent(statistics['video_peer_lost'], statistics['video_sent'])}")
    return "  picture " + ", ".join(parts)


def _far_end(medium: str, statistics: Json) -> Iterator[str]:
    parts = []
    if f"{medium}_peer_lost" in statistics:
        lost, sent = statistics[f"{medium}_peer_lost"], statistics[f"{medium}_sent"]
        parts.append(f"lost {_percent(lost, sent)}, jitter {statistics[f'{medium}_peer_jitter_ms']:g} ms")
    if f"{medium}_round_trip_ms" in statistics:
        parts.append(f"round trip {statistics[f'{medium}_round_trip_ms']:g} ms")
    if parts:
        yield "  far end " + ", ".join(parts)


def _rates(medium: str, statistics: Json, was: Json | None, seconds: float) -> Iterator[str]:
    """What goes out and comes in, without headers; totals where there is nothing to take the difference from."""
    for direction, word in (("sent", "out"), ("received", "in")):
        octets = statistics[f"{medium}_{direction}_octets"]
        if was is not None and seconds > 0 and octets:
            yield f"{word} {8 * (octets - was[f'{medium}_{direction}_octets']) / seconds / 1000:.0f} kbit/s"
        elif octets:
            yield f"{word} {octets / 1000:.0f} kB"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"


def _plots(history: dict[str, Sequence[float]]) -> Iterator[str]:
    for name, title, low, high, unit in _PLOTTED:
        values = history.get(name, ())[-_WIDTH:]
        if values:
            top = max(*values, 1.0) if high is None else high
            yield f"  {title:<7} {sparkline(values, low, top)}  {values[-1]:g}{unit}"


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One letter a value, from the lowest bar at `low` to the highest at `high`."""
    steps = len(_BARS) - 1
    scale = steps / (high - low) if high > low else 0.0
    return "".join(_BARS[max(0, min(steps, round((value - low) * scale)))] for value in values)
