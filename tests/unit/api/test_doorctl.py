"""`doorctl` as a process: what it prints, its JSON, and its exit status."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from firmware.api import places
from firmware.diagnostics import why
from firmware.station import status
from firmware.station.events import ButtonPressed, EventStream, IncomingRefused, PressEnded
from firmware.store import Store

ENVIRONMENT = {**os.environ, "TZ": "UTC", "PYTHONUNBUFFERED": ""}


@dataclass
class Said:
    code: int
    out: str
    error: str


async def doorctl(*arguments: str, **environment: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firmware.api.doorctl", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, **environment},
    )
    out, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), error.decode())


def ask(*arguments: str, **environment: str) -> Said:
    return asyncio.run(doorctl(*arguments, **environment))


def pressed(press: int) -> ButtonPressed:
    return ButtonPressed(press=press, button="flat-1a", source="gpio", edge_s=0.0)


def test_status_is_a_page_that_a_technician_reads(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            said = await doorctl("status", "--run-dir", str(h.path.parent))
            assert said.out.splitlines() == [
                "Calle Mayor 5: Portero 0.1.0 on simulated, running for 1 h 2 min",
                "listens on 0.0.0.0:5060",
                "portero-door is not connected: no door opens",
                "codes are locked for 12 s after too many wrong ones",
                "Accounts",
                f"  pbx    sip:door@pbx            {'registered':47}  for 1 min 0 s",
                "  other  sip:door@other.example  failed: 403 Forbidden; next attempt within 30 s  for 5 s",
                "Doors",
                "  street  unknown: portero-door is away",
                "Calls",
                "  3.1  101  outgoing  talking for 4 s",
                "Faults",
                "  2023-11-14 22:13:20.000  camera  is gone; plug it in",
                "Last press  3  2023-11-14 22:13:20.000  flat-1a (gpio)  going on",
            ]
            assert (said.code, said.error) == (0, "")
            as_json = await doorctl("status", "--json", "--run-dir", str(h.path.parent))
            assert json.loads(as_json.out) == json.loads(json.dumps(h.station.status()))

    asyncio.run(scene())


def test_commands_say_what_was_done(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            where = {"PORTERO_RUN_DIR": str(h.path.parent)}
            assert (await doorctl("press", "flat-1a", **where)).out.startswith("press 4: flat-1a rings")
            assert (await doorctl("call", "101", **where)).out == "press 5: calling 101\n"
            assert (await doorctl("call", "--stats", **where)).out == "no call\n"
            assert json.loads((await doorctl("call", "--stats", "--json", **where)).out) == {"legs": []}
            sent = await doorctl("message", "101", "Parcel", **where)
            assert sent.out == "text sent to 101; doorctl events tells whether it arrived\n"
            assert (await doorctl("keys", "12#", **where)).out == "press 5: 3 keys pressed\n"
            assert (await doorctl("unlock", "street", **where)).out == "street is open for 3 s\n"
            answer = await doorctl("unlock", "street", "--json", **where)
            assert json.loads(answer.out) == {"door": "street", "pulse_ms": 3000}

    asyncio.run(scene())


def test_a_refusal_is_exit_status_1_with_the_stations_words(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            said = await doorctl("press", "flat-9z", "--run-dir", str(h.path.parent))
            assert said == Said(1, "", 'doorctl: there is no button "flat-9z"; configured: flat-1a\n')
            said = await doorctl("hangup", "--json", "--run-dir", str(h.path.parent))
            assert json.loads(said.out) == {"error": "there is no call to end", "code": 1}
            assert said.code == 1

    asyncio.run(scene())


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["call"], ["events", "--last", "0"], ["events", "--since", "-1"], ["why", "x"]]
)
def test_wrong_usage_is_exit_status_2(arguments: list[str]) -> None:
    said = ask(*arguments)
    assert said.code == 2
    assert "usage: doorctl" in said.error


@pytest.mark.parametrize("arguments", [["status"], ["press", "a"], ["hangup"], ["events", "--follow"], ["why"]])
def test_without_a_station_it_is_exit_status_3_with_a_remedy(tmp_path: Path, arguments: list[str]) -> None:
    said = ask(*arguments, PORTERO_RUN_DIR=str(tmp_path), PORTERO_STATE_DIR=str(tmp_path))
    assert said.code == 3
    assert f"nothing listens on {tmp_path}/portero.sock" in said.error
    assert "systemctl start portero" in said.error


def test_a_demo_is_found_although_an_installed_station_has_left_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed, demo = tmp_path / "installed", tmp_path / f"portero-demo-{os.getuid()}"
    for folder in (installed, demo / "run", demo / "state"):
        folder.mkdir(parents=True)
    (installed / "door.lock").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("PORTERO_RUN_DIR", "PORTERO_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "RUN_DIR", str(installed))
    monkeypatch.setattr(places, "STATE_DIR", str(installed))
    assert places.folders(None, None) == (demo / "run", demo / "state")
    (installed / "portero.sock").touch()
    assert places.folders(None, None) == (installed, installed)


def stored_visit(folder: Path) -> None:
    store = Store(folder / "events.sqlite")
    stream = EventStream(store.first_seq, wall=lambda: 1.7e9, monotonic=lambda: 5.0)
    store.start(lambda event: None)
    stream.subscribe(store.append)
    stream.publish(pressed(1))
    stream.publish(PressEnded(press=1, outcome="failed", reason="no ring plan"))
    store.close()


def test_events_and_why_work_from_the_file_when_no_station_runs(tmp_path: Path) -> None:
    stored_visit(tmp_path)
    where = {"PORTERO_RUN_DIR": str(tmp_path), "PORTERO_STATE_DIR": str(tmp_path)}
    said = ask("events", **where)
    assert said.out.splitlines() == [
        "      1  2023-11-14 22:13:20.000       1  button flat-1a pressed (gpio)",
        "      2  2023-11-14 22:13:20.000       1  visit failed: no ring plan",
    ]
    assert said.error == f"doorctl: the station is not running; this is from {tmp_path}/events.sqlite\n"
    assert said.code == 0
    said = ask("why", **where)
    assert "Nothing rang: no INVITE was sent (no ring plan)." in said.out
    assert json.loads(ask("why", "1", "--json", **where).out)["failed"] == "invite"
    assert ask("why", "7", **where).code == 1
    assert [
        json.loads(line)["seq"] for line in ask("events", "--json", "--since", "1", **where).out.splitlines()
    ] == [2]


def test_the_folders_are_found_through_the_configuration(tmp_path: Path) -> None:
    stored_visit(tmp_path)
    config = tmp_path / "portero.toml"
    config.write_text(f'[station]\nrun_dir = "{tmp_path}"\nstate_dir = "{tmp_path}"\n')
    assert ask("why", "--config", str(config)).code == 0
    config.write_text("[station\n")
    said = ask("status", "--config", str(config))
    assert said.code == 1
    assert "check-config" in said.error


def test_options_stand_before_the_verb_or_after_it(tmp_path: Path) -> None:
    stored_visit(tmp_path)
    config = tmp_path / "portero.toml"
    config.write_text(f'[station]\nrun_dir = "{tmp_path}"\nstate_dir = "{tmp_path}"\n')
    before, after = ask("--json", "--config", str(config), "why"), ask("why", "--config", str(config), "--json")
    assert before.out == after.out
    assert before.out.startswith("{")


def test_events_and_why_of_a_running_station(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(pressed(1))
            h.stream.publish(PressEnded(press=1, outcome="failed", reason="no ring plan"))
            where = {"PORTERO_RUN_DIR": str(h.path.parent)}
            said = await doorctl("events", "--last", "1", **where)
            assert said.out.endswith("visit failed: no ring plan\n")
            assert said.error == ""
            assert "Nothing rang" in (await doorctl("why", **where)).out
            assert (await doorctl("events", "--press", "9", **where)).error == "doorctl: no such events\n"

    asyncio.run(scene())


def test_a_callers_name_does_not_command_the_terminal(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(
                IncomingRefused(caller="\x1b]0;owned\x07\nM\xfcller", source="udp", status=403, reason="no")
            )
            where = {"PORTERO_RUN_DIR": str(h.path.parent)}
            said = await doorctl("events", **where)
            assert "call from \\x1b]0;owned\\x07" in said.out
            assert said.out.count("\n") == 1
            assert said.out.rstrip("\n").isprintable()
            assert (await doorctl("events", PYTHONIOENCODING="ascii", **where)).code == 0

    asyncio.run(scene())


@contextlib.asynccontextmanager
async def following(run_dir: Path) -> Any:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firmware.api.doorctl", "events", "--follow", "--json", "--run-dir", str(run_dir)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_follow_prints_each_event_at_once_and_ends_on_ctrl_c(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(pressed(1))
            async with following(h.path.parent) as process, asyncio.timeout(20):
                assert json.loads(await process.stdout.readline())["press"] == 1
                for press in (2, 3):
                    h.stream.publish(pressed(press))
                    assert json.loads(await process.stdout.readline())["press"] == press
                process.send_signal(signal.SIGINT)
                out, error = await process.communicate()
                assert (process.returncode, out, error) == (0, b"", b"")

    asyncio.run(scene())


def test_follow_ends_when_its_reader_is_gone_even_while_nothing_happens(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(pressed(1))
            reading, writing = os.pipe()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "firmware.api.doorctl", "events", "--follow"),
                stdout=writing,
                stderr=subprocess.PIPE,
                env={**ENVIRONMENT, "PORTERO_RUN_DIR": str(h.path.parent)},
            )
            os.close(writing)
            async with asyncio.timeout(20):
                assert b"pressed" in await asyncio.to_thread(os.read, reading, 4096)
                os.close(reading)
                _, error = await process.communicate()
            assert (process.returncode, error) == (0, b"")

    asyncio.run(scene())


def test_follow_says_when_the_station_stops(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.stream.publish(pressed(1))
            async with following(h.path.parent) as process, asyncio.timeout(20):
                await process.stdout.readline()
                await h.server.stop()
                out, error = await process.communicate()
                assert process.returncode == 1
                assert json.loads(out) == {"error": "the station is stopping", "code": 1}
                assert error == b"doorctl: the station is stopping\n"

    asyncio.run(scene())


def test_every_key_of_the_documented_shapes_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "doorctl.md").read_text()
    shapes = (
        *(status.Status, status.AccountStatus, status.DoorStatus, status.CallStatus),
        *(status.FaultStatus, status.PressStatus, why.Timeline, why.Failure, why.Step),
    )
    missing = [
        f"{shape.__name__}.{field.name}"
        for shape in shapes
        for field in dataclasses.fields(shape)
        if f"`{field.name}`" not in page
    ]
    assert missing == []
    assert all(f"`{step}`" in page for step in get_args(why.StepName))


def test_a_command_starts_with_the_standard_library_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from firmware.api import doorctl\n"
        f"doorctl.main(['status', '--run-dir', {str(tmp_path)!r}])\n"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] in"
        " ('firmware', 'msgspec', 'asyncio', 'sqlite3', 'av', 'gpiozero', 'ssl')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours = ("client", "doorctl", "places", "text")
    assert out.split() == ["firmware", "firmware.api", *(f"firmware.api.{name}" for name in ours)]


def test_a_sound_check_is_told_line_by_line_and_its_status_says_whether_all_is_well(house: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            run_dir = str(h.path.parent)
            said = await doorctl("audio", "loop", "--run-dir", run_dir)
            assert said.code == 1
            assert said.out.splitlines() == [
                "Street noise       -61 dBFS",
                "Speaker heard      after 81 ms, -12 dB against what is played",
                "Far end's own echo 34 dB below its voice (canceller: webrtc)",
                "Wrong: the microphone clips: turn its gain down",
                "Not well",
            ]
            said = await doorctl("audio", "loop", "--json", "--run-dir", run_dir)
            assert said.code == 1
            assert json.loads(said.out)["delay_ms"] == 81.2
            said = await doorctl("audio", "calibrate", "--run-dir", run_dir)
            assert said.code == 1
            assert "the door is in a call; end it first with: doorctl hangup" in said.error
            assert (await doorctl("audio", "sing", "--run-dir", run_dir)).code == 2
            assert h.station.asked == [("audio", "loop"), ("audio", "loop"), ("audio", "calibrate")]

    asyncio.run(scene())
