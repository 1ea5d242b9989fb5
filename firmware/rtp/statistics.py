"""What a leg reports of its streams: the few figures that explain a bad call to a technician."""

from dataclasses import asdict, dataclass

from .jitter import JitterBuffer
from .reception import Reception


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    """One media stream of a leg, both directions. Times in milliseconds; -1 where nothing is known."""

    packets_sent: int = 0
    octets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    packets_late: int = 0
    concealed_share: float = 0.0
    jitter_ms: float = 0.0
    depth_ms: float = 0.0
    round_trip_ms: float = -1.0
    peer_lost_share: float = -1.0  # what the peer's last report says of our stream

    def as_dict(self) -> dict[str, float | int]:
        return asdict(self)


def stream_statistics(
    *,
    packets_sent: int,
    octets_sent: int,
    reception: Reception | None,
    buffer: JitterBuffer | None = None,
    round_trip_s: float | None = None,
    peer_fraction_lost: int | None = None,
) -> StreamStatistics:
    """Gather a stream's figures; `peer_fraction_lost` is the 8-bit fraction of a report block."""
    return StreamStatistics(
        packets_sent=packets_sent,
        octets_sent=octets_sent,
        packets_received=reception.received if reception else 0,
        packets_lost=max(0, reception.lost) if reception else 0,
        packets_late=buffer.late if buffer else 0,
        concealed_share=round(buffer.concealed_share, 4) if buffer else 0.0,
        jitter_ms=round(reception.jitter_s * 1000, 1) if reception else 0.0,
        depth_ms=round(buffer.depth_s * 1000, 1) if buffer else 0.0,
        round_trip_ms=round(round_trip_s * 1000, 1) if round_trip_s is not None else -1.0,
        peer_lost_share=round(peer_fraction_lost / 256, 4) if peer_fraction_lost is not None else -1.0,
    )
