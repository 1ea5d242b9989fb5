"""The demonstration: starts portero-door and portero as the processes they are, an indoor monitor beside them,
makes one call from the press to the open door, and tells what happens from the station's own events.

    register, press, ring, picture before the answer, answer, talk, code, relay, hang up

Every step has a deadline; what was not seen is named at the end.
"""

import asyncio
import contextlib
import fcntl
import json
import secrets
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from firmware.api.places import MOST_DEMOS, demo_folder, demo_folders, ours
from firmware.demo.monitor import IndoorMonitor

CODE = "2580"
USER = "flat"  # as whom the monitor registers at the station
LOOK_S, TALK_S = 1.0, 2.0  # the flat looks before it answers, and talks before it opens
STEP_S = 15.0
DOOR_VOICE_HZ = 440

_BESIDE = Path(sys.argv[0]).resolve().parent  # where the other programs of this installation are

STEPS = {  # what a whole call shows, by kind of event, and the words for it
    "user-registered": "the monitor registers at the station",
    "button-pressed": "the button was pressed",
    "invite-sent": "INVITE left",
    "leg-ringing": "the monitor rings",
    "picture": "the monitor shows the visitor before the answer",
    "leg-answered": "answered",
    "heard-in-the-flat": "the flat hears the door",
    "heard-at-the-door": "the door hears the flat",
    "digit-received": "the code was typed",
    "access-granted": "the code was right",
    "relay-on": "relay on",
    "relay-read-back": "relay read back",
    "relay-off": "relay off",
    "leg-ended": "hung up",
}


def run(*, once: bool, as_json: bool, folder: str | None) -> int:
    """Exit status 0 where every step was seen (or, without `once`, when the visitor of the demo left)."""
    try:
        with contextlib.ExitStack() as kept:
            place = _own_place(folder, kept)
            return asyncio.run(_Show(place, once=once, as_json=as_json).run())
    except OSError as error:
        print(f"portero demo: {error}", file=sys.stderr)
        return 1


def _own_place(folder: str | None, kept: contextlib.ExitStack) -> Path:
    """The folder asked for, or the first of ours where no other demo runs; nobody else's while `kept` is open."""
    for place in [Path(folder)] if folder else demo_folders():
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folder that was asked for may be reached by a link.
        if not ours(place.resolve() if folder else place):
            raise PermissionError(f"{place} is somebody else's; name another folder with --folder")
        lock = kept.enter_context((place / "demo.lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return place.resolve()
    if folder:
        raise BlockingIOError(f"another demo runs in {folder}; name another folder with --folder")
    raise BlockingIOError(f"{MOST_DEMOS} demos run already; end one, or name a folder with --folder")


class _Show:
    def __init__(self, folder: Path, *, once: bool, as_json: bool) -> None:
        self._folder = folder
        self._once = once
        self._as_json = as_json
        self._seen: set[str] = set()
        self._records: list[dict[str, Any]] = []
        self._edge_s = 0.0
        self._press = 0
        self._changed = asyncio.Event()
        self._children: list[asyncio.subprocess.Process] = []
        self._monitor = IndoorMonitor(folder, self._changed.set)
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        tasks: list[asyncio.Task[None]] = []
        try:
            password = secrets.token_urlsafe(12)
            await self._start_children(self._write_configuration(password))
            tasks.append(asyncio.create_task(self._follow()))
            await self._wait(lambda: "station-started" in self._seen, "the station starts")
            listen = (await self._ask("status"))["listen"][0]
            await self._monitor.start(f"sip:{listen}", USER, password)
            await self._wait(lambda: "user-registered" in self._seen, "the monitor registers at the station")
            self._say(f"the monitor is registered at the station, as {USER}")
            call = asyncio.create_task(self._one_call())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({call, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not call.done():
                call.cancel()
            complete = self._report()
            if not self._once and not self._stopping.is_set():
                await self._go_on()
            stop.cancel()
            return 0 if complete else 1
        except _Missed as missed:
            print(f"portero demo: {missed}; see {self._folder}/portero.log", file=sys.stderr)
            return 1
        finally:
            for task in tasks:
                task.cancel()
            await self._monitor.stop()
            await self._stop_children()

    # --- one call ------------------------------------------------------------------------------------------

    async def _one_call(self) -> None:
        with contextlib.suppress(_Missed):  # the report names what was not seen
            await self._ask("press", button="flat")
            await self._wait(lambda: self._monitor.ringing, "the monitor rings")
            await self._wait(lambda: self._monitor.picture is not None, "a picture before the answer")
            await self._pause(LOOK_S)
            await self._answer_and_open()
            await self._wait(lambda: self._monitor.ended and "relay-off" in self._seen, "hung up, relay off")
            await self._wait(lambda: "leg-ended" in self._seen, "the station tells the end")

    async def _answer_and_open(self) -> None:
        self._keep_picture()
        self._monitor.answer()
        await self._wait(lambda: "leg-answered" in self._seen and self._monitor.hears, "answered, sound arrives")
        await self._pause(TALK_S)
        self._monitor.type_code(CODE)
        await self._wait(lambda: "relay-on" in self._seen, "the relay goes on")

    def _keep_picture(self) -> None:
        picture = self._monitor.picture
        if picture is not None and not self._monitor.answered:
            picture.save(self._folder / "visitor.png")
            self._seen.add("picture")
            code = picture.timecode_ms
            stamp = f", taken at {code} ms by its timecode" if code is not None else ""
            self._say(f"the monitor shows the visitor: {picture.width}x{picture.height}{stamp}")

    async def _go_on(self) -> None:
        """A live station until Ctrl-C: every further ring is answered and opened in the same way."""
        doorctl = str(Path(sys.argv[0]).with_name("doorctl"))
        if self._folder != demo_folder():
            doorctl += f" --run-dir {self._folder}/run"
        print(f"\nThe station goes on. From another terminal:\n  {doorctl} press flat\n  {doorctl} why")
        print("Ctrl-C ends it.", flush=True)
        while not self._stopping.is_set():
            self._seen.clear()
            await self._wait(lambda: self._monitor.ringing and not self._monitor.ended, "", forever=True)
            if self._stopping.is_set():
                return
            with contextlib.suppress(_Missed):
                await self._wait(lambda: self._monitor.picture is not None, "a picture")
                await self._pause(LOOK_S)
                await self._answer_and_open()
            await self._wait(lambda: self._monitor.ended, "", forever=True)
            self._monitor.ringing = False

    def _report(self) -> bool:
        if self._monitor.hears:
            self._seen.add("heard-in-the-flat")
        if any(
            r["kind"] == "rtp-started" and r["media"] == "audio" and r["direction"] == "received"
            for r in self._records
        ):
            self._seen.add("heard-at-the-door")
        missing = [words for kind, words in STEPS.items() if kind not in self._seen]
        if self._as_json:
            steps = [self._step(record) for record in self._records if record.get("press") == self._press]
            print(
                json.dumps(
                    {"complete": not missing, "missing": missing, "folder": str(self._folder), "timeline": steps},
                    indent=2,
                )
            )
        elif missing:
            print("Not seen: " + "; ".join(missing))
        else:
            print(f"Every step was seen. Picture and sound: {self._folder}")
        return not missing

    # --- the station beside us -----------------------------------------------------------------------------

    def _write_configuration(self, password: str) -> Path:
        run_dir, state_dir = self._folder / "run", self._folder / "state"
        for folder in (run_dir, state_dir):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        board = self._folder / "board.toml"
        board.write_text(_BOARD.format(speaker=json.dumps("heard-at-the-door.wav"), voice=DOOR_VOICE_HZ))
        config = self._folder / "station.toml"
        config.write_text(
            _STATION.format(
                board=json.dumps(str(board)),
                run=json.dumps(str(run_dir)),
                state=json.dumps(str(state_dir)),
                user=json.dumps(USER),
                password=json.dumps(password),
                code=json.dumps(CODE),
            )
        )
        config.chmod(0o600)
        return config

    async def _start_children(self, config: Path) -> None:
        with (self._folder / "portero.log").open("wb") as log:
            for command in (("portero-door",), ("portero", "run")):
                program = _BESIDE / command[0]
                self._children.append(
                    await asyncio.create_subprocess_exec(
                        program,
                        *command[1:],
                        "--config",
                        config,
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    async def _stop_children(self) -> None:
        for child in reversed(self._children):  # the station says good-bye while the lock still answers
            if child.returncode is None:
                child.terminate()
                try:
                    await asyncio.wait_for(child.wait(), 10.0)
                except TimeoutError:
                    child.kill()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        deadline = asyncio.get_running_loop().time() + STEP_S
        while True:
            try:
                return await asyncio.open_unix_connection(self._folder / "run" / "portero.sock", limit=1 << 20)
            except OSError as error:
                for child in self._children:
                    if child.returncode is not None:
                        raise _Missed("the station ended before it was ready") from error
                if asyncio.get_running_loop().time() > deadline:
                    raise _Missed("the station does not answer") from error
                await asyncio.sleep(0.02)

    async def _ask(self, verb: str, **arguments: str) -> dict[str, Any]:
        reader, writer = await self._connect()
        writer.write(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        if not answer["ok"]:
            raise _Missed(str(answer["error"]))
        result: dict[str, Any] = answer["result"]
        return result

    async def _follow(self) -> None:
        """Every event of the station, from its first."""
        reader, writer = await self._connect()
        writer.write(json.dumps({"verb": "events", "since": 0, "follow": True}).encode() + b"\n")
        while line := await reader.readline():
            answer = json.loads(line)
            if "event" in answer:
                self._take(answer["event"])
            for record in answer.get("result", {}).get("events", ()):
                self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        self._seen.add(record["kind"])
        self._records.append(record)
        if record["kind"] == "button-pressed":
            self._edge_s, self._press = record["edge_s"], record["press"]
            self._say("")
        self._tell(record)
        self._changed.set()

    def _step(self, record: dict[str, Any]) -> dict[str, Any]:
        return {"ms": round((record["monotonic_s"] - self._edge_s) * 1000, 1), **record}

    def _tell(self, record: dict[str, Any]) -> None:
        if not self._edge_s:
            return
        shown = {
            key: value
            for key, value in record.items()
            if key not in ("seq", "time", "monotonic_s", "kind", "press", "edge_s", "statistics", "evidence")
            and value
        }
        words = " ".join(f"{key}={value}" for key, value in shown.items())
        self._say(f"{(record['monotonic_s'] - self._edge_s) * 1000:8.1f} ms  {record['kind']:<17} {words}")

    def _say(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)

    async def _wait(self, condition: "Any", what: str, *, forever: bool = False) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + STEP_S
        while not condition():
            self._changed.clear()
            waits = {asyncio.create_task(self._changed.wait()), asyncio.create_task(self._stopping.wait())}
            left = None if forever else deadline - loop.time()
            done, pending = await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            if self._stopping.is_set():
                if forever:
                    return
                raise _Missed("interrupted")
            if not done:
                raise _Missed(f"not seen within {STEP_S:.0f} s: {what}")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


class _Missed(Exception):
    """A step did not happen in time."""


_BOARD = """\
[gpio]
driver = "simulated"

[camera]
driver = "simulated"

[audio]
driver = "simulated"
microphone_tone_hz = {voice}
speaker_file = {speaker}

[inputs.button1]
chip = "demo"
line = 17
active_low = true
pull = "up"

[outputs.relay1]
chip = "demo"
line = 5
"""

_STATION = """\
[station]
name = "Demo door"
board = {board}
run_dir = {run}
state_dir = {state}

[sip]
listen = ["127.0.0.1:0"]

[[users]]
name = {user}
password = {password}

[[buttons]]
name = "flat"
input = "button1"
label = "The flat"
display_name = "Street door"
doors = ["street"]

[[buttons.stages]]
ring = [{user}]
seconds = 30

[[doors]]
name = "street"
relay = "relay1"
pulse_ms = 1500

[[doors.codes]]
name = "family"
digits = {code}

[calls]
hangup_after_unlock_s = 2
"""
