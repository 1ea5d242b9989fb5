"""The engine as the station uses it: real threads, loopback, simulated or hand-turned devices."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from drivers.audio.simulated import SimulatedAudio
from drivers.camera.simulated import SimulatedCamera
from firmware.media.calibration import Calibration
from firmware.media.canceller import CancellerMissing, EchoCanceller, NoCanceller
from firmware.media.dtmf import keys_as_tone
from firmware.media.engine import Engine
from firmware.media.events import Digit, DigitRefused, MediaEvent, MediaFault, RtpStarted
from firmware.media.handsfree import HandsFree, HandsFreeSettings
from firmware.media.leg import MediaLeg
from firmware.media.tones import TonePlayer
from firmware.rtp.packet import pack_rtp, parse_rtp
from tests.support.media import ManualAudio, ManualCamera, Peer, agreement, audio, heard, until, video
from tests.support.sound import level_db, longest_gap_ms, read_wav

TONE_DB = -12.04  # of the simulated microphone


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def engine(
    device: Callable[[], Any],
    camera: Callable[[], Any] | None = None,
    faults: list[MediaFault] | None = None,
    ports: tuple[int, int] | None = None,
) -> Engine:
    loop = asyncio.get_running_loop()
    return Engine(
        audio=device,
        camera=camera,
        ports=ports,
        call_soon=loop.call_soon_threadsafe,
        on_fault=faults.append if faults is not None else None,
    )


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def stopped(*engines: Engine) -> None:
    await until(lambda: not any(one.status()["running"] for one in engines), "the audio threads to end")


def connect(a: MediaLeg, b: MediaLeg, *, codec: str = "PCMU", picture: bool = False) -> None:
    """Let `a` (the door) and `b` (a monitor) talk; pictures go from a to b."""
    show = video(b.video_port, direction="sendonly") if picture and b.video_port else None
    watch = video(a.video_port, direction="recvonly") if picture and a.video_port else None
    a.connect(agreement(audio(b.audio_port, codec=codec), show), talk=True, listen=True)
    b.connect(agreement(audio(a.audio_port, codec=codec), watch), talk=True, listen=True)


def test_sound_and_picture_come_back_after_a_moment_without_memory_for_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("firmware.media.engine._RETRY_S", 0.01)

    async def test() -> None:
        faults: list[MediaFault] = []
        door = engine(lambda: SimulatedAudio(1000, None, 8000), SimulatedCamera, faults)
        with monkeypatch.context() as patch:

            def refuse(_: object) -> None:
                raise RuntimeError("can't start new thread")

            patch.setattr(threading.Thread, "start", refuse)
            leg = door.open_leg("1.1", "127.0.0.1", lambda _: None)
            leg.connect(agreement(audio(leg.audio_port)), talk=True, listen=True)
            await until(lambda: {"audio", "camera"} <= {fault.where for fault in faults if fault.what}, "both told")
        await until(lambda: int(leg.statistics()["audio_sent"]) > 0, "sound")
        await until(lambda: faults_now(faults) == {}, "the faults are over")
        door.close()

    run(test)


def faults_now(faults: list[MediaFault]) -> dict[str, str]:
    told = {fault.where: fault.what for fault in faults}
    return {where: what for where, what in told.items() if what}


def test_a_sound_card_that_hangs_is_no_progress_and_silence_is() -> None:
    async def test() -> None:
        device = ManualAudio()
        door = engine(lambda: device)
        assert door.progresses()
        assert door.progresses()  # nothing runs: nothing can hang
        door.play("ringback")
        assert door.progresses()
        device.step(3)
        await until(lambda: len(device.played) == 3, "three ticks")
        assert door.progresses()
        assert not door.progresses()
        device.step()
        await until(lambda: len(device.played) == 4, "one more")
        assert door.progresses()
        door.play(None)
        device.run_free()
        await stopped(door)
        assert door.progresses()
        assert door.progresses()
        door.close()

    run(test)


@pytest.mark.parametrize(("codec", "door_hz", "monitor_hz"), [("PCMU", 16000, 8000), ("PCMA", 8000, 48000)])
def test_two_engines_hear_each_other_at_level_and_without_gaps(
    tmp_path: Path, codec: str, door_hz: int, monitor_hz: int
) -> None:
    stalled_ms: list[float] = []

    async def test() -> None:
        door = engine(lambda: SimulatedAudio(1000, tmp_path / "door.wav", door_hz))
        monitor = engine(lambda: SimulatedAudio(600, tmp_path / "monitor.wav", monitor_hz))
        a = door.open_leg("1.1", "127.0.0.1", lambda _: None)
        b = monitor.open_leg("m", "127.0.0.1", lambda _: None)
        connect(a, b, codec=codec)
        await until(
            lambda: min(leg.statistics().get("audio_played_ms", 0) for leg in (a, b)) >= 3000,  # type: ignore[type-var]
            "three seconds of sound",
        )
        statistics = [a.close(), b.close()]
        stalled_ms[:] = [float(str(one.status()["latest_tick_ms"])) for one in (door, monitor)]
        door.close()
        monitor.close()
        for values in statistics:
            assert values["audio_lost"] == 0
            assert values["audio_codec"] == codec

    run(test)
    if max(stalled_ms) > 40:
        run(test)  # this machine had something else to do: the gap would be its own
    for name, hz, other in (("door", 600, 1000), ("monitor", 1000, 600)):
        sound = read_wav(tmp_path / f"{name}.wav")
        middle = sound.part(1.0, sound.seconds - 0.5)
        assert middle.seconds > 1.5
        assert abs(level_db(middle, hz) - TONE_DB) < 3
        assert level_db(middle, other) < -50
        assert longest_gap_ms(middle) <= 60


class NotedCanceller:
    """Makes nothing of what it hears, and notes how often it began anew."""

    def __init__(self) -> None:
        self.resets = 0
        self.references: list[bytes] = []

    def process(self, captured: bytes, reference: bytes) -> bytes:
        self.references.append(reference)
        return captured

    def reset(self) -> None:
        self.resets += 1


def test_an_xrun_of_the_card_reaches_the_canceller_which_gets_what_the_speaker_got() -> None:
    async def test() -> None:
        card, canceller = ManualAudio(16_000), NotedCanceller()
        hands_free = HandsFree(
            HandsFreeSettings(speaker_db=-6), Calibration(), Engine.HANDS_FREE_HZ, make=lambda *_, **__: canceller
        )
        loop = asyncio.get_running_loop()
        door = Engine(audio=lambda: card, hands_free=hands_free, call_soon=loop.call_soon_threadsafe)
        door.play("ringback")
        await until(lambda: hands_free.canceller == "webrtc", "the canceller")
        canceller.references.clear()  # those of the trial
        card.step(20)
        await until(lambda: len(canceller.references) >= 20, "the tone")
        before = canceller.resets
        card.restarts += 1
        card.step(20)
        await until(lambda: len(canceller.references) >= 40, "more of it")
        assert canceller.resets == before + 1
        assert any(any(frame) for frame in canceller.references)
        assert canceller.references[:40] == card.played[:40]
        card.run_free()
        door.close()

    run(test)


def test_a_canceller_that_is_not_there_is_told() -> None:
    def missing(kind: str, rate_hz: int, *, suppression: int) -> EchoCanceller:
        if kind != "none":
            raise CancellerMissing(f"the {kind} canceller is not installed")
        return NoCanceller()

    async def test() -> None:
        card, faults = ManualAudio(16_000), list[MediaFault]()
        door = Engine(
            audio=lambda: card,
            hands_free=HandsFree(HandsFreeSettings(), Calibration(), Engine.HANDS_FREE_HZ, make=missing),
            call_soon=asyncio.get_running_loop().call_soon_threadsafe,
            on_fault=faults.append,
        )
        door.play("ringback")
        await until(lambda: faults, "the fault")
        assert faults == [MediaFault("canceller", "the webrtc canceller is not installed; none is in its place")]
        card.run_free()
        door.close()

    run(test)


def test_picture_and_digits_reach_the_other_side(tmp_path: Path) -> None:
    pictures: list[bytes] = []
    at_door: list[MediaEvent] = []
    at_monitor: list[MediaEvent] = []

    async def test() -> None:
        door = engine(lambda: SimulatedAudio(1000), SimulatedCamera)
        monitor = engine(lambda: SimulatedAudio(600))
        a = door.open_leg("1.1", "127.0.0.1", at_door.append)
        b = monitor.open_leg("m", "127.0.0.1", at_monitor.append, on_picture=lambda unit, _: pictures.append(unit))
        connect(a, b, picture=True)
        b.send_digits("42#")
        await until(lambda: len(pictures) > 10, "ten pictures")
        await until(lambda: sum(isinstance(event, Digit) for event in at_door) == 3, "three digits")
        assert a.profile_level_id == SimulatedCamera().profile_level_id
        assert a.sprop_parameter_sets.startswith("Z")
        door.close()
        monitor.close()

    run(test)
    assert [event.digit for event in at_door if isinstance(event, Digit)] == ["4", "2", "#"]
    started = {(event.media, event.direction) for event in at_door if isinstance(event, RtpStarted)}
    assert started == {("audio", "sent"), ("audio", "received"), ("video", "sent")}
    started = {(event.media, event.direction) for event in at_monitor if isinstance(event, RtpStarted)}
    assert started == {("audio", "sent"), ("audio", "received"), ("video", "received")}
    import av

    decoder = av.CodecContext.create("h264", "r")
    frames = [frame for unit in pictures for frame in decoder.decode(av.Packet(unit))]  # type: ignore[attr-defined]
    assert len(frames) >= 10


def test_a_digit_arrives_though_the_sound_card_stands_still() -> None:
    async def test() -> None:
        device = ManualAudio()  # nobody turns its clock
        door = engine(lambda: device)
        events: list[MediaEvent] = []
        leg = door.open_leg("1.1", "127.0.0.1", events.append)
        phone = Peer()
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        await until(lambda: device.started, "the audio thread")
        phone.send(leg.audio_port, bytes((7, 10, 0, 160)), payload_type=101)
        await until(lambda: any(isinstance(event, Digit) for event in events), "the digit")
        assert door.status()["ticks"] == 0
        leg.digit_from_info("7")  # the same press
        leg.digit_from_info("8")
        assert [event.digit for event in events if isinstance(event, Digit)] == ["7", "8"]
        phone.close()
        device.run_free()
        door.close()

    run(test)


@pytest.mark.parametrize("talk", [True, False])
def test_a_key_that_the_microphone_sent_out_is_refused_and_one_that_it_kept_to_itself_is_not(talk: bool) -> None:
    async def test() -> None:
        device = ManualAudio()
        door = engine(lambda: device)
        events: list[MediaEvent] = []
        leg = door.open_leg("1.1", "127.0.0.1", events.append)
        phone = Peer()
        leg.connect(agreement(audio(phone.port)), talk=talk, listen=True)
        player = TonePlayer(keys_as_tone("7"))
        for ticks in range(1, 10):
            device.frame = player.frame() or device.frame
            device.step()
            await until(lambda ticks=ticks: door.status()["ticks"] == ticks, "the tick")
        for number in (7, 8):
            phone.send(leg.audio_port, bytes((number, 10, 0, 160)), payload_type=101)
        told = (Digit, DigitRefused)
        await until(lambda: sum(isinstance(event, told) for event in events) == 2, "both keys")
        assert [event.digit for event in events if isinstance(event, Digit)] == (["8"] if talk else ["7", "8"])
        phone.close()
        device.run_free()
        door.close()

    run(test)


def test_three_legs_are_mixed_and_one_encode_serves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        device = ManualAudio()
        device.frame = b"\x10\x20" * 160
        door = engine(lambda: device)
        phones = [Peer() for _ in range(3)]
        legs = [door.open_leg(f"1.{number}", "127.0.0.1", lambda _: None) for number in range(3)]
        for leg, phone in zip(legs, phones, strict=True):
            leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        device.step()
        payloads = {(await asyncio.to_thread(phone.receive)).payload for phone in phones}
        assert len(payloads) == 1
        legs[0].set_audio(talk=False, listen=True)
        device.step()
        silent, *heard_there = [(await asyncio.to_thread(phone.receive)).payload for phone in phones]
        assert silent == b"\xff" * 160
        assert heard_there == list(payloads) * 2
        device.run_free()
        door.close()
        for phone in phones:
            phone.close()

    run(test)


def test_ringback_sounds_at_the_door_and_the_thread_ends_after_it() -> None:
    async def test() -> None:
        device = ManualAudio()
        door = engine(lambda: device)
        assert not door.status()["running"]
        door.play("ringback")
        device.step(60)
        await until(lambda: len(device.played) >= 60, "60 frames")
        assert level_db(heard(device.played[:60]), 425) == pytest.approx(-13.1, abs=0.5)
        door.play(None)
        device.step(60)
        await stopped(door)
        assert device.stopped == 1
        assert not any(device.played[-1])
        door.play("confirm")  # ends by itself
        device.step(100)
        await until(lambda: device.started == 2, "the second start")
        await stopped(door)
        door.close()

    run(test)


def test_tones_follow_each_other_without_both_sounding() -> None:
    async def test() -> None:
        device = ManualAudio()
        door = engine(lambda: device)
        door.play("ringback")
        device.step(10)
        await until(lambda: len(device.played) >= 10, "10 frames")
        door.play("warning")
        device.step(40)
        await until(lambda: len(device.played) >= 50, "50 frames")
        assert level_db(heard(device.played[12:18]), 1400) > -20
        assert level_db(heard(device.played[12:18]), 425) < -45
        device.run_free()
        door.close()

    run(test)


def test_a_tone_in_a_conversation_ends_by_itself() -> None:
    async def test() -> None:
        device = ManualAudio()
        door = engine(lambda: device)
        phone = Peer()
        leg = door.open_leg("1.1", "127.0.0.1", lambda _: None)
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        leg.play("congestion")  # which repeats for ever on a line
        device.step(100)
        sound = [(await asyncio.to_thread(phone.receive)).payload for _ in range(100)]
        assert sound[5] != b"\xff" * 160
        assert set(sound[80:]) == {b"\xff" * 160}
        device.run_free()
        door.close()
        phone.close()

    run(test)


def test_a_missing_sound_card_is_a_fault_and_the_far_end_gets_silence_on_time() -> None:
    async def test() -> None:
        faults: list[MediaFault] = []
        device = ManualAudio()
        device.start_error = OSError("no card")
        door = engine(lambda: device, faults=faults)
        phone = Peer()
        leg = door.open_leg("1.1", "127.0.0.1", lambda _: None)
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        for _ in range(5):
            assert (await asyncio.to_thread(phone.receive)).payload == b"\xff" * 160
        assert faults == [MediaFault("audio", "no card")]
        assert door.status()["audio_fault"] == "no card"
        door.close()
        phone.close()

    run(test)


def test_a_missing_camera_leaves_a_call_with_sound_only() -> None:
    async def test() -> None:
        def no_camera() -> ManualCamera:
            raise OSError("no camera")

        faults: list[MediaFault] = []
        door = engine(SimulatedAudio, no_camera, faults)
        leg = door.open_leg("1.1", "127.0.0.1", lambda _: None)
        assert leg.video_port is None
        await until(lambda: faults, "the fault")
        assert faults == [MediaFault("camera", "no camera")]
        leg.connect(agreement(audio(4000), video(4002)), talk=True, listen=True)
        leg.request_keyframe()
        door.close()

    run(test)


def test_pitfall_08_keyframes_asked_for_by_info_reach_the_camera() -> None:
    async def test() -> None:
        camera = ManualCamera()
        device = ManualAudio()
        door = engine(lambda: device, lambda: camera)
        phone = Peer()
        leg = door.open_leg("1.1", "127.0.0.1", lambda _: None)
        leg.request_keyframe()  # no picture is agreed yet
        leg.connect(agreement(audio(phone.port), video(phone.port)), talk=True, listen=True)
        await until(lambda: camera.on_access_unit, "the camera")
        camera.take(keyframe=True)
        before = camera.keyframes
        leg.request_keyframe()

        def served() -> bool:
            camera.take(keyframe=False)
            return camera.keyframes > before

        await until(served, "the keyframe request")
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        await until(lambda: camera.stopped, "the camera to stop")
        device.run_free()
        door.close()
        phone.close()

    run(test)


def test_nothing_is_left_open_after_close() -> None:
    async def test() -> None:
        before = descriptors()
        threads = threading.active_count()
        interval = sys.getswitchinterval()
        for _ in range(3):
            door = engine(lambda: SimulatedAudio(), ManualCamera)
            for number in range(3):
                leg = door.open_leg(f"1.{number}", "127.0.0.1", lambda _: None)
                leg.connect(agreement(audio(4000), video(4002)), talk=True, listen=True)
            await until(lambda: door.status()["ticks"], "a tick")  # noqa: B023
            assert sys.getswitchinterval() == pytest.approx(0.001)
            leg.close()
            assert leg.close() == leg.statistics()
            door.close()
            door.close()
        assert descriptors() == before
        await until(lambda: threading.active_count() == threads, "all threads to end")
        assert sys.getswitchinterval() == interval

    run(test)


def test_a_closed_leg_says_nothing_more() -> None:
    async def test() -> None:
        events: list[MediaEvent] = []
        door = engine(lambda: SimulatedAudio())
        phone = Peer()
        leg = door.open_leg("1.1", "127.0.0.1", events.append)
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        await asyncio.to_thread(phone.receive)
        before = len(events)
        leg.close()
        leg.digit_from_info("5")
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        door.close()
        await asyncio.sleep(0)
        assert len(events) == before
        phone.close()

    run(test)


def test_exhausted_ports_are_named_and_leave_nothing_open() -> None:
    async def test() -> None:
        before = descriptors()
        door = engine(ManualAudio, ManualCamera, ports=(41000, 41001))
        with pytest.raises(OSError, match="41000-41001"):
            door.open_leg("1.1", "127.0.0.1", lambda _: None)  # audio takes the pair, video finds none
        door.close()
        assert descriptors() == before

    run(test)


def test_an_unknown_country_is_refused() -> None:
    with pytest.raises(KeyError):
        Engine(audio=ManualAudio, country="xx", call_soon=lambda function: function())


def test_without_a_running_loop_digits_come_with_the_tick() -> None:
    device = ManualAudio()
    events: list[MediaEvent] = []
    door = Engine(audio=lambda: device, call_soon=lambda function: function())
    leg = door.open_leg("1.1", "127.0.0.1", events.append)
    phone = Peer()
    leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
    phone.send(leg.audio_port, bytes((7, 10, 0, 160)), payload_type=101)
    device.step()
    phone.receive()
    assert [event.digit for event in events if isinstance(event, Digit)] == ["7"]
    device.run_free()
    door.close()
    phone.close()


# --- another address -----------------------------------------------------------------------------------------


def test_a_leg_that_moves_goes_on_as_the_same_sender_and_is_followed_by_its_digits() -> None:
    told: list[MediaEvent] = []

    async def test() -> None:
        card = ManualAudio()
        door = engine(lambda: card)
        leg = door.open_leg("1.1", "127.0.0.1", told.append)
        phone = Peer()
        leg.connect(agreement(audio(phone.port)), talk=True, listen=True)
        card.step(2)
        before = [phone.receive() for _ in range(2)][-1]
        ports, opened = (leg.audio_port, leg.video_port), descriptors()

        leg.move("127.0.0.2")

        assert ports != (leg.audio_port, leg.video_port)
        assert descriptors() == opened
        card.step()
        data, source = phone.rtp.recvfrom(2048)
        after = parse_rtp(data)
        assert source == ("127.0.0.2", leg.audio_port)
        assert (after.ssrc, after.sequence) == (before.ssrc, before.sequence + 1 & 0xFFFF)
        key = pack_rtp(101, True, 7, 4000, 0x77, b"\x05\x0a\x00\xa0")  # the key 5
        phone.rtp.sendto(key, source)
        await until(lambda: any(isinstance(event, Digit) for event in told), "the key")
        phone.rtp.sendto(pack_rtp(0, False, 8, 4160, 0x77, bytes(160)), source)

        def received() -> bool:
            card.step()
            return leg.statistics()["audio_received"] == 2

        await until(received, "sound at the new address")
        card.run_free()
        door.close()
        phone.close()

    run(test)


def test_a_leg_that_finds_no_ports_at_the_new_address_stays_where_it_is() -> None:
    async def test() -> None:
        card = ManualAudio()
        door = engine(lambda: card)
        leg = door.open_leg("1.1", "127.0.0.1", lambda _: None, on_picture=lambda *_: None)
        before, opened = (leg.audio_port, leg.video_port), descriptors()
        with pytest.raises(OSError, match=r"192\.0\.2\.7"):
            leg.move("192.0.2.7")
        assert (leg.audio_port, leg.video_port) == before
        assert descriptors() == opened
        card.run_free()
        door.close()

    run(test)


def test_the_card_stays_open_as_long_after_every_call_whatever_went_before() -> None:
    async def scene() -> None:
        card = ManualAudio()
        engine = Engine(audio=lambda: card, call_soon=lambda done: done())
        for _ in range(4):  # quiet for a while each time, never as long as it takes to end
            leg = engine.open_leg("1.1", "127.0.0.1", lambda event: None, video=False)
            await until(lambda: engine.status()["running"], "the audio thread runs")
            leg.close()
            card.step(15)
            await until(lambda: not card._steps._value, "fifteen ticks are over")
            assert card.started == 1
        card.run_free()
        engine.close()

    asyncio.run(scene())
