"""The trace of SIP on the control socket and through `doorctl sip`: all of it, one call, one press, followed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from firmware.api import control
from firmware.sip.configuration import Configuration
from firmware.sip.replay import replay
from firmware.sip.trace import Trace, TracedCore
from firmware.sip.uri import Uri
from firmware.station.events import ButtonPressed, InviteSent, PressEnded
from tests.support.sip_link import Bench, reply, seeded


def bench_of(trace: Trace) -> Bench:
    bench = Bench()
    bench.now = time.monotonic()
    bench.core = TracedCore(Configuration(), random=seeded(5), trace=trace)
    return bench


def two_calls(trace: Trace) -> Bench:
    """Call 1 is refused, call 2 rings."""
    bench = bench_of(trace)
    for user in ("kitchen", "hall"):
        bench.core.invite(Uri.parse(f"sip:{user}@10.0.0.2"), b"v=0\r\n", bench.now)
    kitchen, hall = bench.sent()
    bench.receive(reply(kitchen, 486))
    bench.receive(reply(hall, 180))
    bench.sent()
    return bench


async def doorctl(h: Any, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firmware.api.doorctl", "sip", "--run-dir", str(h.path.parent), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TZ": "UTC", "PYTHONIOENCODING": "utf-8"},
    )
    out, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), error.decode()


def test_the_whole_trace_comes_back_and_replays(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            two_calls(h.trace)
            result = (await (await h.client()).ask(verb="sip"))["result"]
            assert result["header"]["lost"] == 0
            assert abs(result["header"]["offset_s"] - (time.time() - time.monotonic())) < 1
            code, out, error = await doorctl(h, "--json")
            assert (code, error) == (0, "")
            assert replay(out.splitlines(), exact=True).differences == ()
            assert [json.loads(line)["n"] for line in out.splitlines()[1:]] == [e["n"] for e in result["entries"]]

    asyncio.run(scene())


def test_one_call_or_the_last_steps_are_a_part_that_does_not_claim_to_replay(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            two_calls(h.trace)
            client = await h.client()
            one = (await client.ask(verb="sip", call=2))["result"]
            assert one["header"]["part"]
            assert "SIP/2.0 486" not in json.dumps(one["entries"])
            assert one["origin_s"] == one["entries"][0]["at"]
            last = (await client.ask(verb="sip", last=2))["result"]
            assert (len(last["entries"]), last["header"]["part"], last["origin_s"]) == (2, True, None)
            assert "no call 9 is in the trace" in (await client.ask(verb="sip", call=9))["error"]

    asyncio.run(scene())


def test_a_press_is_shown_from_its_edge_with_the_calls_it_made(house: Any, until: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            bench = two_calls(h.trace)
            edge_s = bench.now - 0.25
            h.stream.publish(ButtonPressed(press=1, button="flat", source="gpio", edge_s=edge_s))
            h.stream.publish(InviteSent(press=1, leg="1.1", target="hall", call=2))
            h.stream.publish(ButtonPressed(press=2, button="flat", source="gpio", edge_s=edge_s, action="ignore"))
            await until(lambda: h.store.last_press() == 2)
            code, out, _ = await doorctl(h, "--press", "1")
            assert code == 0
            assert "250.0 ms  │ » call sip:hall@10.0.0.2" in out
            assert "kitchen" not in out
            assert "made no call" in (await doorctl(h, "--press", "2"))[2]
            assert "no press 7" in (await doorctl(h, "--press", "7"))[2]

    asyncio.run(scene())


def test_a_press_of_an_earlier_run_has_no_messages_any_more(house: Any, until: Any) -> None:
    async def first() -> None:
        async with house() as h:
            h.stream.publish(ButtonPressed(press=1, button="flat", source="gpio", edge_s=0.0))
            h.stream.publish(PressEnded(press=1, outcome="failed", reason=""))
            await until(lambda: h.store.last_press() == 1)

    async def second() -> None:
        async with house() as h:
            answer = await (await h.client()).ask(verb="sip", press=1)
            assert "before the station's last start" in answer["error"]

    asyncio.run(first())
    asyncio.run(second())


def test_what_follows_comes_as_it_happens_and_only_of_the_call_asked_for(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            bench = two_calls(h.trace)
            everything, one = await h.client(), await h.client()
            assert (await everything.ask(verb="sip", follow=True))["ok"]
            assert (await one.ask(verb="sip", follow=True, call=2))["ok"]
            bench.core.invite(Uri.parse("sip:attic@10.0.0.2"), b"v=0\r\n", bench.now)
            bench.sent()
            bench.core.hangup(2, bench.now)
            assert (await everything.read())["entry"]["do"] == "invite"
            entry = (await one.read())["entry"]
            assert (entry["do"], entry["with"]["call"]) == ("hangup", 2)
            refused = await (await h.client()).ask(verb="sip", follow=True, press=1)
            assert "not followed" in refused["error"]

    asyncio.run(scene())


def test_a_follower_that_reads_too_slowly_is_told_and_does_not_hold_the_station_up(
    house: Any, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    monkeypatch.setattr(control, "MAX_WAITING", 4096)

    async def scene() -> None:
        async with house() as h:
            bench = bench_of(h.trace)
            slow = h.slow_client()
            slow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, b'{"verb": "sip", "follow": true}\n')
            await until(lambda: bool(h.trace._listeners))
            for number in range(300):
                await asyncio.sleep(0)
                bench.core.invite(Uri.parse(f"sip:{number}@10.0.0.2"), b"v=0\r\n" * 50, bench.now)
                bench.sent()
            await until(lambda: not h.trace._listeners)
            received = b""
            while data := await asyncio.wait_for(loop.sock_recv(slow, 65536), 20):
                received += data
            slow.close()
            assert b"reading too slowly" in received.splitlines()[-1]

    asyncio.run(scene())


def test_a_capture_file_is_written_or_the_refusal_says_where(house: Any, tmp_path: Path) -> None:
    async def scene() -> None:
        async with house() as h:
            two_calls(h.trace)
            target = tmp_path / "calls.pcapng"
            code, out, _ = await doorctl(h, "--pcap", str(target))
            assert code == 0
            assert "calls.pcapng" in out
            assert target.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
            code, _, error = await doorctl(h, "--pcap", str(tmp_path / "no" / "where"))
            assert (code, "No such file" in error) == (1, True)

    asyncio.run(scene())


def test_a_terminal_without_unicode_gets_plain_letters(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            two_calls(h.trace)
            code, out, _ = await doorctl(h)
            assert code == 0
            assert "─ INVITE 1 sdp [1] ─" in out
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "firmware.api.doorctl", "sip", "--run-dir", str(h.path.parent)),
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONIOENCODING": "ascii"},
            )
            plain, _ = await asyncio.wait_for(process.communicate(), 20)
            assert b"|- INVITE 1 sdp [1] -" in plain

    asyncio.run(scene())


def test_nothing_yet_is_said_so(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            code, out, error = await doorctl(h)
            assert (code, out.strip(), "nothing was sent" in error) == (0, "", True)

    asyncio.run(scene())
