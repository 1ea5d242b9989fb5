"""Speech over bad networks, heard by the station, by baresip and by linphone on the same wire, and scored by PESQ.

espeak-ng says a few sentences; phones of the bench send them, one in each codec; the same packets arrive at all
three programs at the same moments, lost, late or out of order as the seed wants (`tests.support.lossy_wire`). What
each lets people hear is compared with what was said (ITU-T P.862, P.862.2 for wideband), and with when it was said:
delay is of the sound, from the sender's clock to the listener's speaker, as far as each one's recording tells it.
Coding itself costs some: the clean row is the most that can be had.

A machine that stalls spoils now one's sound, now another's. So every network is played in several rounds, each
with a seed of its own and all networks in turn; a row is the medians, its mark the median of what the rounds put
between the two. A round in which the packets themselves left late, the host took a processor away (where that can
be told: tests/bench/host.py), or somebody recorded too little, is played again; of the tries, the one that was
disturbed least counts, whoever did better in it.
PORTERO_BENCH_CODECS, PORTERO_BENCH_WIRES (separated by commas) and PORTERO_BENCH_ROUNDS choose less or more.
"""

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from firmware.media.codec import codec as make_codec
from firmware.media.resampler import Resampler
from firmware.rtp.packet import pack_rtp
from tests.bench.host import Host
from tests.bench.listeners import NAMES, RATE_HZ, Listener, listeners
from tests.bench.programs import scratch_folder
from tests.bench.report import Row, Skipped
from tests.support.lossy_wire import WIRES, Wire
from tests.support.sound import Sound

CODECS = ("PCMA", "G722", "opus")
ROUNDS = 3
LEAD_S, TAIL_S = 3.0, 0.6  # silence round the speech: buffers settle, the last word is played
TEXT = (
    "Good evening, this is the parcel service. I have a large box for the second floor, and nobody opens. "
    "Could you please let me in, or shall I leave it with your neighbour? It is quite heavy, and it may rain soon. "
    "The lady from the ground floor says that she would take it until nine."
)
NEAR = 0.05  # what PESQ tells apart no better: scores this close are the same
TRIES = 4
LATE_S = 0.01  # a packet that left so late, a processor that was away so long: not what the network was to do


@dataclass(frozen=True, slots=True)
class Score:
    mos: float
    delay_ms: float


@dataclass(frozen=True, slots=True)
class Party:
    """One listener that hears one codec."""

    codec: str
    listener: Listener


Scores = dict[tuple[str, str, str], list[Score]]  # by codec, network, listener
Packets = dict[tuple[str, str], list[bytes]]  # by codec, network
Recordings = dict[Party, tuple[Sound, float]]


def run() -> list[Row]:
    needs()
    codecs = _chosen("CODECS") or CODECS
    networks = _chosen("WIRES")
    wires = [wire for wire in WIRES if not networks or wire.name in networks]
    rounds = int(os.environ.get("PORTERO_BENCH_ROUNDS", ROUNDS))
    scores: Scores = {}
    packets: Packets = {}
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        parties = []
        for name in codecs:
            for listener in listeners(folder, name):
                stack.callback(listener.stop)
                parties.append(Party(name, listener))
        host = Host(stack)
        judges = stack.enter_context(ProcessPoolExecutor(2, multiprocessing.get_context("spawn")))
        said = speech(folder)
        for name in codecs:
            for wire in wires:
                expected = wire.loss if name == "opus" else 0.0
                packets[name, wire.name] = encoded(name, expected, said)
        for seed in range(1, rounds + 1):
            for wire in wires:
                for party, score in play(parties, wire, seed, said, packets, judges, host).items():
                    scores.setdefault((party.codec, wire.name, party.listener.name), []).append(score)
    return [row for name in codecs for wire in wires for row in cell(scores, name, wire.name)]


def needs() -> None:
    """Skipped where PESQ or the voice is not installed."""
    try:
        import numpy  # noqa: F401 - PESQ's, and ours for finding the speech
        import pesq  # noqa: F401
    except ImportError as missing:
        raise Skipped("PESQ is not installed: pip install -e .[bench]") from missing
    if shutil.which("espeak-ng") is None:
        raise Skipped("espeak-ng is not installed")


def _chosen(what: str) -> list[str]:
    return [name for name in os.environ.get(f"PORTERO_BENCH_{what}", "").split(",") if name]


def cell(scores: Scores, codec: str, wire: str) -> list[Row]:
    ours = scores[codec, wire, "ours"]
    mos = statistics.median(score.mos for score in ours)
    delay_ms = statistics.median(score.delay_ms for score in ours)
    rows = []
    for listener in ("baresip", "linphone"):
        theirs = scores[codec, wire, listener]
        peer = statistics.median(score.mos for score in theirs)
        ahead = statistics.median(a.mos - b.mos for a, b in zip(ours, theirs, strict=True))
        title = f"{codec}, {wire}, beside {listener}"
        rows.append(Row(title, mos, peer, mos / peer, "MOS", f">= peer - {NEAR:g}", ahead >= -NEAR))
        peer_ms = statistics.median(score.delay_ms for score in theirs)
        rows.append(Row(f"{title}: delay", delay_ms, peer_ms, unit="ms"))
    return rows


def play(
    parties: Sequence[Party], wire: Wire, seed: int, said: Sound, packets: Packets, judges: Executor, host: Host
) -> dict[Party, Score]:
    """One round of one network, for all at once."""
    told: dict[Party, Score] = {}
    least_s = float("inf")
    for _ in range(TRIES):
        start_s, late_s, heard = _played(parties, wire, seed, packets)
        disturbed_s = max(late_s, host.longest_s((start_s, start_s + LEAD_S + said.seconds + TAIL_S)))
        if disturbed_s >= least_s:
            continue
        verdicts = {
            party: judges.submit(judged, party.codec, said, *heard[party], start_s + LEAD_S) for party in parties
        }
        try:
            told = {party: verdict.result() for party, verdict in verdicts.items()}
        except AssertionError as unusable:
            print(f"  {wire.name}, round {seed}: {unusable}", file=sys.stderr, flush=True)
            continue
        least_s = disturbed_s
        if least_s <= LATE_S:
            break
    if not told:
        raise AssertionError(f"{wire.name}: nothing usable was recorded in {TRIES} tries")
    for name in dict.fromkeys(party.codec for party in parties):
        line = ", ".join(
            f"{party.listener.name} {score.mos:.2f} {score.delay_ms:.0f} ms"
            for party, score in told.items()
            if party.codec == name
        )
        late = f"stopped for {1000 * least_s:.0f} ms at most"
        print(f"  {name}, {wire.name}, round {seed}: {line}; {late}", file=sys.stderr, flush=True)
    return told


def _played(parties: Sequence[Party], wire: Wire, seed: int, packets: Packets) -> tuple[float, float, Recordings]:
    """When the first packet was due, how much too late packets left at worst, and what was heard."""
    with ThreadPoolExecutor(len(parties)) as callers:
        talks = list(callers.map(lambda party: party.listener.call(), parties))
    time.sleep(0.5)
    arrivals = {party.codec: wire.arrivals(packets[party.codec, wire.name], seed) for party in parties}
    # The packets' number decides what becomes of them: each codec's arrive at the same moments.
    moments = [after_s for after_s, _ in next(iter(arrivals.values()))]
    start_s, late_s = time.monotonic() + 0.05, 0.0
    for index, after_s in enumerate(moments):
        wait_s = start_s + after_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        for party, talk in zip(parties, talks, strict=True):
            assert talk.rtp is not None
            party.listener.phone.rtp.sendto(arrivals[party.codec][index][1], talk.rtp)
        late_s = max(late_s, time.monotonic() - start_s - after_s)
    time.sleep(0.3)
    for party, talk in zip(parties, talks, strict=True):
        party.listener.phone.hang_up(talk)
    time.sleep(0.2)
    return start_s, late_s, {party: party.listener.heard() for party in parties}


def judged(name: str, said: Sound, heard: Sound, played_s: float, said_s: float) -> Score:
    """`played_s` and `said_s`: when the first samples of `heard` and of `said` were played and sent."""
    import numpy as np
    from pesq import pesq

    narrow = name.startswith("PCM")
    rate_hz = 8000 if narrow else 16_000
    reference, record = _at(said, rate_hz), _at(heard, rate_hz)
    first = int(max(0.0, said_s - played_s - 0.2) * rate_hz)
    window = record[first : first + len(reference) + rate_hz]
    # Where the speech is: envelopes first, which neither concealment nor a codec shifts.
    step = rate_hz // 1000
    shapes = [
        np.abs(x[: len(x) // step * step]).reshape(-1, step).mean(axis=1).astype(np.float64)
        for x in (window, reference)
    ]
    a, b = (shape - shape.mean() for shape in shapes)
    likeness = np.correlate(a, b, "valid") if len(a) >= len(b) else np.zeros(1)
    late = int(likeness.argmax()) * step
    delay_s = played_s + (first + late) / rate_hz - said_s
    found = window[late : late + len(reference)]
    if len(found) < len(reference) / 2:
        raise AssertionError(
            f"{len(heard.samples) / heard.rate_hz:.1f} s were recorded, of {said.seconds:.1f} s said"
        )
    return Score(float(pesq(rate_hz, reference, found, "nb" if narrow else "wb")), 1000 * delay_s)


def _at(sound: Sound, rate_hz: int):  # type: ignore[no-untyped-def]
    import array

    import numpy as np

    data = array.array("h", sound.samples).tobytes()
    size = sound.rate_hz // 50 * 2
    rates = Resampler(sound.rate_hz, rate_hz)
    made = b"".join(rates.convert(data[at : at + size]) for at in range(0, len(data) - size + 1, size))
    return np.frombuffer(made, dtype=np.int16)


def encoded(name: str, loss: float, said: Sound) -> list[bytes]:
    """The call's packets: silence, the speech, silence. `loss`: what the sender knows of it."""
    import array

    coder = make_codec(name, in_band_fec=True)
    assert coder is not None
    if coder.expect_loss is not None:
        coder.expect_loss(loss)
    rates = Resampler(RATE_HZ, coder.rate_hz)
    data = array.array("h", said.samples).tobytes()
    lead, tail = (bytes(int(seconds * RATE_HZ) * 2) for seconds in (LEAD_S, TAIL_S))
    data = lead + data + tail
    size = RATE_HZ // 50 * 2
    number = int(NAMES[name].split()[0])
    step = coder.clock_hz // 50
    packets = []
    for index in range(len(data) // size):
        payload = coder.encode(rates.convert(data[index * size : (index + 1) * size]))
        packets.append(pack_rtp(number, index == 0, 1000 + index, 4000 + index * step, 0x5EED, payload))
    return packets


def speech(folder: Path) -> Sound:
    """The sentences at 16 kHz, as loud as people talk at a telephone."""
    import array

    file = folder / "said.wav"
    subprocess.run(["espeak-ng", "-v", "en", "-s", "150", "-a", "60", "-w", str(file), TEXT], check=True)
    with wave.open(str(file)) as wav:
        rate_hz, data = wav.getframerate(), wav.readframes(wav.getnframes())
    size = rate_hz // 50 * 2
    rates = Resampler(rate_hz, RATE_HZ)
    made = b"".join(rates.convert(data[at : at + size]) for at in range(0, len(data) - size + 1, size))
    return Sound(RATE_HZ, array.array("h", made))


if __name__ == "__main__":
    from tests.bench.report import table

    print(table(run()))
