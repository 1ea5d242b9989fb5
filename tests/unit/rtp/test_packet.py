"""RTP headers: written as RFC 3550 section 5.1 says, read as others write them."""

from pathlib import Path

import pytest

from firmware.rtp.packet import RtpError, RtpPacket, is_rtcp, pack_rtp, parse_rtp


@pytest.mark.parametrize("name", ["rtp.bin", "rtp_dtmf.bin"])
def test_recorded_packets_are_written_byte_for_byte_as_read(samples: Path, name: str) -> None:
    data = (samples / name).read_bytes()
    assert pack_rtp(*parse_rtp(data)) == data


def test_a_recorded_audio_packet_is_read(samples: Path) -> None:
    packet = parse_rtp((samples / "rtp.bin").read_bytes())
    assert packet == RtpPacket(0, False, 15743, 3937035252, 4028317929, b"\xff" * 160)


def test_a_recorded_telephone_event_is_read(samples: Path) -> None:
    packet = parse_rtp((samples / "rtp_dtmf.bin").read_bytes())
    assert (packet.payload_type, packet.marker, packet.sequence) == (101, True, 24152)
    assert packet.payload == b"\x01\x8a\x03\xc0"


def test_recorded_csrcs_extensions_and_padding_are_passed_over(samples: Path) -> None:
    data = (samples / "rtp_with_csrc.bin").read_bytes()
    assert parse_rtp(data).payload == data[20:]
    data = (samples / "rtp_with_sdes_mid.bin").read_bytes()
    assert parse_rtp(data).payload == data[20:]
    assert parse_rtp((samples / "rtp_only_padding.bin").read_bytes()).payload == b""
    assert parse_rtp((samples / "rtp_only_padding_with_header_extensions.bin").read_bytes()).payload == b""


def test_sequence_and_timestamp_wrap_when_written() -> None:
    packet = parse_rtp(pack_rtp(8, True, 65536 + 3, 2**32 + 5, 9, b"x"))
    assert packet == RtpPacket(8, True, 3, 5, 9, b"x")


def test_extension_csrc_and_padding_together_leave_the_payload() -> None:
    plain = pack_rtp(8, False, 1, 2, 3, b"")
    header = bytes((0x80 | 0x20 | 0x10 | 2,)) + plain[1:]
    data = header + b"CSR1CSR2" + b"\xbe\xde\x00\x01EXT1" + b"payload" + b"\x00\x00\x03"
    assert parse_rtp(data).payload == b"payload"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80" * 11,
        b"\x40" + bytes(20),  # version 1: STUN looks like it
        b"\x00\x01" + bytes(18),  # STUN
        b"\x8f" + bytes(40),  # 15 CSRCs in 28 bytes
        b"\x90" + bytes(13),  # extension header cut
        b"\x90" + bytes(13) + b"\x00\x09" + bytes(8),  # extension longer than the packet
        b"\xa0" + bytes(11) + b"\x00",  # padding of nothing
        b"\xa0" + bytes(11) + b"\x02",  # padding over the header
    ],
)
def test_what_does_not_add_up_is_an_rtp_error(data: bytes) -> None:
    with pytest.raises(RtpError):
        parse_rtp(data)


def test_rtcp_is_told_from_rtp_by_its_second_byte() -> None:
    assert is_rtcp(b"\x81\xc8\x00\x06")
    assert is_rtcp(b"\x81\xce\x00\x02")
    assert not is_rtcp(pack_rtp(0, True, 1, 2, 3, b""))
    assert not is_rtcp(pack_rtp(101, True, 1, 2, 3, b""))
    assert not is_rtcp(b"\x80")
