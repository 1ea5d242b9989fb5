"""One audio stream against a bare peer on the loopback, the tick turned by hand."""

import audioop
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.media.audio import LOST_AFTER_S, AudioStream
from firmware.media.codec import G711, NARROWBAND_HZ, frame_bytes, usable
from firmware.media.dtmf import Detector, keys_as_tone
from firmware.media.events import MediaEvent, MediaLost, RtpStarted, SoundHeard
from firmware.media.latch import FOREIGN_PACKETS
from firmware.media.tones import TonePlayer, tone
from firmware.net.rtp_port import RtpPort
from firmware.rtp.opus import duration
from firmware.rtp.packet import RtpPacket, pack_rtp
from firmware.rtp.rtcp import Bye, ReceiverReport, SenderReport, pack_rtcp, parse_rtcp
from tests.support.media import Peer, audio, heard, tone_frames
from tests.support.sound import level_db, longest_gap_ms

ULAW = G711["PCMU"]
SILENCE = bytes(frame_bytes(NARROWBAND_HZ))
EVENT_5 = bytes((5, 10, 0, 160))
EVENT_6 = bytes((6, 10, 0, 160))


class Bench:
    """A stream, what it told, and the tick's clock."""

    def __init__(self, *, listens_for_keys: bool = True) -> None:
        self.events: list[MediaEvent] = []
        self.digits: list[str] = []
        self.stream = AudioStream(
            RtpPort("127.0.0.1", control=True),
            self.events.append,
            lambda digit, way, _: self.digits.append(digit if way == "rtp" else f"{way} {digit}"),
            "cname",
            listens_for_keys=listens_for_keys,
        )
        self.port = self.stream.port.port
        self.now = time.monotonic()

    def read(self, packets: int = 1) -> None:
        for _ in range(packets):
            self.stream.read_media(self.now, time.time() - self.now)

    def count(self, name: str) -> object:
        return self.stream.statistics()[f"audio_{name}"]

    def tick(self, microphone: bytes = SILENCE, *, packets: int = 1) -> bytes | None:
        self.now += 0.02
        self.read(packets)
        played = self.stream.play(self.now)
        self.stream.send(microphone, {}, self.now)
        return played


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.stream.close()


@pytest.fixture
def phone() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def stranger() -> Iterator[Peer]:
    peer = Peer("127.0.0.9", ssrc=0xBAD)
    yield peer
    peer.close()


def test_the_microphone_arrives_coded_with_running_numbers(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=True, listen=True)
    frames = tone_frames(700, 5)
    for frame in frames:
        bench.tick(frame)
    packets = phone.waiting()
    assert [packet.payload for packet in packets] == [ULAW.encode(frame) for frame in frames]
    first = packets[0]
    for number, packet in enumerate(packets):
        assert packet.sequence == (first.sequence + number) & 0xFFFF
        assert packet.timestamp == (first.timestamp + 160 * number) & 0xFFFFFFFF
        assert packet.ssrc == first.ssrc
        assert packet.payload_type == 0
        assert packet.marker == (number == 0)
    assert [event for event in bench.events if isinstance(event, RtpStarted)] == [
        RtpStarted("audio", "sent", bench.events[0].at_s)  # type: ignore[union-attr]
    ]


@pytest.mark.parametrize(("ptime_ms", "frames"), [(10, 1), (20, 1), (30, 1), (40, 2), (60, 3)])
def test_packets_are_as_long_as_the_peer_asks_in_whole_ticks(
    bench: Bench, phone: Peer, ptime_ms: int, frames: int
) -> None:
    bench.stream.connect(replace(audio(phone.port), ptime_ms=ptime_ms))
    bench.stream.set_audio(talk=True, listen=True)
    said = tone_frames(700, 7)
    for frame in said:
        bench.tick(frame)
    packets = phone.waiting()
    assert len(packets) == 7 // frames
    whole = b"".join(packet.payload for packet in packets)
    assert whole == ULAW.encode(b"".join(said))[: len(whole)]
    for number, packet in enumerate(packets):
        assert len(packet.payload) == 160 * frames
        assert packet.timestamp == (packets[0].timestamp + 160 * frames * number) & 0xFFFFFFFF
        assert packet.marker == (number == 0)


def test_a_key_within_a_long_packet_goes_out_at_once_and_sound_goes_on_after_it(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(replace(audio(phone.port), ptime_ms=60))
    bench.stream.set_audio(talk=True, listen=True)
    bench.tick()
    bench.stream.press("5")
    bench.tick()
    first = phone.receive()
    assert (first.payload_type, first.payload[0]) == (101, 5)
    while bench.stream._presses.active:
        bench.tick()
    phone.waiting()
    for _ in range(3):
        bench.tick()
    (sound,) = phone.waiting()
    assert (sound.payload_type, len(sound.payload)) == (0, 480)


def test_a_long_packet_of_opus_is_one_frame_of_it(bench: Bench, phone: Peer) -> None:
    if "opus" not in usable(("opus",)):
        pytest.skip("libopus is not installed")
    bench.stream.connect(replace(audio(phone.port, codec="opus"), ptime_ms=40))
    bench.stream.set_audio(talk=True, listen=True)
    for frame in tone_frames(700, 6, rate_hz=16_000):
        bench.tick(frame)
    packets = phone.waiting()
    assert [duration(packet.payload) for packet in packets] == [1920] * 3
    assert packets[1].timestamp == (packets[0].timestamp + 1920) & 0xFFFFFFFF


def test_nothing_is_sent_before_an_agreement(bench: Bench) -> None:
    bench.stream.set_audio(talk=True, listen=True)
    bench.tick()
    assert bench.stream.statistics()["audio_sent"] == 0


def test_a_leg_that_may_not_hear_the_visitor_gets_silence(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, codec="PCMA"))
    bench.tick(tone_frames(700, 1)[0])
    assert phone.receive().payload == G711["PCMA"].silence


def test_a_tone_arrives_at_its_level_and_without_gaps(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=False, listen=True)
    played = []
    for frame in tone_frames(1000, 150):
        phone.send(bench.port, ULAW.encode(frame))
        played.append(bench.tick() or SILENCE)
    sound = heard(played[10:])
    assert level_db(sound, 1000) == pytest.approx(-12.04, abs=0.5)
    assert longest_gap_ms(sound) == 0


@pytest.mark.parametrize("listen", [True, False])
def test_the_first_sound_that_is_not_silence_is_told_once_whether_or_not_it_is_played(
    bench: Bench, phone: Peer, listen: bool
) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=False, listen=listen)
    for _ in range(20):
        phone.send(bench.port, ULAW.silence)
        bench.tick()
    assert not [event for event in bench.events if isinstance(event, SoundHeard)]
    for frame in tone_frames(425, 20):
        phone.send(bench.port, ULAW.encode(frame))
        bench.tick()
    assert len([event for event in bench.events if isinstance(event, SoundHeard)]) == 1


def test_packets_of_thirty_milliseconds_play_as_well(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=False, listen=True)
    coded = ULAW.encode(b"".join(tone_frames(1000, 150)))
    played = []
    for number in range(100):
        for _ in range(2 if number % 2 == 0 else 1):  # three times 20 ms are two times 30 ms
            if len(coded) >= 240 and number * 160 >= phone.timestamp:
                phone.send(bench.port, coded[:240])
                phone.timestamp += 80
                coded = coded[240:]
        played.append(bench.tick(packets=2) or SILENCE)
    sound = heard(played[15:])
    assert level_db(sound, 1000) == pytest.approx(-12.04, abs=0.5)


def test_a_leg_that_is_not_listened_to_is_not_heard(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    for frame in tone_frames(1000, 10):
        phone.send(bench.port, ULAW.encode(frame))
        assert bench.tick() is None


def test_the_other_g711_is_understood_though_not_agreed(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, codec="PCMU"))
    bench.stream.set_audio(talk=False, listen=True)
    played = []
    for frame in tone_frames(1000, 50):
        phone.send(bench.port, G711["PCMA"].encode(frame), payload_type=8)
        played.append(bench.tick() or SILENCE)
    assert level_db(heard(played[10:]), 1000) == pytest.approx(-12.04, abs=0.5)


def test_a_change_of_codec_is_not_heard_as_noise(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, codec="PCMU"))
    bench.stream.set_audio(talk=False, listen=True)
    quiet = tone_frames(1000, 40, peak=100)
    peaks = []
    for number, frame in enumerate(quiet):
        codec = "PCMU" if number < 20 else "PCMA"
        if number == 20:
            bench.stream.connect(audio(phone.port, codec="PCMA"))
        phone.send(bench.port, G711[codec].encode(frame), payload_type=0 if codec == "PCMU" else 8)
        peaks.append(audioop.max(bench.tick() or SILENCE, 2))
    assert max(peaks) < 200
    assert max(peaks[30:]) > 50


def test_spoofed_packets_are_neither_played_nor_answered(bench: Bench, phone: Peer, stranger: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=True, listen=True)
    loud = ULAW.encode(tone_frames(600, 1, peak=30_000)[0])
    peaks = []
    for _ in range(3 * FOREIGN_PACKETS):
        phone.send(bench.port, ULAW.silence)
        stranger.send(bench.port, loud)
        peaks.append(audioop.max(bench.tick(packets=2) or SILENCE, 2))
    assert max(peaks) < 20
    assert stranger.waiting() == []
    assert bench.stream.statistics()["audio_refused"] == 3 * FOREIGN_PACKETS


PHONE = ("192.0.2.2", 5000)


def arrives(stream: AudioStream, kind: int, ssrc: int, number: int, payload: bytes, now: float) -> None:
    """A packet from the phone's own address, which may have been made up."""
    with stream.lock:
        stream._arrived(pack_rtp(kind, False, number & 0xFFFF, 160 * number, ssrc, payload), PHONE, now)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 0xFFFF), st.integers(0, 3)), max_size=40))
def test_a_flood_of_other_senders_from_the_peers_own_address_has_no_effect(
    flood: list[tuple[int, int, int]],
) -> None:
    """Each is louder than the phone, and some press a key."""
    loud = ULAW.encode(tone_frames(600, 1, peak=30_000)[0])
    made = Bench()
    stream, now, sent = made.stream, 100.0, 0
    stream.connect(audio(PHONE[1], host=PHONE[0]))
    stream.set_audio(talk=False, listen=True)
    for tick in range(3 + len(flood)):
        now += 0.02
        arrives(stream, 0, 77, tick, ULAW.silence, now)
        ssrc, number, count = flood[tick - 3] if tick >= 3 else (0, 0, 0)
        for extra in range(count if ssrc != 77 else 0):
            kind, payload = (101, EVENT_5) if extra == 2 else (0, loud)
            arrives(stream, kind, ssrc, number + extra, payload, now)
            sent += 1
        assert audioop.max(stream.play(now) or SILENCE, 2) < 20
    assert not made.digits
    assert (made.count("received"), made.count("refused")) == (3 + len(flood), sent)
    stream.close()


def test_a_sender_that_fell_silent_gives_way_to_another(bench: Bench) -> None:
    bench.stream.connect(audio(PHONE[1], host=PHONE[0]))
    arrives(bench.stream, 0, 77, 1, ULAW.silence, 100.0)
    arrives(bench.stream, 0, 88, 9, ULAW.silence, 100.06)
    assert (bench.count("received"), bench.count("refused")) == (1, 1)
    arrives(bench.stream, 0, 88, 13, ULAW.silence, 100.14)
    assert (bench.count("received"), bench.count("refused")) == (2, 1)


def test_packets_of_unknown_payload_type_latch_nobody(bench: Bench, phone: Peer, stranger: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    for _ in range(2 * FOREIGN_PACKETS):
        stranger.send(bench.port, ULAW.silence, payload_type=77)
        bench.tick()
    assert stranger.waiting() == []
    assert len(phone.waiting()) == 2 * FOREIGN_PACKETS
    assert bench.stream.statistics()["audio_unknown"] == 2 * FOREIGN_PACKETS


def test_a_phone_behind_nat_gets_sound_where_it_sends_from(bench: Bench, phone: Peer, stranger: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    stranger.send(bench.port, ULAW.silence)
    bench.tick()
    assert len(stranger.waiting()) == 1
    assert phone.waiting() == []


def test_rubbish_is_counted_and_harmless(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    for data in (b"", b"\x80", b"\x80" * 11, b"\xbf" + bytes(11), b"\x90" + bytes(11)):
        phone.rtp.sendto(data, ("127.0.0.1", bench.port))
        bench.read()
        phone.rtcp.sendto(data, ("127.0.0.1", bench.port + 1))
        bench.stream.read_rtcp(bench.now, time.time() - bench.now)
    bench.stream.read_control()
    assert bench.stream.statistics()["audio_malformed"] >= 8
    assert bench.stream.statistics()["audio_received"] == 0


def test_a_digit_arrives_on_the_control_socket_without_any_tick(bench: Bench, phone: Peer) -> None:
    if bench.stream.port.control is None:
        pytest.skip("this kernel attaches no program")
    bench.stream.connect(audio(phone.port, dtmf=97))
    phone.send(bench.port, EVENT_5, payload_type=97)
    bench.stream.read_control()
    assert bench.digits == ["5"]


def test_digits_that_come_before_the_answer_wait_for_it_in_their_order(bench: Bench, phone: Peer) -> None:
    for payload in (EVENT_5, EVENT_6):
        phone.send(bench.port, payload, payload_type=101)
    bench.read(2)
    bench.stream.connect(audio(phone.port))
    phone.send(bench.port, EVENT_5, payload_type=101)
    bench.stream.read_control()
    bench.read(2)
    assert bench.digits == ["5", "6", "5"]


def test_a_digit_that_the_kernel_did_not_sort_out_arrives_with_the_tick(bench: Bench, phone: Peer) -> None:
    bench.stream.port.select_control(())
    bench.stream.connect(audio(phone.port))
    for payload in (EVENT_5, EVENT_5):
        phone.send(bench.port, payload, payload_type=101)
        phone.timestamp -= 160
    bench.read(2)
    assert bench.digits == ["5"]


def test_the_two_ways_of_a_digit_share_their_memory(bench: Bench, phone: Peer) -> None:
    if bench.stream.port.control is None:
        pytest.skip("this kernel attaches no program")
    bench.stream.port.select_control(())
    bench.stream.connect(audio(phone.port))
    phone.send(bench.port, EVENT_5, payload_type=101)
    bench.read()
    bench.stream.port.select_control((101,))
    phone.timestamp -= 160
    phone.send(bench.port, EVENT_5, payload_type=101)
    bench.stream.read_control()
    assert bench.digits == ["5"]
    assert bench.stream.statistics()["audio_received"] == 2


def test_digits_of_a_stranger_are_ignored(bench: Bench, phone: Peer, stranger: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    stranger.send(bench.port, EVENT_6, payload_type=101)  # first of all: followed, but not yet trusted
    bench.stream.read_control()
    bench.read()
    phone.send(bench.port, EVENT_5, payload_type=101)
    bench.stream.read_control()
    bench.read()
    stranger.send(bench.port, EVENT_6, payload_type=101)
    bench.stream.read_control()
    bench.read()
    assert bench.digits == ["5"]


def test_digits_count_though_the_answer_did_not_promise_any(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, dtmf=None))
    phone.send(bench.port, EVENT_5, payload_type=101)
    bench.stream.read_control()
    bench.read()
    assert bench.digits == ["5"]
    with pytest.raises(ValueError, match="no telephone-events"):
        bench.stream.press("1", "rtp")


def play_keys(bench: Bench, phone: Peer, keys: str) -> None:
    """As sound in the codec, one packet a tick."""
    for frame in [*iter(TonePlayer(keys_as_tone(keys, tone_ms=60, gap_ms=60)).frame, None), *[SILENCE] * 15]:
        phone.send(bench.port, ULAW.encode(frame))
        bench.tick()


@pytest.mark.parametrize("listen", [True, False])
def test_keys_as_sound_are_heard_where_no_events_were_agreed(bench: Bench, phone: Peer, listen: bool) -> None:
    bench.stream.connect(audio(phone.port, dtmf=None))
    bench.stream.set_audio(talk=True, listen=listen)
    play_keys(bench, phone, "0123456789*#ABCD")
    assert bench.digits == [f"inband {key}" for key in "0123456789*#ABCD"]


def test_keys_as_sound_are_not_listened_to_where_events_were_agreed_or_nobody_wants_them(phone: Peer) -> None:
    for events, wanted in ((101, True), (None, False)):
        bench = Bench(listens_for_keys=wanted)
        bench.stream.connect(audio(phone.port, dtmf=events))
        bench.stream.set_audio(talk=True, listen=True)
        play_keys(bench, phone, "1234")
        assert bench.digits == []
        bench.stream.close()


def test_a_packet_lost_within_a_key_does_not_make_two_of_it(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, dtmf=None))
    bench.stream.set_audio(talk=True, listen=True)
    player = TonePlayer(keys_as_tone("5", tone_ms=300))
    for number, frame in enumerate([*iter(player.frame, None), *[SILENCE] * 15]):
        if number in (4, 9):
            phone.sequence += 1
            phone.timestamp += 160
            bench.tick(packets=0)
        else:
            phone.send(bench.port, ULAW.encode(frame))
            bench.tick()
    assert bench.digits == ["inband 5"]


def test_keys_as_sound_of_a_stranger_do_not_count(bench: Bench, phone: Peer, stranger: Peer) -> None:
    bench.stream.connect(audio(phone.port, dtmf=None))
    bench.stream.set_audio(talk=True, listen=True)
    phone.send(bench.port, ULAW.silence)
    bench.tick()
    play_keys(bench, stranger, "1234")
    assert bench.digits == []


def test_keys_are_pressed_as_sound_where_no_events_were_agreed(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, dtmf=None))
    bench.stream.set_audio(talk=True, listen=True)
    bench.stream.press("58")
    bench.stream.press("#")
    microphone = tone_frames(300, 40)  # talk would spoil the keys: it waits
    for frame in microphone:
        bench.tick(frame, packets=0)
    detector = Detector()
    sent = [ULAW.decode(packet.payload) for packet in phone.waiting()]
    assert "".join(map(detector.feed, sent)) == "58#"
    assert sent[-1] == ULAW.decode(ULAW.encode(microphone[-1]))


def test_keys_go_out_as_sound_where_that_is_asked_for_though_events_were_agreed(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.press("7", "inband")
    for _ in range(12):
        bench.tick(packets=0)
    packets = phone.waiting()
    assert {packet.payload_type for packet in packets} == {0}
    assert "".join(map(Detector().feed, (ULAW.decode(packet.payload) for packet in packets))) == "7"


def test_digits_before_an_agreement_are_ignored(bench: Bench, phone: Peer) -> None:
    phone.send(bench.port, EVENT_5, payload_type=101)
    bench.stream.read_control()
    bench.read()
    assert bench.digits == []


def test_events_between_sound_are_not_heard_as_loss(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=False, listen=True)
    for number, frame in enumerate(tone_frames(1000, 60)):
        if 20 <= number < 30:
            phone.send(bench.port, EVENT_5, payload_type=101)
        else:
            phone.send(bench.port, ULAW.encode(frame))
        bench.stream.read_control()
        bench.tick()
    statistics = bench.stream.statistics()
    assert statistics["audio_concealed_ms"] == 0
    assert statistics["audio_lost"] == 0


def test_keys_are_pressed_at_the_far_end_as_events(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port, dtmf=97))
    bench.stream.press("12")
    for _ in range(30):
        bench.tick()
    packets = phone.waiting()
    assert {packet.payload[0] for packet in packets if packet.payload_type == 97} == {1, 2}
    assert [b.sequence - a.sequence & 0xFFFF for a, b in itertools.pairwise(packets)] == [1] * 29


def test_hold_stops_the_sending_and_resume_goes_on_with_the_numbers(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.tick()
    before = phone.receive()
    bench.stream.connect(audio(phone.port, direction="inactive"))
    for _ in range(5):
        bench.tick()
    assert phone.waiting() == []
    bench.stream.connect(audio(phone.port))
    bench.tick()
    after = phone.receive()
    assert after.sequence == (before.sequence + 1) & 0xFFFF
    assert after.timestamp == (before.timestamp + 6 * 160) & 0xFFFFFFFF
    assert after.ssrc == before.ssrc
    assert after.marker


def test_hold_the_old_way_by_a_null_address_stops_the_sending(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.tick()
    bench.stream.connect(audio(phone.port, host="0.0.0.0", direction="recvonly"))
    bench.tick()
    bench.stream.connect(audio(phone.port))
    bench.tick()
    assert len(phone.waiting()) == 2


def test_a_leg_moves_to_another_phone_with_the_same_numbers(bench: Bench, phone: Peer) -> None:
    other = Peer(ssrc=0x5678)
    try:
        bench.stream.connect(audio(phone.port))
        phone.send(bench.port, ULAW.silence)
        bench.tick()
        before = phone.receive()
        bench.stream.connect(audio(other.port))
        bench.tick()
        after: RtpPacket = other.receive()
        assert (after.ssrc, after.sequence) == (before.ssrc, (before.sequence + 1) & 0xFFFF)
        other.send(bench.port, ULAW.silence)
        bench.tick()
        phone.send(bench.port, ULAW.silence)  # the phone of before has nothing to say any more
        bench.tick()
        assert phone.waiting() == []
        assert bench.stream.statistics()["audio_refused"] == 1
    finally:
        other.close()


def test_a_name_or_another_family_as_address_is_not_sent_to_and_harms_nothing(bench: Bench) -> None:
    for host in ("phone.example", "::1", "2001:db8::1"):
        bench.stream.connect(audio(4000, host=host))
        bench.tick()
    assert bench.stream.statistics()["audio_sent"] == 0


def test_loss_of_sound_is_told_once_and_again_after_it_came_back(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=True, listen=True)
    bench.now += LOST_AFTER_S + 0.1
    bench.tick()
    bench.tick()
    assert [type(event) for event in bench.events].count(MediaLost) == 1
    phone.send(bench.port, ULAW.silence)
    bench.tick()
    bench.now += LOST_AFTER_S + 0.1
    bench.tick()
    assert [type(event) for event in bench.events].count(MediaLost) == 2


@pytest.mark.parametrize(("direction", "listen"), [("inactive", True), ("sendonly", True), ("sendrecv", False)])
def test_silence_is_no_loss_while_held_or_not_listened_to(
    bench: Bench, phone: Peer, direction: str, listen: bool
) -> None:
    bench.stream.connect(audio(phone.port, direction=direction))  # type: ignore[arg-type]
    bench.stream.set_audio(talk=True, listen=listen)
    bench.now += LOST_AFTER_S + 1
    bench.tick()
    assert not any(isinstance(event, MediaLost) for event in bench.events)


def test_a_tone_to_the_far_end_is_mixed_and_ends(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.play_tone(TonePlayer(tone("warning", "es")))
    for _ in range(30):
        bench.tick()
    sound = [ULAW.decode(packet.payload) for packet in phone.waiting()]
    assert level_db(heard(sound[1:7]), 1400) == pytest.approx(-13.1, abs=1)
    assert not any(b"".join(sound[-5:]))


def test_reports_tell_loss_and_carry_our_clock(bench: Bench, phone: Peer) -> None:
    agreed = audio(phone.port)
    bench.stream.connect(
        type(agreed)(
            "audio", "sendrecv", "127.0.0.1", phone.port, "127.0.0.1", phone.rtcp_port, agreed.codec, agreed.dtmf
        )
    )
    for number in range(20):
        if number == 10:
            phone.sequence += 2  # two packets are lost
        phone.send(bench.port, ULAW.silence)
        bench.tick()
    bench.stream.tick_report(bench.now)
    report = parse_rtcp(phone.rtcp.recv(2048))[0]
    assert isinstance(report, SenderReport)
    assert report.packets == 20
    assert report.octets == 20 * 160
    assert report.reports[0].ssrc == phone.ssrc
    assert report.reports[0].lost == 2
    last = phone.waiting()[-1]
    assert report.rtp_timestamp == (last.timestamp + 160) & 0xFFFFFFFF
    bench.stream.close()
    kinds = [type(packet) for packet in parse_rtcp(phone.rtcp.recv(2048))]
    assert kinds[0] is ReceiverReport  # nothing was sent since the last report
    assert kinds[-1] is Bye


def test_reports_from_strangers_are_not_read(bench: Bench, phone: Peer, stranger: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    stranger.rtcp.sendto(pack_rtcp(ReceiverReport(1)), ("127.0.0.1", bench.port + 1))
    bench.stream.read_rtcp(bench.now, time.time() - bench.now)
    assert bench.stream.statistics()["audio_refused"] == 1


def test_closing_twice_and_ticking_a_closed_stream_harms_nothing(bench: Bench, phone: Peer) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.close()
    bench.stream.close()
    bench.tick()
    bench.stream.read_control()
    bench.stream.read_rtcp(bench.now, 0.0)
    bench.stream.tick_report(bench.now)
    assert bench.stream.statistics()["audio_sent"] == 0


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 8, 13, 77, 101, 127]),
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFFFFFF),
            st.integers(0, 3),
            st.binary(max_size=400),
        ),
        max_size=30,
    )
)
def test_no_sequence_of_packets_stops_the_sound(
    bench: Bench, phone: Peer, packets: list[tuple[int, int, int, int, bytes]]
) -> None:
    bench.stream.connect(audio(phone.port))
    bench.stream.set_audio(talk=True, listen=True)
    for kind, sequence, timestamp, ssrc, payload in packets:
        phone.rtp.sendto(pack_rtp(kind, False, sequence, timestamp, ssrc, payload), ("127.0.0.1", bench.port))
        bench.stream.read_control()
        frame = bench.tick()
        assert frame is None or len(frame) == 320
    bench.stream.statistics()


def test_a_call_over_ipv6_is_the_same() -> None:
    try:
        phone = Peer("::1")
    except OSError:
        pytest.skip("no IPv6 on this machine")
    stream = AudioStream(RtpPort("::1", control=True), lambda _: None, lambda *_: None, "cname")
    try:
        stream.connect(audio(phone.port, host="0:0::1"))
        stream.send(SILENCE, {}, 1.0)
        assert phone.receive().payload == ULAW.silence
        phone.send(stream.port.port, ULAW.silence)
        stream.read_media(time.monotonic(), time.time() - time.monotonic())
        assert stream.latch.locked
        assert stream.statistics()["audio_received"] == 1
    finally:
        stream.close()
        phone.close()
