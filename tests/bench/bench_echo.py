"""Echo cancellers at a simulated street door: WebRTC's beside Speex's, each on the same half minute of sound.

`taken away` is the echo's loss while the far end talks alone, from 2 s on; `visitor` what becomes of the visitor's
level while both talk (0: nothing). Without a canceller both are 0 by definition, which is checked. CPU is of the
canceller alone, and then of the station's whole process in a call beside baresip's, which cancels nothing.
"""

import itertools

from tests.bench.bench_call_cpu import measured_calls
from tests.bench.measure import interleaved
from tests.bench.report import Row, Skipped, at_most

PLAIN_DB, VISITOR_DB = 25.0, -8.0
FRAMES_PER_S = 50
CALLS = 3


def run() -> list[Row]:
    try:
        import numpy  # noqa: F401

        from firmware.media.canceller import SpeexCanceller, WebrtcCanceller
        from tests.support import echo_room

        WebrtcCanceller(echo_room.RATE_HZ)
        SpeexCanceller(echo_room.RATE_HZ)
    except Exception as error:
        raise Skipped(f"a canceller is not installed: {error}") from error
    rows = []
    for scenario in echo_room.SCENARIOS:
        ours = echo_room.run(scenario, WebrtcCanceller(echo_room.RATE_HZ).process)
        peer = echo_room.run(scenario, SpeexCanceller(echo_room.RATE_HZ).process)
        bar = f">= {PLAIN_DB:g}" if scenario.plain else ""
        ok = ours.erle >= PLAIN_DB if scenario.plain else None
        name = f"echo, {scenario.name}"
        rows.append(Row(f"{name}: taken away", ours.erle, peer.erle, unit="dB", bar=bar, ok=ok))
        rows.append(Row(f"{name}: in the first 2 s", ours.erle_first, peer.erle_first, unit="dB"))
        kept = ours.near_both >= VISITOR_DB if scenario.plain else None
        bar = f">= {VISITOR_DB:g}" if scenario.plain else ""
        rows.append(Row(f"{name}: visitor", ours.near_both, peer.near_both, unit="dB", bar=bar, ok=kept))
    none = echo_room.run(echo_room.SCENARIOS[0], lambda captured, _: captured)
    rows.append(at_most("echo, no canceller: taken away", abs(none.erle), 0.5, "dB"))
    webrtc, speex = WebrtcCanceller(echo_room.RATE_HZ), SpeexCanceller(echo_room.RATE_HZ)
    sound = itertools.cycle(zip(*echo_room.frames(echo_room.SCENARIOS[0], seconds=10), strict=True))
    ours_per_s, peer_per_s, ratio = interleaved(
        lambda: webrtc.process(*next(sound)), lambda: speex.process(*next(sound)), rounds=7
    )
    name = "echo canceller alone, CPU, webrtc beside speex"
    rows.append(Row(name, 1000 * FRAMES_PER_S / ours_per_s, 1000 * FRAMES_PER_S / peer_per_s, 1 / ratio, "ms/s"))
    for canceller in ("webrtc", "speex", "none"):
        ours_ms, peer_ms, ratio = measured_calls(canceller, CALLS)
        rows.append(
            Row(f"PCMU call with canceller {canceller}, CPU beside baresip's", ours_ms, peer_ms, ratio, "ms/s")
        )
    return rows
