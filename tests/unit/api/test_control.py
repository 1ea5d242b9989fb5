"""The control socket: requests, their errors, events that are followed, and the bounds."""

import asyncio
import json
import os
import pwd
import socket
import stat
from typing import Any

import pytest

from firmware.api import control
from firmware.station.events import (
    ButtonPressed,
    InviteSent,
    LegFailed,
    PressEnded,
    StationStarted,
    StationStopping,
)
from firmware.station.status import ControlError


def pressed(press: int) -> ButtonPressed:
    return ButtonPressed(press=press, button="flat-1a", source="gpio", edge_s=0.0)


def run(coroutine: Any) -> None:
    asyncio.run(coroutine)


def test_each_verb_reaches_the_station_and_its_result_comes_back(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            assert (await client.ask(verb="status"))["result"]["name"] == "Calle Mayor 5"
            pressed = await client.ask(verb="press", button="flat-1a")
            assert pressed == {"ok": True, "result": {"press": 4, "button": "flat-1a"}}
            assert (await client.ask(verb="call", target="101"))["result"]["target"] == "101"
            sent = await client.ask(verb="message", target="101", text="Parcel at the door")
            assert sent["result"] == {"message": 1, "target": "101"}
            assert (await client.ask(verb="unlock", door="street"))["result"]["pulse_ms"] == 3000
            user = pwd.getpwuid(os.getuid()).pw_name
            assert h.station.asked == [
                ("press", "flat-1a", "doorctl"),
                ("call", "101"),
                ("message", "101", "Parcel at the door"),
                ("unlock", "street", user),
            ]

    run(scene())


def test_a_refusal_comes_back_in_the_stations_words(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            answer = await client.ask(verb="press", button="flat-9z", id=7)
            assert answer == {"id": 7, "ok": False, "error": 'there is no button "flat-9z"; configured: flat-1a'}
            assert (await client.ask(verb="hangup"))["error"] == "there is no call to end"

    run(scene())


BAD_REQUESTS = [
    (b"{", "not a line of JSON"),
    (b"\xff\xfe", "not a line of JSON"),
    (b"[" * 5000, "not a line of JSON"),
    (b"[1]", "object with a verb"),
    (b'{"verb": 5}', "object with a verb"),
    (b'{"verb": "dance"}', 'no verb "dance"; known: status, press'),
    (b'{"verb": "press", "button": ["a"]}', "button is a text"),
    (b'{"verb": "press", "button": "a\\nb"}', "button is a text"),
    (b'{"verb": "events", "last": "many"}', "last is a whole number"),
    (b'{"verb": "events", "last": true}', "last is a whole number"),
    (b'{"verb": "events", "last": -5}', "last is a whole number"),
    (b'{"verb": "events", "press": 1e99}', "press is a whole number"),
    (b'{"verb": "events", "since": 9999999999999999999999}', "since is a whole number"),
    (b'{"verb": "events", "follow": "yes"}', "follow is true or false"),
    (b'{"verb": "events", "follow": true, "press": "x"}', "press is a whole number"),
    (b'{"verb": "status", "rest": "' + b"x" * 40_000 + b'"}', "at most 16384 bytes"),
]


@pytest.mark.parametrize(("line", "complaint"), BAD_REQUESTS)
def test_a_malformed_request_gets_a_clear_error_and_the_next_one_its_answer(
    house: Any, line: bytes, complaint: str
) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            answer = await client.ask_raw(line)
            assert answer["ok"] is False
            assert complaint in answer["error"]
            if b'"follow": true' not in line:
                assert (await client.ask(verb="status"))["ok"] is True

    run(scene())


def test_a_bug_in_the_station_is_an_error_without_details_and_the_connection_lives(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            answer = await client.ask(verb="press", button="bug")
            assert answer == {"ok": False, "error": "internal error; see the station's journal"}
            assert (await client.ask(verb="status"))["ok"] is True

    run(scene())


def test_events_are_given_by_number_by_press_and_since(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(StationStarted(version="1", board="simulated"))
            for press in (1, 2, 3):
                h.stream.publish(pressed(press))
            client = await h.client()

            async def numbers(**which: Any) -> list[int]:
                answer = await client.ask(verb="events", **which)
                return [event["seq"] for event in answer["result"]["events"]]

            assert await numbers() == [1, 2, 3, 4]
            assert await numbers(last=2) == [3, 4]
            assert await numbers(press=2) == [3]
            assert await numbers(since=1) == [2, 3, 4]
            assert await numbers(since=0, last=2) == [1, 2]

    run(scene())


def test_why_explains_the_last_press_or_the_one_asked_for(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            assert (await client.ask(verb="why"))["error"] == "there was no press yet"
            h.stream.publish(pressed(1))
            h.stream.publish(PressEnded(press=1, outcome="failed", reason="no ring plan"))
            h.stream.publish(pressed(2))
            h.stream.publish(InviteSent(press=2, leg="2.1", target="101"))
            h.stream.publish(LegFailed(press=2, leg="2.1", status=486, reason="Busy Here"))
            h.stream.publish(PressEnded(press=2, outcome="failed", reason="all legs failed"))
            assert (await client.ask(verb="why"))["result"]["verdict"] == "No phone rang: 101: 486 Busy Here."
            assert (await client.ask(verb="why", press=1))["result"]["failed"] == "invite"
            missing = await client.ask(verb="why", press=9)
            assert missing["error"] == "there is no press 9 in the store; the last is 2"

    run(scene())


def test_a_press_of_an_earlier_run_is_not_still_going_on(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(pressed(1))
            client = await h.client()
            assert (await client.ask(verb="why"))["result"]["ongoing"] is True
        async with house() as h:
            client = await h.client()
            assert (await client.ask(verb="why"))["result"]["ongoing"] is False

    run(scene())


def test_following_gives_stored_events_and_then_each_new_one_without_gap_or_repetition(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            for press in range(1, 51):
                h.stream.publish(pressed(press))
            client = await h.client()
            client.writer.write(b'{"verb": "events", "follow": true, "last": 10}\n')
            writing = [h.stream.publish(pressed(press)) for press in range(51, 61)]
            await asyncio.sleep(0)
            stored = (await client.read())["result"]["events"]
            for press in range(61, 71):
                writing.append(h.stream.publish(pressed(press)))
            seen = [event["seq"] for event in stored]
            while seen[-1] < 70:
                seen.append((await client.read())["event"]["seq"])
            assert seen == list(range(seen[0], 71))
            assert len(stored) == 10

    run(scene())


def test_following_since_a_number_gives_all_that_was_missed(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_EVENTS", 10)
    monkeypatch.setattr(control, "MORE", 7)

    async def scene() -> None:
        async with house() as h:
            for press in range(1, 101):
                h.stream.publish(pressed(press))
            client = await h.client()
            stored = (await client.ask(verb="events", follow=True, since=3))["result"]["events"]
            h.stream.publish(pressed(101))
            seen = [event["seq"] for event in stored]
            while seen[-1] < 101:
                seen.append((await client.read())["event"]["seq"])
            assert seen == list(range(4, 102))

    run(scene())


def test_following_one_press_leaves_out_the_others(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(pressed(1))
            client = await h.client()
            first = await client.ask(verb="events", follow=True, press=2)
            assert first["result"]["events"] == []
            h.stream.publish(pressed(1))
            h.stream.publish(pressed(2))
            assert (await client.read())["event"]["press"] == 2

    run(scene())


def test_a_follower_that_hangs_up_is_forgotten(house: Any, until: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            before = len(h.stream._subscribers)
            await client.ask(verb="events", follow=True)
            assert len(h.stream._subscribers) == before + 1
            client.writer.close()
            await until(lambda: len(h.stream._subscribers) == before)

    run(scene())


def test_a_follower_that_reads_too_slowly_is_told_and_dropped(house: Any, until: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            before = len(h.stream._subscribers)
            slow = h.slow_client()
            slow.sendall(b'{"verb": "events", "follow": true}\n')
            await until(lambda: len(h.stream._subscribers) == before + 1)
            fast = await h.client()
            await fast.ask(verb="events", follow=True)
            reading = asyncio.ensure_future(_read_all(fast))
            for _ in range(20_000):
                h.stream.publish(StationStopping(reason="x" * 100))
                if len(h.stream._subscribers) == before + 1:
                    break
                await asyncio.sleep(0)
            await until(lambda: len(h.stream._subscribers) == before + 1)
            text = await asyncio.to_thread(_drained, slow)
            last = json.loads(text.splitlines()[-1])
            assert last["end"].startswith("reading too slowly: events from ")
            told = [json.loads(line)["event"]["seq"] for line in text.splitlines()[1:-1]]
            assert last["end"].endswith(f"ask since {told[-1]}")
            assert not reading.done()
            reading.cancel()

    run(scene())


def _drained(connection: socket.socket) -> str:
    connection.settimeout(20)
    with connection, connection.makefile("r") as stream:
        return stream.read()


async def _read_all(client: Any) -> None:
    while await client.read() is not None:
        pass


def test_followers_are_told_when_the_station_stops(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            await client.ask(verb="events", follow=True)
            await h.server.stop()
            assert await client.read() == {"end": "the station is stopping"}
            assert not h.path.exists()

    run(scene())


def test_a_stop_does_not_wait_for_one_who_does_not_read(
    house: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "STOP_S", 0.1)

    async def scene() -> None:
        async with house() as h:
            before = len(h.stream._subscribers)
            slow = h.slow_client()
            slow.sendall(b'{"verb": "events", "follow": true}\n')
            await until(lambda: len(h.stream._subscribers) == before + 1)
            for _ in range(3000):
                h.stream.publish(StationStopping(reason="x" * 100))
            async with asyncio.timeout(20):
                await h.server.stop()
            slow.close()

    run(scene())


def test_there_is_room_for_so_many_clients_and_again_when_one_leaves(house: Any, until: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            clients = [await h.client() for _ in range(control.MAX_CLIENTS)]
            for client in clients:
                assert (await client.ask(verb="status"))["ok"]
            late = await h.client()
            assert "clients are connected already" in (await late.read())["error"]
            assert await late.read() is None
            clients[0].writer.close()
            await until(lambda: len(h.server._clients) < control.MAX_CLIENTS)
            assert (await (await h.client()).ask(verb="status"))["ok"]

    run(scene())


def test_a_client_that_asks_nothing_makes_room(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "IDLE_S", 0.05)

    async def scene() -> None:
        async with house() as h:
            assert await (await h.client()).read() is None

    run(scene())


def test_the_socket_is_for_owner_and_group_alone(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            assert stat.S_IMODE(h.path.stat().st_mode) == 0o660

    run(scene())


def test_a_socket_that_a_killed_station_left_is_replaced(house: Any, tmp_path: Any) -> None:
    (tmp_path / "run").mkdir()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "run" / "portero.sock"))
    left.close()

    async def scene() -> None:
        async with house() as h:
            assert (await (await h.client()).ask(verb="status"))["ok"]

    run(scene())


def test_a_second_station_on_the_same_socket_is_refused(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            second = control.ControlServer(h.path, h.station, h.stream, h.store)
            with pytest.raises(ControlError, match="another station runs"):
                await second.start()
            assert (await (await h.client()).ask(verb="status"))["ok"]

    run(scene())


def test_a_file_in_the_sockets_place_is_not_deleted(house: Any, tmp_path: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "portero.sock").write_text("mine")

    async def scene() -> None:
        async with house():
            pass

    with pytest.raises(ControlError, match="is no socket"):
        run(scene())
    assert (tmp_path / "run" / "portero.sock").read_text() == "mine"
