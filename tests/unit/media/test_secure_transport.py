"""ICE and DTLS under a stream: two of ours on the loopback, their ticks turned by hand on one event loop."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("aiortc")

from firmware.media import dtls
from firmware.media.audio import AudioStream
from firmware.media.codec import NARROWBAND_HZ, frame_bytes
from firmware.media.ice_servers import IceServers
from firmware.media.transport import Transport
from firmware.net.rtp_port import RtpPort
from firmware.sdp.agreement import AgreedMedia, DtlsAgreement
from firmware.sdp.keying import Fingerprint
from tests.support.media import Peer, audio, until

SILENCE = bytes(frame_bytes(NARROWBAND_HZ))
WRONG = Fingerprint("sha-256", ":".join(["AB"] * 32))


class End:
    """A stream with its transport. `follow` is what an agreement of the session descriptions does."""

    def __init__(self, *, ice: bool) -> None:
        self.digits: list[str] = []
        self.failed: list[str] = []
        self.agreed: AgreedMedia | None = None
        self.stream = AudioStream(
            RtpPort("127.0.0.1", control=True), lambda _: None, lambda d, _: self.digits.append(d), "cname"
        )
        self.stream.set_audio(talk=True, listen=True)
        loop = asyncio.get_running_loop()
        self.transport = Transport(
            self.stream,
            loop,
            ice=IceServers() if ice else None,
            on_way=lambda: self.stream.connect(self.agreed),
            go_over=lambda stream, wire: stream.go_over(wire),
            on_failed=self.failed.append,
        )
        control = self.stream.port.control
        assert control is not None
        loop.add_reader(control.fileno(), self.stream.read_control)

    def towards(self, other: "End", role: Any, fingerprint: Fingerprint | None = None) -> AgreedMedia:
        local = other.transport.local
        assert local.fingerprint is not None
        return replace(
            audio(other.stream.port.port),
            rtcp_mux=True,
            dtls=DtlsAgreement(role, (fingerprint or local.fingerprint,)),
            ice=local.ice,
            controlling=role == "server",
        )

    def follow(self, agreed: AgreedMedia) -> None:
        self.agreed = agreed
        self.transport.follow(agreed)
        self.stream.connect(agreed)

    def move(self) -> None:
        """Another port of ours, as another address would need one."""
        loop, before = asyncio.get_running_loop(), self.stream.port
        assert before.control is not None
        loop.remove_reader(before.control.fileno())
        self.stream.rebind(before.again(before.host)).close()
        assert self.stream.port.control is not None
        loop.add_reader(self.stream.port.control.fileno(), self.stream.read_control)
        self.transport.moved()

    def tick(self) -> None:
        now = time.monotonic()
        self.stream.read_media(now, time.time() - now)
        self.stream.play(now)
        self.stream.send(SILENCE, {}, now)

    def count(self, name: str) -> Any:
        return self.stream.statistics().get(f"audio_{name}", 0)

    async def close(self) -> None:
        control = self.stream.port.control
        assert control is not None
        asyncio.get_running_loop().remove_reader(control.fileno())
        self.transport.close()
        self.stream.close()


def with_ends(ice: bool, work: Callable[[End, End], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        door, phone = End(ice=ice), End(ice=ice)
        try:
            for end in (door, phone):
                await end.transport.gather()
            await asyncio.wait_for(work(door, phone), 30)
        finally:
            for end in (door, phone):
                await end.close()
            await until(lambda: not dtls._closing, "goodbyes are said")

    asyncio.run(all_of_it())


async def flows(door: End, phone: End) -> None:
    """Sound, both ways."""
    for end in (door, phone):
        before = end.count("received")

        def heard(end: End = end, before: int = before) -> bool:
            door.tick()
            phone.tick()
            return bool(end.count("received") >= before + 5)

        await until(heard, "sound comes")


@pytest.mark.parametrize("ice", [False, True])
def test_sound_flows_with_the_keys_of_a_handshake(ice: bool) -> None:
    async def work(door: End, phone: End) -> None:
        door.follow(door.towards(phone, "server"))
        phone.follow(phone.towards(door, "client"))
        await flows(door, phone)
        assert door.count("srtp") == phone.count("srtp") == "AEAD_AES_256_GCM"
        assert door.count("forged") == phone.count("forged") == 0
        phone.stream.press("5")
        # Digits take the control socket, sealed as everything else.
        for _ in range(10):
            phone.tick()
        await flows(door, phone)
        assert door.failed == phone.failed == []

    with_ends(ice, work)


@pytest.mark.parametrize("ice", [False, True])
def test_nothing_plain_leaves_or_is_heard_before_the_keys(ice: bool) -> None:
    async def work(door: End, phone: End) -> None:
        stranger = Peer()
        door.follow(door.towards(phone, "server"))
        stranger.send(door.stream.port.port, bytes(160))
        for _ in range(5):
            door.tick()
        assert door.count("received") == door.count("sent") == 0
        stranger.close()

    with_ends(ice, work)


def test_a_handshake_that_began_before_the_answer_was_read_goes_on() -> None:
    async def work(door: End, phone: End) -> None:
        phone.follow(phone.towards(door, "client"))
        await until(lambda: bool(door.transport._early), "the phone began")
        door.follow(door.towards(phone, "server"))
        await flows(door, phone)

    with_ends(False, work)


def test_another_certificate_than_the_descriptions_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtls, "HANDSHAKE_S", 2.0)

    async def work(door: End, phone: End) -> None:
        door.follow(door.towards(phone, "server", WRONG))
        phone.follow(phone.towards(door, "client"))
        await until(lambda: door.failed, "the door tells")
        assert "certificate" in door.failed[0]
        for _ in range(5):
            door.tick()
            phone.tick()
        assert door.count("received") == door.count("sent") == 0

    with_ends(False, work)


@pytest.mark.parametrize("ice", [False, True])
def test_the_same_agreement_again_changes_nothing_and_another_phone_shakes_hands_anew(
    ice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(door: End, phone: End) -> None:
        door.follow(door.towards(phone, "server"))
        phone.follow(phone.towards(door, "client"))
        await flows(door, phone)
        shaken = door.transport._dtls
        door.follow(door.towards(phone, "server"))
        assert door.transport._dtls is shaken
        await flows(door, phone)
        monkeypatch.setattr(dtls, "_certificate", None)
        other = End(ice=ice)
        try:
            await other.transport.gather()
            door.follow(door.towards(other, "client"))
            other.follow(other.towards(door, "server"))
            await flows(door, other)
        finally:
            await other.close()
        assert not door.failed

    with_ends(ice, work)


def test_without_a_handshake_the_stream_is_plain_again() -> None:
    async def work(door: End, phone: End) -> None:
        door.follow(door.towards(phone, "server"))
        phone.follow(phone.towards(door, "client"))
        await flows(door, phone)
        door.follow(audio(phone.stream.port.port))
        phone.follow(audio(door.stream.port.port))
        await flows(door, phone)
        assert not door.count("srtp")

    with_ends(False, work)


@pytest.mark.parametrize("first", [0, 1, 3, 20, 22, 63])
def test_whatever_looks_like_stun_or_dtls_is_survived(first: int) -> None:
    async def work(door: End, phone: End) -> None:
        door.follow(door.towards(phone, "server"))
        phone.follow(phone.towards(door, "client"))
        await flows(door, phone)
        for size in (0, 1, 19, 200):
            phone.stream.send_past(bytes([first]) + os.urandom(size), ("127.0.0.1", door.stream.port.port))
        await flows(door, phone)
        assert not door.failed

    with_ends(True, work)


def test_over_ice_a_move_costs_neither_the_keys_nor_the_numbers() -> None:
    async def work(door: End, phone: End) -> None:
        door.follow(door.towards(phone, "server"))
        phone.follow(phone.towards(door, "client"))
        await flows(door, phone)
        shaken, ssrc, port = door.transport._dtls, door.stream.ssrc, door.stream.port.port
        first = door.transport.local.ice
        door.move()
        assert door.transport.gathers
        await door.transport.gather()
        phone.transport.renew()
        moved, reply = door.transport.local.ice, phone.transport.local.ice
        assert first is not None
        assert moved is not None
        assert reply is not None
        assert (moved.ufrag, moved.pwd) != (first.ufrag, first.pwd)
        phone.follow(replace(phone.towards(door, "client"), own_ufrag=reply.ufrag))
        door.follow(replace(door.towards(phone, "server"), own_ufrag=moved.ufrag))
        await until(lambda: phone.stream._path == ("127.0.0.1", door.stream.port.port), "the phone's new way")
        await flows(door, phone)
        assert door.stream.port.port != port
        assert (door.transport._dtls, door.stream.ssrc) == (shaken, ssrc)
        assert door.failed == phone.failed == []

    with_ends(True, work)
