"""RTP port pairs on the loopback: pairing, ranges, the kernel's packet selection, no leaks."""

import os
import select
import socket
import struct
from collections.abc import Iterator

import pytest

from firmware.net import rtp_port
from firmware.net.rtp_port import RtpPort


@pytest.fixture(params=["127.0.0.1", "::1"])
def host(request: pytest.FixtureRequest) -> str:
    try:
        with socket.socket(socket.AF_INET6 if ":" in request.param else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((request.param, 0))
    except OSError:
        pytest.skip(f"no {request.param} on this machine")
    return str(request.param)


@pytest.fixture
def port(host: str) -> Iterator[RtpPort]:
    opened = RtpPort(host, control=True)
    yield opened
    opened.close()


def readable(*socks: socket.socket | None) -> list[socket.socket]:
    return select.select([sock for sock in socks if sock is not None], [], [], 5.0)[0]


def rtp(payload_type: int, *, marker: bool = False) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type | marker << 7, 1, 160, 7) + bytes(160)


def send(port: RtpPort, data: bytes) -> None:
    with socket.socket(port.media.family, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, port.media.getsockname())


def test_rtp_port_is_even_and_rtcp_is_the_odd_one_above(host: str) -> None:
    opened = [RtpPort(host) for _ in range(8)]
    try:
        for port in opened:
            assert port.port % 2 == 0
            assert port.rtcp.getsockname()[1] == port.port + 1
    finally:
        for port in opened:
            port.close()


@pytest.mark.parametrize("marker", [False, True])
def test_telephone_events_arrive_on_the_control_socket_and_audio_on_the_media_socket(
    port: RtpPort, marker: bool
) -> None:
    if port.control is None:
        pytest.skip("this kernel attaches no program")
    port.select_control([96, 101])
    for payload_type, expected in ((101, port.control), (96, port.control), (8, port.media), (100, port.media)):
        send(port, rtp(payload_type, marker=marker))
        assert readable(port.media, port.control) == [expected]
        assert expected.recv(2048)[1] & 0x7F == payload_type


def test_what_is_not_rtp_arrives_on_the_control_socket(port: RtpPort) -> None:
    if port.control is None:
        pytest.skip("this kernel attaches no program")
    for data in (b"\x00\x01" + bytes(18), b"\x16\xfe\xfd" + bytes(20)):  # STUN binding, DTLS handshake
        send(port, data)
        assert readable(port.media, port.control) == [port.control]
        port.control.recv(2048)


def test_selection_can_change_while_the_port_is_open(port: RtpPort) -> None:
    if port.control is None:
        pytest.skip("this kernel attaches no program")
    port.select_control([101])
    port.select_control([97])
    send(port, rtp(101))
    assert readable(port.media, port.control) == [port.media]
    send(port, rtp(97))
    assert port.control in readable(port.control)


def test_a_datagram_of_one_byte_harms_nothing(port: RtpPort) -> None:
    send(port, b"\x80")
    assert readable(port.media, port.control) == [port.media]


def test_without_the_kernels_selection_the_media_socket_receives_everything(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(rtp_port, "_attach", refuse)
    port = RtpPort(host, control=True)
    try:
        assert port.control is None
        port.select_control([101])
        for _ in range(8):  # not spread over a group by hash
            send(port, rtp(101))
            assert readable(port.media) == [port.media]
            port.media.recv(2048)
    finally:
        port.close()


def test_media_datagrams_carry_the_kernels_time_of_arrival(port: RtpPort) -> None:
    send(port, rtp(0))
    assert readable(port.media)
    _, ancillary, _, _ = port.media.recvmsg(2048, 64)
    assert [(level, kind) for level, kind, _ in ancillary] == [(socket.SOL_SOCKET, 35)]


def test_ports_come_from_the_range_and_its_exhaustion_is_named(host: str) -> None:
    probe = RtpPort(host)
    low = probe.port
    probe.close()
    held = RtpPort(host, ports=(low, low + 1), control=True)
    try:
        assert held.port == low
        with pytest.raises(OSError, match=f"{low}-{low + 1} on {host}"):
            RtpPort(host, ports=(low, low + 1), control=True)
    finally:
        held.close()


@pytest.mark.parametrize("ports", [(20001, 20001), (20000, 20000), (20001, 20002)])
def test_a_range_without_a_whole_pair_is_refused(ports: tuple[int, int]) -> None:
    with pytest.raises(OSError, match="no free pair"):
        RtpPort("127.0.0.1", ports=ports)


def test_a_host_that_is_not_ours_is_refused_with_its_name() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        RtpPort("192.0.2.1")
    with pytest.raises(OSError, match=r"door\.example"):
        RtpPort("door.example")


def test_packets_are_marked_for_the_network(port: RtpPort) -> None:
    level, option = (
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        if port.media.family == socket.AF_INET6
        else (socket.IPPROTO_IP, socket.IP_TOS)
    )
    assert port.media.getsockopt(level, option) == 46 << 2


def test_close_leaves_no_descriptor_open(host: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        RtpPort(host, control=True).close()
    with pytest.raises(OSError, match="no free pair"):
        RtpPort(host, ports=(20001, 20001))
    assert len(os.listdir("/proc/self/fd")) == before
