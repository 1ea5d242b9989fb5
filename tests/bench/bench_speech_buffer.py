"""Speech through the jitter buffer in virtual time, scored by PESQ: what a network does, the machine left out.

The networks of `bench_speech`, several seeds and phases of the tick each, through a leg's audio stream with its
buffer, decoder and concealment; no socket and no waiting, so that the figures are the same on every machine. Peer
is the codec on a clean network. Where nothing is lost the buffer is to bring it nearly there.
"""

import array
import statistics
from concurrent.futures import ProcessPoolExecutor

from firmware.media.audio import AudioStream
from firmware.net.rtp_port import RtpPort
from firmware.rtp.packet import parse_rtp
from tests.bench.bench_speech import CODECS, LEAD_S, Score, encoded, judged, needs, speech
from tests.bench.programs import scratch_folder
from tests.bench.report import Row
from tests.support.lossy_wire import PERIOD_S, WIRES, Wire
from tests.support.media import audio
from tests.support.sound import Sound

PHASES_S = (0.009, 0.003, 0.016, 0.012, 0.006)  # of the tick behind the packets, one a seed
CLEAN = WIRES[0]
NEAR = 0.15


def run() -> list[Row]:
    needs()
    with scratch_folder() as folder:
        said = speech(folder)
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for codec in CODECS:
            clean = heard(codec, CLEAN, 1, PHASES_S[0], said).mos
            for wire in WIRES[1:]:
                runs = [(codec, wire, seed, phase_s, said) for seed, phase_s in enumerate(PHASES_S, 1)]
                scores = list(pool.map(heard, *zip(*runs, strict=True)))
                mos = statistics.median(score.mos for score in scores)
                title = f"{codec}, {wire.name}, in virtual time"
                bar, ok = ("", None) if wire.loss else (f">= clean - {NEAR:g}", mos >= clean - NEAR)
                rows.append(Row(title, mos, clean, mos / clean, "MOS", bar, ok))
                rows.append(Row(f"{title}: delay", statistics.median(s.delay_ms for s in scores), unit="ms"))
    return rows


def heard(codec: str, wire: Wire, seed: int, phase_s: float, said: Sound) -> Score:
    packets = encoded(codec, wire.loss if codec == "opus" else 0.0, said)
    arrivals = wire.arrivals(packets, seed)
    stream = AudioStream(RtpPort("127.0.0.1", control=False), lambda event: None, lambda *digit: None, "bench")
    stream.connect(audio(4000, codec=codec, fmtp="useinbandfec=1"))
    stream.set_audio(talk=False, listen=True)
    buffer = stream._jitter
    assert buffer is not None
    frames, at, begin_s = [], 0, 1000.0
    for tick in range(len(packets) + 30):
        now_s = begin_s + tick * PERIOD_S + phase_s
        while at < len(arrivals) and begin_s + arrivals[at][0] <= now_s:
            buffer.put(parse_rtp(arrivals[at][1]), begin_s + arrivals[at][0])
            at += 1
        frames.append(stream.play(now_s) or bytes(stream.rate_hz // 25))
    stream.close()
    stream.port.close()
    played = Sound(stream.rate_hz, array.array("h", b"".join(frames)))
    return judged(codec, said, played, begin_s + phase_s, begin_s + LEAD_S)


if __name__ == "__main__":
    from tests.bench.report import table

    print(table(run()))
