"""`doorctl`: the technician's command on the station itself. Tasks and the shapes of --json: docs/doorctl.md.

Talks to the running station over its control socket; `events` and `why` read the event store's file when no station
runs. Standard library only and imports late, for it has to answer at once on a slow board. Exit status: 0 done,
1 refused or failed, 2 wrong usage, 3 the station is not running.
"""

import argparse
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from firmware.api.client import Json, NotRunning, Refused, Station
from firmware.api.places import RUN_DIR, folders
from firmware.api.text import moment, say, sound_lines, status_lines

if TYPE_CHECKING:
    from firmware.store import StoredEvents

DONE, FAILED, USAGE, NOT_RUNNING = 0, 1, 2, 3
CHECK_S = 60.0  # a calibration plays for thirteen seconds and computes on a slow board
LAST_STEPS = 100  # of SIP, where no number is given


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv, argparse.Namespace(json=False, run_dir=None, config=None))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without our letters is no reason to fail
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except NotRunning as error:
        return _complain(arguments, str(error), NOT_RUNNING)
    except Refused as error:
        return _complain(arguments, str(error), FAILED)
    except KeyboardInterrupt:
        return 130 if arguments.verb not in ("events", "sip", "snapshot", "call") else DONE
    except BrokenPipeError:
        # The reader of our output has enough: `doorctl events | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _parser() -> argparse.ArgumentParser:
    # Taken before the verb and after it; what stands after it does not undo what stood before.
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    common.add_argument("--run-dir", metavar="DIR", help=f"folder of the station's socket (else {RUN_DIR})")
    common.add_argument("--config", metavar="FILE", help="the station's configuration file, to find its folders")
    parser = argparse.ArgumentParser(
        prog="doorctl",
        description="Asks and commands the door station of this machine.",
        epilog="Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 the station is not running.",
        parents=[common],
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, what: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=what, description=what[:1].upper() + what[1:] + ".", parents=[common])

    verb("status", "show accounts, doors, calls, faults and the last press")
    verb("press", "ring as if a button were pressed").add_argument(
        "button", metavar="BUTTON", nargs="?", default="", help="its name in the configuration (else the first)"
    )
    call = verb("call", "call a number or SIP URI from the door, or show how the calls of now sound")
    call.add_argument("target", metavar="TARGET", nargs="?", default="", help="whom to call (not with --stats)")
    call.add_argument("--stats", action="store_true", help="loss, jitter, delay, bit rates and MOS of each leg")
    call.add_argument("--plot", action="store_true", help="with --stats: the last minute as a small plot")
    call.add_argument("--follow", "-f", action="store_true", help="with --stats: each second, until Ctrl-C")
    verb("hangup", "end the ringing or the call")
    verb("keys", "press keys at the phone of who talks with the door").add_argument(
        "keys", metavar="KEYS", help="0-9, *, # and A-D"
    )
    message = verb("message", "send a short text to a number or SIP URI")
    message.add_argument("target", metavar="TARGET")
    message.add_argument("text", metavar="TEXT")
    verb("unlock", "open a door").add_argument(
        "door",
        metavar="DOOR",
        nargs="?",
        default="",
        help="its name in the configuration (not needed for one door)",
    )
    events = verb("events", "show what happened")
    events.add_argument("--follow", "-f", action="store_true", help="go on with what happens, until Ctrl-C")
    events.add_argument("--press", type=_count, default=0, metavar="N", help="of one press only")
    events.add_argument("--last", "-n", type=_count, default=0, metavar="N", help="so many events (else 20)")
    events.add_argument("--since", type=_number, default=None, metavar="SEQ", help="those after event number SEQ")
    audio = verb("audio", "try speaker, microphone and echo canceller, or calibrate them")
    audio.add_argument(
        "action",
        metavar="ACTION",
        choices=("loop", "calibrate"),
        help="loop: play into the niche and say what comes back; calibrate: set delay, level and ceiling by it",
    )
    snapshot = verb("snapshot", "take a picture with the station's camera")
    snapshot.add_argument(
        "file", metavar="FILE", nargs="?", default="snapshot.jpg", help="where to (else snapshot.jpg; -: stdout)"
    )
    snapshot.add_argument(
        "--follow", "-f", action="store_true", help="go on, until Ctrl-C: FILE anew each time, stdout as MJPEG"
    )
    nat = verb("nat", "find out what NAT or firewall is on the way to the Internet, and whether calls need TURN")
    nat.add_argument("--server", metavar="HOST", help="STUN server to ask (else nat.stun_server)")
    why = verb("why", "show a press as a timeline and name the step that failed")
    why.add_argument("press", type=_count, nargs="?", default=0, metavar="PRESS", help="its number (else the last)")
    sip = verb("sip", "show SIP messages, timers and decisions as a ladder diagram")
    sip.add_argument("--follow", "-f", action="store_true", help="go on with what happens, until Ctrl-C")
    sip.add_argument("--call", type=_count, default=0, metavar="N", help="of one call only, by its number")
    sip.add_argument("--press", type=_count, default=0, metavar="N", help="of one press only, its time from there")
    sip.add_argument("--last", "-n", type=_count, default=0, metavar="N", help="so many steps (else 100)")
    sip.add_argument("--pcap", metavar="FILE", help="write the messages as a pcapng file for Wireshark (-: stdout)")
    return parser


def _number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_number.__name__, _count.__name__ = "number", "number"  # as argparse names them in its errors


def _complain(arguments: argparse.Namespace, text: str, code: int) -> int:
    if arguments.json:
        print(json.dumps({"error": text, "code": code}))
    print(f"doorctl: {text}", file=sys.stderr)
    return code


def _run(arguments: argparse.Namespace) -> int:
    run_dir, state_dir = folders(arguments.config, arguments.run_dir)
    if arguments.verb == "call" and arguments.stats:
        return _show_quality(arguments, run_dir)
    if arguments.verb == "call" and not arguments.target:
        print("usage: doorctl call TARGET, or doorctl call --stats", file=sys.stderr)
        return USAGE
    request: Json = {"verb": arguments.verb}
    if arguments.verb == "sip" and not (arguments.last or arguments.json or arguments.pcap):
        arguments.last = LAST_STEPS
    arguments_of_verbs = "button target text keys door press last since follow call server action"
    for name in arguments_of_verbs.split():
        if getattr(arguments, name, None):
            request[name] = getattr(arguments, name)
    if getattr(arguments, "since", None) == 0:
        request["since"] = 0
    try:
        station = Station(run_dir)
    except NotRunning as error:
        if arguments.verb not in ("events", "why") or getattr(arguments, "follow", False):
            raise
        return _from_store(arguments, state_dir, error)
    with station.socket:
        if arguments.verb == "audio":
            if not arguments.json:
                print(
                    "doorctl: listen: sweeps, then a hissing voice, a quarter of a minute at most", file=sys.stderr
                )
            station.socket.settimeout(CHECK_S)
        result = station.ask(request)
        if arguments.verb == "events":
            return _print_events(arguments, result["events"], station)
        if arguments.verb == "snapshot":
            return _write_pictures(arguments, result, station)
        if arguments.verb == "sip":
            return _print_sip(arguments, result, station)
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _print(arguments.verb, result)
    return FAILED if arguments.verb == "audio" and not result["ok"] else DONE


def _from_store(arguments: argparse.Namespace, state_dir: Path, not_running: NotRunning) -> int:
    """`events` and `why` without a station: what it stored is still there."""
    from firmware.event_json import to_json
    from firmware.store import StoredEvents, StoreUnreadable

    path = state_dir / "events.sqlite"
    stored = StoredEvents(path)
    try:
        if arguments.verb == "why":
            timeline = _explained(stored, arguments.press)
            print(f"doorctl: the station is not running; this is from {path}", file=sys.stderr)
            if arguments.json:
                print(json.dumps(timeline, ensure_ascii=False))
            else:
                _print("why", timeline)
            return DONE
        if arguments.press:
            records = stored.of_press(arguments.press)
        elif arguments.since is not None:
            records = stored.since(arguments.since, arguments.last or 10_000)
        else:
            records = stored.last(arguments.last or 20)
    except StoreUnreadable as error:
        raise NotRunning(f"{not_running}; and {error}") from None
    print(f"doorctl: the station is not running; this is from {path}", file=sys.stderr)
    return _print_events(arguments, [to_json(record) for record in records[-arguments.last :]], None)


def _explained(stored: "StoredEvents", press: int) -> Json:
    from firmware.diagnostics.why import explain

    last = stored.last_press()
    records = stored.of_press(press or last)
    if not records:
        raise Refused(
            f"there is no press {press} in the store; the last is {last}" if last else "there was no press yet"
        )
    return explain(records, running=False).as_dict()


# --- for people ----------------------------------------------------------------------------------------------


def _print_events(arguments: argparse.Namespace, events: list[Json], station: Station | None) -> int:
    """The events, and with --follow those to come, one on a line."""
    from firmware.diagnostics.wording import describe
    from firmware.event_json import from_json

    def show(event: Json) -> None:
        if arguments.json:
            print(json.dumps(event, ensure_ascii=False))
            return
        record = from_json(event)
        press = event.get("leg") or event.get("press") or ""
        say(f"{event['seq']:>7}  {moment(event['time'])}  {press:>6}  {describe(record.event)}")

    for event in events:
        show(event)
    if not arguments.follow or station is None:
        if not events and not arguments.json:
            print("doorctl: no such events", file=sys.stderr)
        return DONE
    sys.stdout.flush()
    for line in station.follow():
        if "end" in line:
            raise Refused(line["end"])
        show(line["event"])
        sys.stdout.flush()
    raise Refused("the station hung up; see its journal")


def _write_pictures(arguments: argparse.Namespace, picture: Json, station: Station) -> int:
    """The picture, and with --follow those to come. What is said of one goes to where no picture goes."""
    from base64 import b64decode

    to_stdout = arguments.file == "-"
    pictures = _followed(arguments, [picture], station, "picture")
    for number, one in enumerate(pictures):
        data = b64decode(one.pop("jpeg"))
        if to_stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            continue
        # Whoever looks at the file at this moment sees the old picture or the new one, never half of each.
        try:
            part = Path(f"{arguments.file}.part")
            part.write_bytes(data)
            part.replace(arguments.file)
        except OSError as error:
            raise Refused(f"{arguments.file}: {error.strerror}") from None
        if arguments.json:
            print(json.dumps({"file": arguments.file, "bytes": len(data), **one}), flush=True)
        elif not number:
            say(f"{arguments.file}: {one['width']}x{one['height']}, {len(data) / 1000:.0f} kB")
    return DONE


def _print_sip(arguments: argparse.Namespace, result: Json, station: Station) -> int:
    """The trace, and with --follow what comes: as JSON lines, as a capture file, or drawn."""
    header, entries = result["header"], result["entries"]
    if arguments.json:
        print(json.dumps(header, ensure_ascii=False))
        for entry in _followed(arguments, entries, station):
            print(json.dumps(entry, ensure_ascii=False), flush=arguments.follow)
        return DONE
    if arguments.pcap:
        from firmware.diagnostics.pcapng import write

        try:
            stream = sys.stdout.buffer if arguments.pcap == "-" else open(arguments.pcap, "wb")  # noqa: SIM115
        except OSError as error:
            raise Refused(f"{arguments.pcap}: {error.strerror}") from None
        for block in write(_followed(arguments, entries, station), header["offset_s"]):
            stream.write(block)
            if arguments.follow:
                stream.flush()  # for tail -f | wireshark -k -i -
        stream.flush()
        if arguments.pcap != "-":
            stream.close()
            say(f"{arguments.pcap} is written; open it with Wireshark, or tshark -r {arguments.pcap}")
        return DONE
    from firmware.diagnostics import ladder

    origin_s = result["origin_s"]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    drawing = ladder.Ladder(
        ladder.clock(header["offset_s"]) if origin_s is None else ladder.since(origin_s),
        width,
        ladder.UNICODE if (sys.stdout.encoding or "").lower().startswith("utf") else ladder.ASCII,
        result["names"],
    )
    say(*drawing.draw(entries))
    if not entries:
        print("doorctl: nothing was sent or received yet", file=sys.stderr)
    sys.stdout.flush()
    if arguments.follow:
        for entry in _followed(arguments, [], station):
            say(*drawing.feed(entry))
            sys.stdout.flush()
    return DONE


def _followed(
    arguments: argparse.Namespace, entries: list[Json], station: Station, name: str = "entry"
) -> Iterator[Json]:
    """The entries, and with --follow those to come."""
    yield from entries
    if not arguments.follow:
        return
    sys.stdout.flush()
    for line in station.follow():
        if "end" in line:
            raise Refused(line["end"])
        yield line[name]
    raise Refused("the station hung up; see its journal")


def _print(verb: str, result: Json) -> None:
    match verb:
        case "status":
            say(*status_lines(result))
        case "why":
            from firmware.diagnostics.why import Timeline, render

            say(*render(Timeline.from_dict(result)).split("\n"))
        case "press":
            say(f"press {result['press']}: {result['button']} rings; doorctl why shows how it goes")
        case "call":
            say(f"press {result['press']}: calling {result['target']}")
        case "message":
            say(f"text sent to {result['target']}; doorctl events tells whether it arrived")
        case "hangup":
            say(f"press {result['press']}: ended")
        case "keys":
            say(f"press {result['press']}: {result['keys']} keys pressed")
        case "unlock":
            say(f"{result['door']} is open for {result['pulse_ms'] / 1000:g} s")
        case "audio":
            say(*sound_lines(result))
        case "nat":
            say(*result["words"])


def _show_quality(arguments: argparse.Namespace, run_dir: Path) -> int:
    """Once, or each second until the reader has enough."""
    from firmware.api import call_stats

    before, before_s = None, 0.0
    station = Station(run_dir)
    with station.socket:
        while True:
            quality, now_s = station.ask({"verb": "quality"}), time.monotonic()
            if arguments.json:
                print(json.dumps(quality, ensure_ascii=False), flush=True)
            else:
                if arguments.follow and sys.stdout.isatty():
                    print("\x1b[H\x1b[2J", end="")
                say(*call_stats.lines(quality, before, now_s - before_s, plot=arguments.plot))
                sys.stdout.flush()
            if not arguments.follow:
                return DONE
            before, before_s = quality, now_s
            time.sleep(1.0)


if __name__ == "__main__":
    sys.exit(main())
