"""Keys as sound: an hour of speech in which there is none, and what listening costs, beside libspandsp.

The hour is espeak-ng's: eight languages, fifteen voices, high and low, fast and slow, loud and quiet, by A-law.
"""

import time

from firmware.media.dtmf import Detector
from tests.bench.measure import interleaved
from tests.bench.report import Row, Skipped
from tests.support import spandsp
from tests.support.speech import missing, speech

HOUR_S = 3600
FRAME_BYTES = 320


def run() -> list[Row]:
    if reason := missing() or spandsp.missing():
        raise Skipped(reason)
    ours, peer = Detector(), spandsp.Receiver()
    ours_keys = peer_keys = 0
    seconds = ours_s = peer_s = 0.0
    last = b""
    for said in speech(HOUR_S):
        last = said
        seconds += len(said) / 16_000
        frames = [said[at : at + FRAME_BYTES] for at in range(0, len(said), FRAME_BYTES)]
        started = time.process_time()
        for frame in frames:
            ours_keys += len(ours.feed(frame))
        between = time.process_time()
        for frame in frames:
            peer_keys += len(peer.feed(frame))
        ours_s += between - started
        peer_s += time.process_time() - between
    rows = [
        Row("false keys in an hour of speech", ours_keys, peer_keys, bar="none", ok=ours_keys == 0),
        Row("listening, a second of speech", 1e3 * ours_s / seconds, 1e3 * peer_s / seconds, ours_s / peer_s, "ms"),
    ]
    loudest = max((last[at : at + FRAME_BYTES] for at in range(0, len(last) - FRAME_BYTES, FRAME_BYTES)), key=sum)
    rate, peer_rate, ratio = interleaved(lambda: ours.feed(loudest), lambda: peer.feed(loudest))
    peer.close()
    rows.append(Row("listening, a frame of 20 ms", 1e6 / rate, 1e6 / peer_rate, 1 / ratio, "us"))
    return rows
