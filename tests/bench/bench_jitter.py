"""The jitter buffer on simulated networks beside the buffer measured in research, and what RTP costs per packet.

The networks are seeded and turn a virtual clock: their figures do not depend on the machine. Peer is the figure of
research/media.md 2.3.
"""

import math
from array import array

from firmware.rtp.concealment import Concealer
from firmware.rtp.h264 import Packetizer
from firmware.rtp.jitter import JitterBuffer
from firmware.rtp.packet import RtpPacket, pack_rtp, parse_rtp
from tests.bench.measure import rate
from tests.bench.report import Row, at_most
from tests.support.rtp_networks import THE_TABLE, average


def run() -> list[Row]:
    rows = []
    for network in THE_TABLE:
        outcome = average(network)
        delay_ms, gaps = outcome.delay_ms, 100 * outcome.gap_share
        table_ms, table_gaps = network.table_delay_ms, 100 * network.table_gap_share
        ratio = delay_ms / table_ms
        rows.append(Row(f"{network.name}: delay", delay_ms, table_ms, ratio, "ms", "<= 1 x", ratio <= 1))
        # That table has one decimal; so has the comparison.
        rows.append(
            Row(f"{network.name}: gaps", gaps, table_gaps, unit="%", bar="<= peer", ok=round(gaps, 1) <= table_gaps)
        )
    return rows + costs()


def costs() -> list[Row]:
    payload = bytes(160)
    wire = pack_rtp(0, False, 1, 2, 3, payload)
    buffer = JitterBuffer(8000)
    ticks = 0

    def put_and_pop() -> None:
        nonlocal ticks
        buffer.put(RtpPacket(0, False, ticks & 0xFFFF, ticks * 160 & 0xFFFFFFFF, 3, payload), ticks * 0.02)
        buffer.pop(ticks * 0.02 + 0.01)
        ticks += 1

    concealer = Concealer(8000)
    voice = array("h", [int(9000 * math.sin(2 * math.pi * 140 * n / 8000)) for n in range(160)]).tobytes()

    def lose_and_join() -> None:
        concealer.good(voice)
        concealer.lost(160)
        concealer.good(voice)

    unit = b"\x00\x00\x00\x01\x67\x42\xe0\x1f\x00\x00\x00\x01\x68\xce\x3c\x80\x00\x00\x00\x01\x65" + bytes(
        b"\x55\xaa" * 20_000
    )
    packetizer = Packetizer()
    return [
        Row("RTP packet read", 1e6 / rate(lambda: parse_rtp(wire), 0.2), unit="us"),
        Row("RTP packet written", 1e6 / rate(lambda: pack_rtp(0, False, 1, 2, 3, payload), 0.2), unit="us"),
        Row("jitter buffer, a packet in and a tick out", 1e6 / rate(put_and_pop, 0.3), unit="us"),
        at_most("a lost frame concealed and joined", 1e6 / rate(lose_and_join, 0.3), 300, "us"),
        Row("H.264 keyframe of 40 kB into packets", 1e6 / rate(lambda: packetizer.packets(unit), 0.2), unit="us"),
    ]


if __name__ == "__main__":
    from tests.bench.report import table

    print(table(run()))
