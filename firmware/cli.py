"""The command line of `portero`: run the station, check a configuration or the hardware, show a demonstration.

Heavy imports happen within the commands: `check-config` must not need a sound library.
"""

import argparse
import sys

from firmware import __version__

USAGE, FAILED = 2, 1
STATION_FILE = "/data/portero/station.toml"  # where the image has the configuration


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="portero", description="A building's video door station.")
    parser.add_argument("--version", action="version", version=f"portero {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the station")
    run.add_argument("--config", required=True, metavar="FILE")
    run.add_argument(
        "--last-good",
        metavar="FILE",
        help="keep a copy of a good configuration there; go on with it if that is spoilt",
    )
    run.add_argument("--log", default="info", choices=("debug", "info", "warning"), help="what goes to the journal")
    check = commands.add_parser("check-config", help="say everything that is wrong with a configuration")
    check.add_argument("file", metavar="FILE")
    hardware = commands.add_parser("check-board", help="say what of the board is missing or taken on this device")
    hardware.add_argument(
        "--board", metavar="NAME|FILE", help=f"the board; without it, that of {STATION_FILE} on this device"
    )
    hardware.add_argument("--json", action="store_true", help="print the findings as JSON")
    demo = commands.add_parser("demo", help="a station on simulated hardware and a monitor that answers it")
    demo.add_argument(
        "--once", action="store_true", help="one call, then end; exit status 0 only if every step was seen"
    )
    demo.add_argument("--json", action="store_true", help="print the timeline as JSON")
    demo.add_argument("--folder", metavar="DIR", help="where picture and sound of the call go")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "run":
            return _run(arguments.config, arguments.last_good, arguments.log)
        if arguments.command == "check-config":
            return _check(arguments.file)
        if arguments.command == "check-board":
            return _check_board(arguments.board, as_json=arguments.json)
        from firmware.demo import run as run_demo

        return run_demo(once=arguments.once, as_json=arguments.json, folder=arguments.folder)
    except KeyboardInterrupt:
        return 130


def _run(path: str, last_good: str | None, level: str) -> int:
    import asyncio
    import faulthandler
    from pathlib import Path

    from firmware import app, logs
    from firmware.config import ConfigError, load_or_last_good

    faulthandler.enable()  # where each thread stood, when systemd's watchdog ends us (SIGABRT)
    logs.start(level.upper())
    try:
        copy = Path(last_good) if last_good is not None else None
        asyncio.run(app.run(load_or_last_good(path, copy), copy))
    except (ConfigError, app.StartError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


def _check(path: str) -> int:
    from firmware.config import inspect

    config, problems = inspect(path)
    for problem in problems:
        print(problem, file=sys.stderr)
    if config is None:
        return FAILED
    counts = f"{len(config.buttons)} buttons, {len(config.doors)} doors, {len(config.accounts)} accounts"
    print(f"{path}: in order: {counts}")
    return 0


def _check_board(name: str | None, *, as_json: bool) -> int:
    from pathlib import Path

    from board import BoardError
    from firmware import check_board
    from firmware.door.settings import Settings, SettingsError

    try:
        return check_board.run(name or Settings(Path(STATION_FILE)).board, as_json=as_json)
    except SettingsError as error:
        print(f"{error}; write --board NAME", file=sys.stderr)
        return USAGE
    except BoardError as error:
        print(error, file=sys.stderr)
        return FAILED
