"""The control socket: what `doorctl` and local programs ask of the station, as lines of JSON on a Unix socket.

A request is one object with a `verb` and its arguments; the answer is `{"ok": true, "result": {...}}` or
`{"ok": false, "error": "..."}`, in the order of the requests; an `id` in the request comes back. The verbs:

    status                                    -> firmware.station.status.Status
    press   button                            -> {"press": 12, "button": "flat-1a"}
    call    target                            -> {"press": 13, "target": "101"}
    quality                                   -> {"legs": [...]}: statistics and history of each leg
    hangup                                    -> {"press": 13}
    keys    keys                              -> {"press": 13, "leg": "13.1", "keys": 4}
    message target text                       -> {"message": 1, "target": "101"}
    unlock  door                              -> {"door": "street", "pulse_ms": 3000}
    audio   action (loop, calibrate)          -> firmware.station.sound_check.SoundCheck.run
    snapshot [follow]                         -> {"width": 640, "height": 480, "taken": 1795.., "jpeg": base64};
                                                 with follow, then each new one as {"picture": {...}}
    nat     [server]                          -> firmware.net.nat_discovery.Nat, with "turn" and "words"
    events  [last] [press] [since] [follow]   -> {"events": [...]}; with follow, then each new one as
                                                 {"event": {...}}, at last {"end": "why"}
    why     [press]                           -> firmware.diagnostics.why.Timeline
    sip     [call] [press] [last] [follow]    -> {"header": {...}, "entries": [...], "names": {...}},
                                                 see firmware.sip.trace; with follow, then each new
                                                 one as {"entry": {...}}, at last {"end": "why"}

Who may connect is the socket's group (mode 0660); who it was that opened a door is the kernel's word (SO_PEERCRED).
Lines, clients, idle time and what waits for a slow reader are bounded. No authentication of its own.
"""

import asyncio
import contextlib
import inspect
import json
import logging
import os
import pwd
import socket
import stat
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from firmware.api.pictures import Watched, pictures
from firmware.diagnostics.ladder import CallFilter, of_calls, servers_of
from firmware.diagnostics.why import explain
from firmware.event_json import dumps, press_of, to_json
from firmware.net.nat_discovery import NatError, discover
from firmware.sip.trace import Entry, Trace
from firmware.station.events import ButtonPressed, EventStream, IncomingCall, InviteSent, Record
from firmware.station.status import ControlError
from firmware.store import Store

log = logging.getLogger(__name__)

MAX_LINE = 16_384  # bytes of a request
MAX_CLIENTS = 32
MAX_EVENTS = 10_000  # in one answer
MORE = 500  # events at a time, for a follower that missed more than that
MAX_WAITING = 262_144  # bytes that wait for one reader, some thousand events
IDLE_S = 60.0  # a client that asks nothing makes room for others
READ_S = 10.0  # a client has so long to take its answer
STOP_S = 1.0  # on a stop they have so long
LAST = 20  # events, where the request names no number

Answer = dict[str, Any]


class Controlled(Protocol):
    """What the station does for a technician. Each may raise ControlError."""

    def status(self) -> dict[str, object]: ...
    def press(self, button: str, source: str = ...) -> dict[str, object]: ...
    def call(self, target: str) -> dict[str, object]: ...
    def quality(self) -> dict[str, object]: ...
    def hangup(self) -> dict[str, object]: ...
    def keys(self, digits: str) -> dict[str, object]: ...
    def message(self, target: str, text: str) -> dict[str, object]: ...
    def unlock(self, door: str, user: str) -> dict[str, object] | Awaitable[dict[str, object]]: ...


class ControlServer:
    """Serves `path` on the running event loop from `start` to `stop`."""

    def __init__(
        self,
        path: Path,
        station: Controlled,
        stream: EventStream,
        store: Store,
        trace: Trace | None = None,
        *,
        stun_server: str = "",
        sound_check: Callable[[str], Awaitable[dict[str, object]]] | None = None,
        camera: Watched | None = None,
    ) -> None:
        self._sound_check = sound_check
        self._camera = camera
        self._stun_server = stun_server
        self._trace = trace or Trace()
        self._path = path
        self._station = station
        self._stream = stream
        self._store = store
        self._server: asyncio.Server | None = None
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen. Raises ControlError where another station does already, or the folder refuses."""
        try:
            listener = _listener(self._path)
        except OSError as error:
            raise ControlError(
                f"{self._path}: {error.strerror or error}; check station.run_dir and its rights"
            ) from error
        self._server = await asyncio.start_unix_server(self._connected, sock=listener)

    async def stop(self) -> None:
        """End all connections, each with a word why."""
        if self._server is None:
            return
        self._server.close()
        clients = dict(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        try:
            async with asyncio.timeout(STOP_S):
                await self._server.wait_closed()
        except TimeoutError:
            for writer in clients.values():
                writer.transport.abort()
        self._server = None
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.current_task()
        assert client is not None
        full = len(self._clients) >= MAX_CLIENTS
        self._clients[client] = writer
        try:
            if full:
                _write(writer, _error(f"{MAX_CLIENTS} clients are connected already; end one"))
            else:
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            _write(writer, {"end": "the station is stopping"})
        except (ConnectionError, TimeoutError):
            pass
        finally:
            del self._clients[client]
            writer.close()
            if writer.transport.get_write_buffer_size():
                # What waits goes out if it is read soon; a reader that stopped is not waited for.
                asyncio.get_running_loop().call_later(READ_S, writer.transport.abort)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = _Lines(reader)
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    line = await lines.next()
            except _TooLong:
                await _send(writer, _error(f"a request has at most {MAX_LINE} bytes in one line"))
                continue
            if line is None:
                return
            if not line.strip():
                continue
            try:
                request = _Request(line)
                follow = request.verb in ("events", "sip", "snapshot") and request.flag("follow")
            except ControlError as error:
                await _send(writer, _error(str(error)))
                continue
            if follow:
                ways = {"events": self._follow, "sip": self._follow_sip, "snapshot": self._follow_camera}
                await ways[request.verb](request, reader, writer)
                return
            await _send(writer, request.identified(await self._answer(request, writer)))

    async def _answer(self, request: "_Request", writer: asyncio.StreamWriter) -> Answer:
        try:
            return {"ok": True, "result": await self._result(request, writer)}
        except ControlError as error:
            return _error(str(error))
        except Exception:  # a bug in one answer must end neither the connection nor the station
            log.exception("control request %s failed", request.verb)
            return _error("internal error; see the station's journal")

    async def _result(self, request: "_Request", writer: asyncio.StreamWriter) -> Any:
        station = self._station
        match request.verb:
            case "status":
                result: object = station.status()
            case "press":
                result = station.press(request.text("button"), source="doorctl")
            case "call":
                result = station.call(request.text("target"))
            case "quality":
                result = station.quality()
            case "hangup":
                result = station.hangup()
            case "message":
                result = station.message(request.text("target"), request.text("text"))
            case "keys":
                result = station.keys(request.text("keys"))
            case "unlock":
                user = await asyncio.to_thread(_user, writer)
                result = station.unlock(request.text("door"), user)
            case "audio" if self._sound_check is not None:
                result = await self._sound_check(request.text("action"))
            case "nat":
                result = await _nat(request.text("server") or self._stun_server)
            case "snapshot":
                async with contextlib.aclosing(self._pictures()) as found:
                    result = await anext(found)
            case "events":
                result = {"events": list(map(to_json, await asyncio.to_thread(self._events, request)))}
            case "why":
                result = await asyncio.to_thread(self._why, request.number("press"))
            case "sip":
                result = await asyncio.to_thread(self._sip, request, self._trace.entries())
            case _:
                known = "status, press, call, quality, hangup, keys, message, unlock, audio, snapshot, nat, "
                known += "events, why, sip"
                raise ControlError(f'there is no verb "{request.verb[:40]}"; known: {known}')
        return await result if inspect.isawaitable(result) else result

    # --- events and why ------------------------------------------------------------------------------------

    def _why(self, press: int) -> Answer:
        last = self._store.last_press()
        records = self._store.of_press(press or last)
        if not records:
            if not last:
                raise ControlError("there was no press yet")
            raise ControlError(f"there is no press {press} in the store; the last is {last}")
        return explain(records, running=records[0].seq >= self._store.first_seq).as_dict()

    def _events(self, request: "_Request") -> list[Record]:
        press, since, last = request.number("press"), request.number("since", -1), request.number("last")
        count = min(last or (MAX_EVENTS if press or since >= 0 else LAST), MAX_EVENTS)
        if press:
            return [record for record in self._store.of_press(press) if record.seq > since][-count:]
        if since >= 0:
            return self._store.since(since, count)
        return self._store.last(count)

    async def _follow(
        self, request: "_Request", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Stored events, then each new one as it happens, without gap or repetition."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        early: list[Record] = []  # what happens while the store is read
        live = False
        press = 0

        def happened(record: Record) -> None:
            if over.done():
                return
            if not live:
                early.append(record)
            elif writer.transport.get_write_buffer_size() > MAX_WAITING:
                lost = f"reading too slowly: events from {record.seq} on were not sent; ask since {record.seq - 1}"
                _write(writer, {"end": lost})
                over.set_result(None)
            elif press in (0, press_of(record.event)):
                _write(writer, {"event": to_json(record)})

        drop = self._stream.subscribe(happened)
        hung_up = asyncio.ensure_future(_end_of(reader))
        try:
            press = request.number("press")
            stored = await asyncio.to_thread(self._events, request)
            answer = {"ok": True, "result": {"events": list(map(to_json, stored))}}
            await _send(writer, request.identified(answer))
            while stored and request.number("since", -1) >= 0 and not press:
                # More was missed than fits into one answer.
                more = await asyncio.to_thread(self._store.since, stored[-1].seq, MORE)
                for record in more:
                    _write(writer, {"event": to_json(record)})
                await _drain(writer)
                if not more:
                    break
                stored = more
            live = True
            for record in early:
                if not stored or record.seq > stored[-1].seq:
                    happened(record)
            await asyncio.wait([hung_up, over], return_when=asyncio.FIRST_COMPLETED)
        except ControlError as error:
            _write(writer, request.identified(_error(str(error))))
        finally:
            drop()
            hung_up.cancel()

    # --- the camera ----------------------------------------------------------------------------------------

    def _pictures(self) -> AsyncGenerator[Answer, None]:
        if self._camera is None:
            raise ControlError("this station has no media")
        return pictures(self._camera)

    async def _follow_camera(
        self, request: "_Request", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One picture after the other, the newest each time: a slow reader gets fewer."""
        hung_up = asyncio.ensure_future(_end_of(reader))
        first = True
        try:
            async with contextlib.aclosing(self._pictures()) as found:
                async for picture in found:
                    answer = {"ok": True, "result": picture} if first else {"picture": picture}
                    await _send(writer, request.identified(answer) if first else answer)
                    first = False
                    if hung_up.done():
                        return
        except ControlError as error:
            _write(writer, request.identified(_error(str(error))) if first else {"end": str(error)})
        finally:
            hung_up.cancel()

    # --- the trace of SIP ----------------------------------------------------------------------------------

    def _sip(self, request: "_Request", entries: list[Entry], follower: CallFilter | None = None) -> Answer:
        header = self._trace.header() | {"offset_s": time.time() - time.monotonic()}
        call, press, last = request.number("call"), request.number("press"), request.number("last")
        origin_s: float | None = None
        calls = {call} if call else set()
        if press:
            calls, origin_s = self._calls_of(press)
        names = servers_of(entry.encode() for entry in entries if entry.registers)
        if calls:
            chosen = of_calls((entry.encode() for entry in entries), follower or CallFilter(calls))
            if not chosen and follower is None:
                raise ControlError(f"no call {call} is in the trace; doorctl sip --last 1000 shows the last ones")
        else:
            chosen = [entry.encode() for entry in (entries[-last:] if last else entries)]
        if calls and origin_s is None and chosen:
            origin_s = chosen[0]["at"]
        if calls or len(chosen) < len(entries):
            header["part"] = True
        return {"header": header, "entries": chosen, "names": names, "origin_s": origin_s}

    def _calls_of(self, press: int) -> tuple[set[int], float]:
        """The SIP core's numbers of a press's calls, and the moment of the press."""
        records = self._store.of_press(press)
        if not records:
            raise ControlError(f"there is no press {press} in the store; the last is {self._store.last_press()}")
        if records[0].seq < self._store.first_seq:
            raise ControlError(f"press {press} was before the station's last start; its SIP messages are not kept")
        begun = (record.event for record in records)
        calls = {event.call for event in begun if isinstance(event, InviteSent | IncomingCall)}
        if not calls:
            raise ControlError(f"press {press} made no call; doorctl why {press} says what happened")
        first = records[0]
        return calls, first.event.edge_s if isinstance(first.event, ButtonPressed) else first.monotonic_s

    async def _follow_sip(
        self, request: "_Request", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """What the trace holds, then each new entry."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        early: list[Entry] = []  # what happens while the trace is being read
        live = False
        chosen: CallFilter | None = None

        def happened(entry: Entry) -> None:
            if over.done():
                return
            if not live:
                early.append(entry)
                return
            if writer.transport.get_write_buffer_size() > MAX_WAITING:
                _write(writer, {"end": f"reading too slowly: from entry {entry.number} on nothing was sent"})
                over.set_result(None)
                return
            part = entry.encode() if chosen is None else chosen.part(entry.encode())
            if part is not None:
                _write(writer, {"entry": part})

        entries = self._trace.entries()
        drop = self._trace.subscribe(happened)
        hung_up = asyncio.ensure_future(_end_of(reader))
        try:
            if request.number("press"):
                raise ControlError("sip: a press is shown, not followed; follow all, or one call")
            if call := request.number("call"):
                chosen = CallFilter({call})
            result = await asyncio.to_thread(self._sip, request, entries, chosen)
            await _send(writer, request.identified({"ok": True, "result": result}))
            live = True
            for entry in early:
                happened(entry)
            await asyncio.wait([hung_up, over], return_when=asyncio.FIRST_COMPLETED)
        except ControlError as error:
            _write(writer, request.identified(_error(str(error))))
        finally:
            drop()
            hung_up.cancel()


class _Request:
    """One request line. Raises ControlError for what is none, or where an argument is of the wrong type."""

    def __init__(self, line: bytes) -> None:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ControlError(f"not a line of JSON: {error}") from None
        if not isinstance(data, dict) or not isinstance(data.get("verb"), str):
            raise ControlError('a request is an object with a verb, as in {"verb": "status"}')
        self.verb: str = data["verb"]
        self._data = data

    def text(self, name: str) -> str:
        value = self._data.get(name, "")
        if not isinstance(value, str) or len(value) > 500 or not value.isprintable():
            raise ControlError(f"{self.verb}: {name} is a text of at most 500 characters")
        return value

    def number(self, name: str, default: int = 0) -> int:
        value = self._data.get(name, default)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not default <= value < 2**62:
            raise ControlError(f"{self.verb}: {name} is a whole number from {max(default, 0)}")
        return value

    def flag(self, name: str) -> bool:
        value = self._data.get(name, False)
        if not isinstance(value, bool):
            raise ControlError(f"{self.verb}: {name} is true or false")
        return value

    def identified(self, answer: Answer) -> Answer:
        return {"id": self._data["id"], **answer} if "id" in self._data else answer


class _TooLong(Exception):
    """A line longer than MAX_LINE; its rest is skipped."""


class _Lines:
    """Lines of a stream, of bounded length."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = bytearray()
        self._skipping = False

    async def next(self) -> bytes | None:
        """The next line without its end, None at the end of the stream."""
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                if not self._skipping and len(line) <= MAX_LINE:
                    return bytes(line)
                skipped, self._skipping = self._skipping, False
                if not skipped:
                    raise _TooLong
                continue
            if len(self._buffer) > MAX_LINE:
                self._buffer.clear()
                if not self._skipping:
                    self._skipping = True
                    raise _TooLong
            data = await self._reader.read(4096)
            if not data:
                return None
            self._buffer += data


async def _end_of(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1024):
            pass


async def _nat(server: str) -> Answer:
    if not server:
        raise ControlError("which STUN server? write nat.stun_server into the configuration, or use --server HOST")
    try:
        found = await discover(server)
    except NatError as error:
        raise ControlError(str(error)) from None
    return {**asdict(found), "turn": found.turn, "words": found.words()}


def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    if not writer.is_closing():
        writer.write(dumps(answer).encode() + b"\n")


async def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    _write(writer, answer)
    await _drain(writer)


async def _drain(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(READ_S):
        await writer.drain()


def _error(text: str) -> Answer:
    return {"ok": False, "error": text}


def _user(writer: asyncio.StreamWriter) -> str:
    """Name of the local user at the other end; its number where it has no name."""
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _listener(path: Path) -> socket.socket:
    """A listening socket at `path`, in place of one that a killed station left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise ControlError(f"{path} is no socket; move it away")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            else:
                raise ControlError(
                    f"another station runs on {path}; stop it, or give this one its own station.run_dir"
                )
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o660)  # before listen(): until then nobody gets in
        listener.listen(MAX_CLIENTS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
