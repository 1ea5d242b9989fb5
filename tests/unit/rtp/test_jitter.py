"""The jitter buffer by hand: what each kind of trouble makes it play."""

from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.rtp.jitter import COMFORT_NOISE, Conceal, Empty, JitterBuffer, Noise, Piece, Play
from firmware.rtp.packet import RtpPacket

SSRC = 77


def audio(
    number: int, *, first_timestamp: int = 0, samples: int = 160, ssrc: int = SSRC, skew: int = 0
) -> RtpPacket:
    """Packet `number` of a stream; its payload's bytes tell its number."""
    timestamp = (first_timestamp + number * samples + skew) & 0xFFFFFFFF
    return RtpPacket(0, False, number & 0xFFFF, timestamp, ssrc, bytes([number % 251]) * samples)


class Stream:
    """A buffer with its clock: ticks come 10 ms after the packets of a steady sender."""

    def __init__(self, **options: bool) -> None:
        self.buffer = JitterBuffer(8000, **options)
        self.tick = 0

    def put(self, packet: RtpPacket, late_s: float = 0.0) -> None:
        self.buffer.put(packet, 5 + self.tick * 0.02 + late_s)

    def pop(self, *, quiet: bool = False) -> list[Piece]:
        pieces = self.buffer.pop(5 + self.tick * 0.02 + 0.01, quiet=quiet)
        self.tick += 1
        assert sum(piece.samples for piece in pieces) == 160
        return pieces

    def run(self, numbers: Iterable[int]) -> list[Piece]:
        """One packet a tick, none where the number is negative."""
        pieces: list[Piece] = []
        for number in numbers:
            if number >= 0:
                self.put(audio(number))
            pieces += self.pop()
        return pieces


def heard(pieces: Iterable[Piece]) -> list[int]:
    """The packets played, one that two ticks share counted once."""
    numbers = [piece.payload[0] for piece in pieces if isinstance(piece, Play)]
    return [number for number, _ in groupby(numbers)]


def test_a_steady_stream_is_played_whole_and_in_order() -> None:
    stream = Stream()
    pieces = stream.run(range(200))
    assert heard(pieces) == list(range(200))
    assert [type(piece) for piece in pieces] == [Play] * 200
    assert [piece.follows for piece in pieces if isinstance(piece, Play)] == [False] + [True] * 199


@pytest.mark.parametrize("samples", [80, 160, 240, 320, 480])
def test_every_packet_time_from_10_to_60_ms_fits_the_tick(samples: int) -> None:
    stream = Stream()
    sound = bytearray()
    number = 0
    pieces: list[Piece] = []
    for tick in range(120):
        while (number + 1) * samples <= (tick + 1) * 160:  # a packet leaves when it is full
            stream.put(audio(number, samples=samples))
            number += 1
        pieces += stream.pop()
    for piece in pieces:
        if isinstance(piece, Play):
            sound += piece.payload[piece.start : piece.start + piece.samples]
    expected = b"".join(bytes([n % 251]) * samples for n in range(number))
    assert expected.startswith(sound)
    assert len(sound) >= 110 * 160
    assert stream.buffer.concealed <= 160  # the first packets show when the following ones come


def test_packet_times_may_be_mixed_within_a_stream() -> None:
    stream = Stream()
    sizes = [160, 320, 80, 80, 480, 240, 240, 160] * 12
    ready: list[tuple[int, RtpPacket]] = []
    timestamp = 0
    for number, size in enumerate(sizes):
        ready.append((timestamp + size, RtpPacket(0, False, number, timestamp, SSRC, bytes([number]) * size)))
        timestamp += size
    sound = bytearray()
    for tick in range(timestamp // 160 + 8):
        while ready and ready[0][0] <= (tick + 1) * 160:
            stream.put(ready.pop(0)[1])
        for piece in stream.pop():
            if isinstance(piece, Play):
                sound += piece.payload[piece.start : piece.start + piece.samples]
    assert bytes(sound) == b"".join(bytes([number]) * size for number, size in enumerate(sizes))


def test_a_lost_packet_is_concealed_once_and_passed_over() -> None:
    stream = Stream()
    pieces = stream.run(number if number not in (40, 41, 60) else -1 for number in range(100))
    assert heard(pieces) == [number for number in range(100) if number not in (40, 41, 60)]
    assert stream.buffer.concealed == 3 * 160
    assert len(pieces) == 100


def test_sound_that_stalls_is_waited_for_and_none_of_it_is_lost() -> None:
    stream = Stream()
    pieces = stream.run(range(50))
    pieces += stream.run([-1, -1, -1])
    for number in range(50, 54):
        stream.put(audio(number))
    pieces += stream.pop()
    pieces += stream.run(range(54, 70))
    assert heard(pieces) == list(range(67))
    assert stream.buffer.concealed == 3 * 160
    assert stream.buffer.depth_s == 0.06


def test_a_packet_that_comes_a_moment_late_once_does_not_lengthen_the_delay() -> None:
    stream = Stream()
    pieces = stream.run(range(50))
    pieces += stream.run([-1])
    stream.put(audio(50), -0.005)
    pieces += stream.run(range(51, 100))
    assert heard(pieces) == [number for number in range(100) if number != 50]
    assert stream.buffer.concealed == 160
    assert stream.buffer.depth_s == 0


def test_a_packet_later_than_its_turn_is_counted_and_not_played() -> None:
    stream = Stream()
    stream.run(number if number != 30 else -1 for number in range(40))
    stream.put(audio(30))
    assert 30 not in heard(stream.run(range(40, 50)))
    assert stream.buffer.late == 1


def test_duplicates_are_played_once() -> None:
    stream = Stream()
    pieces: list[Piece] = []
    for number in range(60):
        stream.put(audio(number))
        stream.put(audio(number))
        if number > 5:
            stream.put(audio(number - 5))
        pieces += stream.pop()
    assert heard(pieces) == list(range(60))
    assert stream.buffer.duplicates == 60 + 54
    assert stream.buffer.received == 60


def test_packets_out_of_order_are_played_in_order() -> None:
    stream = Stream()
    pieces: list[Piece] = []
    for number in range(0, 100, 2):
        stream.put(audio(number + 1))
        stream.put(audio(number), 0.001)
        pieces += stream.pop() + stream.pop()
    assert heard(pieces) == list(range(98))  # two are still waiting: that is what reordering costs
    assert stream.buffer.concealed == 0


def test_sequence_and_timestamp_wrap_unheard() -> None:
    stream = Stream()
    pieces: list[Piece] = []
    for number in range(65_500, 65_600):
        stream.put(audio(number, first_timestamp=2**32 - 65_550 * 160))
        pieces += stream.pop()
    assert len(heard(pieces)) == 100
    assert {type(piece) for piece in pieces} == {Play}


def test_a_change_of_source_is_played_on() -> None:
    stream = Stream()
    stream.run(range(50))
    pieces: list[Piece] = []
    for number in range(50):
        stream.put(audio(number + 7000, first_timestamp=123_456_789, ssrc=99))
        pieces += stream.pop()
    assert len(heard(pieces)) == 50


@pytest.mark.parametrize("jump", [3_000_000, -3_000_000, 900, 40_000])
def test_a_jump_of_the_timestamps_is_played_on_within_a_third_of_a_second(jump: int) -> None:
    stream = Stream()
    stream.run(range(50))
    pieces: list[Piece] = []
    for number in range(50, 350):
        stream.put(audio(number, first_timestamp=jump))
        pieces += stream.pop()
    assert len(heard(pieces)) >= 300 - 16
    assert heard(pieces)[-100:] == [number % 251 for number in range(250, 350)]


def test_timestamps_that_stand_still_over_a_pause_cost_no_sound_afterwards() -> None:
    """Some phones do not count the time they were on hold."""
    stream = Stream()
    stream.run(range(50))
    stream.run([-1] * 40)
    pieces = stream.run(range(50, 150))
    assert heard(pieces) == list(range(50, 150))
    assert stream.buffer.concealed <= 13 * 160


def test_a_new_sequence_of_the_same_source_is_heard_at_once() -> None:
    stream = Stream()
    stream.run(range(200))
    pieces: list[Piece] = []
    for number in range(200, 260):
        packet = audio(number)
        stream.put(packet._replace(sequence=(packet.sequence - 150) & 0xFFFF))
        pieces += stream.pop()
    assert len(heard(pieces)) >= 58


def test_the_end_of_a_stream_is_silence_and_no_endless_gap() -> None:
    stream = Stream()
    stream.run(range(50))
    pieces = stream.run([-1] * 100)
    assert {type(piece) for piece in pieces[:5]} == {Conceal}
    assert {type(piece) for piece in pieces[20:]} == {Empty}


def test_before_the_first_packet_there_is_nothing_and_nothing_is_missing() -> None:
    stream = Stream()
    assert stream.run([-1] * 10) == [Empty(160)] * 10
    assert stream.buffer.concealed_share == 0


def event(number: int, timestamp: int) -> RtpPacket:
    return RtpPacket(101, False, number, timestamp, SSRC, b"\x05\x0a\x00\xa0")


def test_sound_that_pauses_for_a_telephone_event_leaves_silence_and_no_gap() -> None:
    stream = Stream()
    stream.run(range(50))
    pieces: list[Piece] = []
    for number in range(50, 60):
        stream.buffer.put_event(event(number, 50 * 160))
        pieces += stream.pop()
    assert {type(piece) for piece in pieces} <= {Play, Empty}
    after = stream.run(range(60, 100))
    assert heard(after)[:40] == list(range(60, 100))
    assert stream.buffer.concealed == 0


def test_telephone_events_beside_the_sound_are_no_loss() -> None:
    stream = Stream()
    pieces: list[Piece] = []
    for tick in range(100):
        sound = audio(tick)
        stream.put(sound._replace(sequence=2 * tick))
        stream.buffer.put_event(event(2 * tick + 1, 0))
        pieces += stream.pop()
    assert heard(pieces) == list(range(100))
    assert stream.buffer.concealed == 0


def test_telephone_events_do_not_disturb_the_delay() -> None:
    stream = Stream()
    stream.run(range(50))
    before = stream.buffer.target_s
    for number in range(50, 90):
        stream.buffer.put_event(event(number, 40 * 160))
        stream.pop()
    assert stream.buffer.target_s == before


def test_comfort_noise_fills_the_pause_that_the_peer_announced() -> None:
    stream = Stream()
    stream.run(range(50))
    stream.put(RtpPacket(COMFORT_NOISE, False, 50, 50 * 160, SSRC, b"\x38"))
    pause = [piece for _ in range(100) for piece in stream.pop()]
    assert pause[1:] == [Noise(b"\x38", 160)] * 99
    pieces: list[Piece] = []
    for number in range(51, 91):
        stream.put(audio(number, skew=99 * 160))
        pieces += stream.pop()
    assert heard(pieces) == list(range(51, 91))
    assert stream.buffer.concealed == 0


def test_a_talk_spurt_after_silence_without_comfort_noise_is_no_loss() -> None:
    """Sequence numbers go on, timestamps leap: nothing was lost, the peer said nothing."""
    stream = Stream()
    stream.run(range(50))
    stream.run([-1] * 50)
    concealed = stream.buffer.concealed
    pieces: list[Piece] = []
    for number in range(50, 90):
        stream.put(audio(number, skew=50 * 160))
        pieces += stream.pop()
    assert heard(pieces) == list(range(50, 89))
    assert stream.buffer.concealed == concealed


def stall(stream: Stream) -> None:
    """The network stands still for 200 ms and then delivers everything."""
    stream.run(range(50))
    stream.run([-1] * 10)
    for number in range(50, 60):
        stream.put(audio(number))


def test_delay_after_a_stall_is_not_shortened_in_the_midst_of_talk_for_half_a_second() -> None:
    stream = Stream()
    stall(stream)
    numbers = heard(stream.run(range(60, 84)))
    assert numbers[1:] == list(range(numbers[1], numbers[1] + len(numbers) - 1))
    assert stream.buffer.depth_s > 0.15


def test_delay_after_a_stall_is_taken_back_within_five_seconds_of_talk() -> None:
    stream = Stream()
    stall(stream)
    stream.run(range(60, 310))
    assert stream.buffer.depth_s <= 0.06


def test_delay_after_a_stall_is_taken_back_sooner_in_silence() -> None:
    stream = Stream()
    stall(stream)
    for number in range(60, 84):
        stream.put(audio(number))
        stream.pop(quiet=True)
    assert stream.buffer.depth_s <= 0.18


@pytest.mark.parametrize("each", [2, 5, 20])
def test_who_plays_too_slowly_hears_sound_with_pieces_missing_and_not_ever_later(each: int) -> None:
    """One tick in so many does not come: the processor, or the sound card's clock, is too slow."""
    stream = Stream()
    pieces: list[Piece] = []
    deepest_s = 0.0
    for number in range(3000):
        stream.put(audio(number))
        if number % each:
            pieces += stream.pop()
        else:
            stream.tick += 1
        deepest_s = max(deepest_s, stream.buffer.depth_s)
    assert stream.buffer.concealed == 0
    assert stream.buffer.played >= 160 * 3000 * (each - 1) // each - 160 * 30
    assert deepest_s <= 0.6


def test_who_pauses_keeps_his_delay_while_he_talks_and_gives_it_back_in_a_pause() -> None:
    stream = Stream()
    for number in range(200):
        stream.put(audio(number), 0.03 if number % 25 == 0 else 0.0)
        stream.pop(quiet=number % 100 < 10)
    before = stream.buffer.skipped
    for number in range(200, 340):  # no more jitter, and no pause
        stream.put(audio(number))
        stream.pop()
    assert stream.buffer.skipped == before
    for number in range(340, 600):
        stream.put(audio(number))
        stream.pop(quiet=number % 100 < 10)
    assert stream.buffer.skipped > before


def test_a_tick_more_is_waited_where_the_next_packet_tells_what_was_lost() -> None:
    plain, ahead = Stream(), Stream(look_ahead=True)
    told = []
    for number in range(400):
        for stream in (plain, ahead):
            if number % 20:
                stream.put(audio(number))
            pieces = stream.pop(quiet=True)
            if stream is ahead:
                told += [piece for piece in pieces if isinstance(piece, Conceal) and piece.following]
    assert ahead.buffer.target_s == pytest.approx(plain.buffer.target_s + 0.004)
    assert ahead.buffer.target_s > 0.02
    assert len(told) > 10
    assert told[-1].following == audio(381).payload


@pytest.mark.parametrize("phase_s", [0.001, 0.005, 0.009, 0.014])
def test_packets_that_are_overtaken_now_and_then_are_in_time_once_a_talker_has_paused(phase_s: float) -> None:
    arrivals = [(number * 0.02 + (0.05 if number % 20 == 5 else 0.0), number) for number in range(300)]
    arrivals.sort()
    buffer = JitterBuffer(8000)
    gaps = []
    for tick in range(300):
        now_s = tick * 0.02 + phase_s
        while arrivals and arrivals[0][0] <= now_s:
            arrival_s, number = arrivals.pop(0)
            buffer.put(audio(number), arrival_s)
        if any(isinstance(piece, Conceal) for piece in buffer.pop(now_s, quiet=tick < 60)):
            gaps.append(tick)
    assert [tick for tick in gaps if tick >= 60] == []


def test_a_late_packet_is_remembered_for_longer_than_the_last_150_and_then_forgotten() -> None:
    stream = Stream()
    targets = []
    for number in range(1000):
        if number != 100:
            stream.put(audio(number))
        if number == 102:
            stream.put(audio(100), 0.009)
        stream.pop(quiet=number % 100 < 10)
        targets.append(stream.buffer.target_s)
    assert min(targets[102:300]) >= 0.049
    assert max(targets[700:]) < 0.03


def test_ticks_that_come_late_in_silence_take_no_delay_away() -> None:
    buffer = JitterBuffer(8000)
    numbers = list(range(300))
    for tick in range(300):
        late = 104 - tick if 100 <= tick < 105 else 0  # the first 80 ms late, the others right after it
        now_s = (tick + late) * 0.02 + 0.01
        while numbers and numbers[0] * 0.02 <= now_s:
            number = numbers.pop(0)
            buffer.put(audio(number), number * 0.02)
        buffer.pop(now_s, quiet=True)
    assert buffer.skipped == 0


def test_who_pauses_has_more_in_reserve_while_nobody_knows_his_network() -> None:
    stream = Stream()
    targets = []
    for number in range(2000):
        stream.put(audio(number))
        stream.pop(quiet=number % 100 < 10)
        targets.append(stream.buffer.target_s)
    assert targets[100] == pytest.approx(0.024)
    assert targets[-1] == pytest.approx(0.016)


def test_a_short_delay_is_lengthened_in_silence_before_it_makes_a_gap() -> None:
    stream = Stream()
    stream.run(range(50))
    for number in range(50, 150):
        stream.put(audio(number), 0.009 if number % 3 == 0 else 0.0)
        stream.pop(quiet=True)
    assert stream.buffer.stretched == 160
    assert stream.buffer.concealed == 0
    assert stream.buffer.depth_s > 0


def test_pitfall_34_g722_style_units_and_other_clocks_keep_the_tick_exact() -> None:
    buffer = JitterBuffer(48_000, samples_of=lambda payload: 960)
    total = 0
    for number in range(50):
        buffer.put(RtpPacket(96, False, number, number * 960, 1, b"opus"), number * 0.02)
        pieces = buffer.pop(number * 0.02 + 0.01)
        assert sum(piece.samples for piece in pieces) == 960
        total += sum(isinstance(piece, Play) for piece in pieces)
    assert total == 50


anything = st.tuples(
    st.sampled_from([0, 0, 0, COMFORT_NOISE, 101]),
    st.integers(-70, 70) | st.integers(0, 0xFFFF),
    st.integers(-20, 20).map(lambda n: n * 80) | st.integers(0, 2**32 - 1),
    st.sampled_from([1, 1, 1, 1, 1, 1, 2]),
    st.integers(0, 700),
    st.floats(0, 0.3),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(anything, max_size=8), max_size=60))
def test_whatever_arrives_a_tick_is_a_tick_and_memory_is_bounded(program: list[list[tuple[int, ...]]]) -> None:
    buffer = JitterBuffer(8000)
    for tick, arrivals in enumerate(program):
        for kind, sequence, timestamp, ssrc, size, late_s in arrivals:
            packet = RtpPacket(
                kind,
                False,
                (tick + sequence) & 0xFFFF,
                (tick * 160 + timestamp) & 0xFFFFFFFF,
                ssrc,
                bytes(size),
            )
            if kind == 101:
                buffer.put_event(packet)
            else:
                buffer.put(packet, 100 + tick * 0.02 - late_s)
        pieces = buffer.pop(100 + tick * 0.02, quiet=bool(tick & 4))
        assert sum(piece.samples for piece in pieces) == 160
        assert all(piece.samples > 0 for piece in pieces)
        assert all(p.start + p.samples <= len(p.payload) for p in pieces if isinstance(p, Play))
        assert len(buffer._queue) <= 64
        assert len(buffer._window) == len(buffer._sorted) <= 150
        assert len(buffer._events) <= 64


# A stream that mostly goes on, with all that networks and senders do to it now and then.
going_on = st.tuples(
    st.sampled_from([1] * 12 + [0, 2, 3, -1, 40]),  # how far the sequence number steps
    st.sampled_from([160] * 12 + [0, 80, 320, -160, 100000]),  # and the timestamp
    st.sampled_from([160] * 12 + [80, 240, 0]),  # the payload's size
    st.sampled_from([77] * 20 + [78]),
    st.sampled_from([0.0, 0.001, 0.002, 0.004, 0.03]),  # late by
    st.integers(min_value=1, max_value=2),  # packets in a tick
)


@settings(max_examples=300, deadline=None)
@given(st.lists(going_on, min_size=20, max_size=120), st.sampled_from([0, 65500]), st.sampled_from([0, 0xFFFFF000]))
def test_the_short_way_into_the_buffer_leads_where_the_long_one_does(
    steps: list[tuple[int, int, int, int, float, int]], sequence: int, timestamp: int
) -> None:
    long, short = JitterBuffer(8000), JitterBuffer(8000)
    for tick, (step, span, size, ssrc, late_s, count) in enumerate(steps):
        for _ in range(count if tick % 9 == 0 else 1):
            sequence, timestamp = (sequence + step) & 0xFFFF, (timestamp + span) & 0xFFFFFFFF
            packet = RtpPacket(0, False, sequence, timestamp, ssrc, bytes([sequence & 0xFF]) * size)
            arrival_s = 100 + tick * 0.02 + late_s
            long.put(packet, arrival_s)
            if not short.put_next(ssrc, sequence, timestamp, packet.payload, arrival_s):
                short.put(packet, arrival_s)
        now_s = 100.015 + tick * 0.02
        assert short.pop(now_s) == long.pop(now_s)
        assert vars(short) == vars(long)


def test_a_steady_stream_takes_the_short_way() -> None:
    buffer = JitterBuffer(8000)
    short = 0
    for number in range(400):
        packet, arrival_s = audio(number), 5 + number * 0.02
        if buffer.put_next(SSRC, packet.sequence, packet.timestamp, packet.payload, arrival_s):
            short += 1
        else:
            buffer.put(packet, arrival_s)
        buffer.pop(arrival_s + 0.01)
    assert short > 300
