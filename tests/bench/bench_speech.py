"""Speech over bad networks, heard by the station, by baresip and by linphone on the same wire, and scored by PESQ.

espeak-ng says a few sentences; a phone of the bench sends them in one codec; the same packets arrive at all three
at the same moments, lost, late or out of order as the seed wants (`tests.support.lossy_wire`). What each lets
people hear is compared with what was said (ITU-T P.862, P.862.2 for wideband), and with when it was said:
delay is of the sound, from the sender's clock to the listener's speaker, as far as each one's recording tells it.
Coding itself costs some: the clean row is the most that can be had.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
import wave
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from firmware.media.codec import codec as make_codec
from firmware.media.resampler import Resampler
from firmware.rtp.packet import pack_rtp
from tests.bench.listeners import NAMES, RATE_HZ, Listener, listeners
from tests.bench.programs import scratch_folder
from tests.bench.report import Row, Skipped
from tests.support.lossy_wire import WIRES, Wire
from tests.support.sound import Sound

CODECS = ("PCMA", "G722", "opus")
SEEDS = (1,)
LEAD_S, TAIL_S = 3.0, 0.6  # silence round the speech: buffers settle, the last word is played
TEXT = (
    "Good evening, this is the parcel service. I have a large box for the second floor, and nobody opens. "
    "Could you please let me in, or shall I leave it with your neighbour? It is quite heavy, and it may rain soon. "
    "The lady from the ground floor says that she would take it until nine."
)
NEAR = 0.05  # what PESQ tells apart no better: scores this close are the same


@dataclass(frozen=True, slots=True)
class Score:
    mos: float
    delay_ms: float


def run() -> list[Row]:
    try:
        import numpy  # noqa: F401 - PESQ's, and ours for finding the speech
        import pesq  # noqa: F401
    except ImportError as missing:
        raise Skipped("PESQ is not installed: pip install -e .[bench]") from missing
    if shutil.which("espeak-ng") is None:
        raise Skipped("espeak-ng is not installed")
    chosen = os.environ.get("PORTERO_BENCH_CODECS", "").split() or CODECS
    wires = [wire for wire in WIRES if wire.name in os.environ.get("PORTERO_BENCH_WIRES", wire.name).split(",")]
    rows = []
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        said = speech(folder)
        for name in chosen:
            with ExitStack() as started:
                everybody = listeners(folder, name)
                for listener in everybody:
                    started.callback(listener.stop)
                for wire in wires:
                    rows += cell(everybody, name, wire, said)
    return rows


def cell(everybody: Sequence[Listener], name: str, wire: Wire, said: Sound) -> list[Row]:
    scores: dict[str, list[Score]] = {listener.name: [] for listener in everybody}
    for seed in SEEDS:
        for listener, score in play(everybody, name, wire, seed, said).items():
            scores[listener].append(score)
    mos = {listener: statistics.mean(score.mos for score in told) for listener, told in scores.items()}
    delay = {listener: statistics.mean(score.delay_ms for score in told) for listener, told in scores.items()}
    rows = []
    for listener in mos:
        if listener != "ours":
            ok = mos["ours"] >= mos[listener] - NEAR
            title = f"{name}, {wire.name}, beside {listener}"
            rows.append(Row(title, mos["ours"], mos[listener], mos["ours"] / mos[listener], "MOS", ">= peer", ok))
            rows.append(Row(f"{title}: delay", delay["ours"], delay[listener], unit="ms"))
    return rows


def play(everybody: Sequence[Listener], name: str, wire: Wire, seed: int, said: Sound) -> dict[str, Score]:
    packets = encoded(name, wire, said)
    talks = [(listener, listener.call()) for listener in everybody]
    time.sleep(0.5)
    start_s = time.monotonic() + 0.05
    for after_s, packet in wire.arrivals(packets, seed):
        wait_s = start_s + after_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        for listener, talk in talks:
            assert talk.rtp is not None
            listener.phone.rtp.sendto(packet, talk.rtp)
    time.sleep(0.3)
    for listener, talk in talks:
        listener.phone.hang_up(talk)
    time.sleep(0.2)
    told = {listener.name: judged(name, said, *listener.heard(), start_s + LEAD_S) for listener in everybody}
    scores = ", ".join(f"{who} {score.mos:.2f} {score.delay_ms:.0f} ms" for who, score in told.items())
    print(f"  {name}, {wire.name}: {scores}", file=sys.stderr, flush=True)
    return told


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


def encoded(name: str, wire: Wire, said: Sound) -> list[bytes]:
    """The call's packets: silence, the speech, silence."""
    import array

    coder = make_codec(name, in_band_fec=True)
    assert coder is not None
    if coder.expect_loss is not None:
        coder.expect_loss(wire.loss)  # as the receiver's reports would have it
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
