"""Real descriptions, damaged: the reader and the offer/answer machine raise SdpError and nothing else."""

from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.sdp.description import MAX_BYTES, SessionDescription
from firmware.sdp.errors import SdpError
from firmware.sdp.offer_answer import Agreement, LocalMedia, OfferAnswer, State
from tests.support.sdp_samples import ALL, MONITOR

SUITE = Path(__file__).parents[4] / "shared" / "suites" / "webrtc-sdp"
SAMPLES = [*ALL, *(file.read_bytes() for file in sorted(SUITE.glob("*.sdp"))[::8])]
LOCAL = LocalMedia("192.0.2.1", 4000, 4002, srtp="optional")

# What breaks readers: signs, huge and foreign digits, control characters, half a character, empty values.
DIRT = [
    b"",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b":",
    b"/",
    b" ",
    b";",
    b"=",
    b"-1",
    b"0",
    b"65536",
    b"99999999999999999999999999",
    b"1e9",
    b"0x1f",
    b"\xc2\xb2",  # superscript two: isdigit() and not int()
    b"\xd9\xa3",  # Arabic three: int() takes it
    b"\xff\xfe",
    b"\xf0\x9f",
    b"\xe2\x80\xa8",
    b"m=video 9 RTP/AVP 96\r\n",
    b"m=audio 9 RTP/AVP 8 101\n",
    b"c=IN IP6 fe80::1%eth0\r\n",
    b"c=IN IP4 0.0.0.0\r\n",
    b"a=rtpmap:96 H264/90000\r\n",
    b"a=rtpmap:101 telephone-event/8000\r\n",
    b"a=fmtp:96 profile-level-id=\xd9\xa3\xd9\xa32e01f;packetization-mode=\xd9\xa3\r\n",
    b"a=rtcp:1 IN IP4 \r\n",
    b"a=ptime:\xc2\xb2\r\n",
]


def mutated(sample: bytes, program: bytes) -> bytes:
    """Run a program of four-byte steps over the sample: operation, place (two bytes), argument."""
    data = bytearray(sample)
    for step in _steps(program):
        operation, at, argument = step[0] % 6, int.from_bytes(step[1:3]) % (len(data) + 1), step[3]
        if operation == 0:
            data[at : at + 1] = bytes([argument])
        elif operation == 1:
            del data[at : at + argument]
        elif operation == 2:
            data[at:at] = DIRT[argument % len(DIRT)]
        elif operation == 3:  # the value from here to the end of its word becomes dirt
            end = next((i for i in range(at, len(data)) if data[i] in b" \r\n/:;="), len(data))
            data[at:end] = DIRT[argument % len(DIRT)]
        elif operation == 4:
            lines = bytes(data).split(b"\r\n")
            lines.insert(argument % len(lines), lines[at % len(lines)])
            data = bytearray(b"\r\n".join(lines))
        else:
            lines = bytes(data).split(b"\r\n")
            del lines[at % len(lines)]
            data = bytearray(b"\r\n".join(lines))
    return bytes(data)


def _steps(program: bytes) -> Iterator[bytes]:
    for start in range(0, len(program) - 3, 4):
        yield program[start : start + 4]


def check_agreement(agreement: Agreement) -> None:
    for stream in (agreement.audio, agreement.video):
        if stream is not None:
            assert 0 < stream.remote_rtp_port <= 65535
            assert 0 < stream.remote_rtcp_port <= 65535
            assert 10 <= stream.ptime_ms <= 60
            assert stream.codec.clock_hz > 0
            assert 0 <= stream.codec.payload_type <= 127
            assert stream.packetization_mode in (0, 1)
            assert stream.remote_host
            assert stream.remote_host not in ("0.0.0.0", "::") or not stream.sends


@settings(max_examples=7_500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SAMPLES), st.binary(min_size=4, max_size=32))
def test_a_damaged_offer_is_answered_line_by_line_or_refused(sample: bytes, program: bytes) -> None:
    offer = mutated(sample, program)
    machine = OfferAnswer(7, random=bytes)
    try:
        machine.receive_offer(offer)
        data, agreement = machine.create_answer(LOCAL)
    except SdpError:
        assert machine.state is State.STABLE
        assert machine.agreement is None
        return
    check_agreement(agreement)
    read, answer = SessionDescription.parse(offer), SessionDescription.parse(data)
    assert [media.kind for media in answer.media] == [media.kind for media in read.media]
    assert data.isascii()
    assert len(data) < len(offer) + 1_000


@settings(max_examples=7_500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(SAMPLES), st.binary(min_size=4, max_size=32))
def test_a_damaged_answer_is_an_agreement_or_refused(sample: bytes, program: bytes) -> None:
    machine = OfferAnswer(7, random=bytes)
    machine.create_offer(LOCAL)
    try:
        agreement = machine.receive_answer(mutated(sample, program))
    except SdpError:
        assert machine.state is State.LOCAL_OFFER
        return
    check_agreement(agreement)
    assert machine.state is State.STABLE
    machine.create_offer(LOCAL)  # and the session can go on


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=2_000))
def test_bytes_that_are_no_description_are_refused(data: bytes) -> None:
    try:
        SessionDescription.parse(data)
    except SdpError:
        return
    assert b"v=" in data


def test_the_longest_lines_and_lists_are_read_in_bounded_time() -> None:
    """Quadratic readers show themselves here by never coming back."""
    start = b"v=0\r\nc=IN IP4 192.0.2.9\r\n"
    room = MAX_BYTES - 200
    for filler in (
        b"m=audio 4 RTP/AVP" + b" 96" * (room // 3),
        b"m=audio 4 RTP/AVP" + b" " * room + b"\x80",
        b"m=audio 4 RTP/AVP 96\r\na=rtpmap:96 " + b" " * room,
        b"m=video 4 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 " + b";=" * (room // 2),
        b"m=audio 4 RTP/AVP 96\r\n" + b"a=fmtp:96 a\r\n" * 1_900,
        b"c=IN IP4 " + b"[" * room,
    ):
        machine = OfferAnswer(7, random=bytes)
        try:
            machine.receive_offer(start + filler)
            machine.create_answer(LOCAL)
        except SdpError:
            continue


def test_the_mutator_does_what_its_steps_say() -> None:
    assert mutated(MONITOR, bytes([0, 0, 0, 0x76])) == MONITOR
    assert mutated(MONITOR, bytes([1, 0, 0, 255])) == MONITOR[255:]
    assert mutated(MONITOR, bytes([5, 0, 0, 0])) == MONITOR.partition(b"\r\n")[2]
