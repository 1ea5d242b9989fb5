"""`portero check-board`: says on a live device what of its board is missing, or somebody else's, and what to do.

The composition root of that one look, as app.py is of the station: it names the drivers, each of which tells its
own findings. Nothing is set, played or filmed for it; a station that runs goes on undisturbed.
"""

import json
from collections.abc import Iterator
from itertools import chain

import board
from board.placement import machine
from drivers import machine as on_machine
from drivers.access import User
from drivers.findings import Finding

STATION, LOCK = "portero", "portero-door"  # units, and the users that they run as


def run(name_or_path: str, *, as_json: bool) -> int:
    """Prints what it finds. The exit status: 0 only where all is well. BoardError for a board that is wrong."""
    hardware = board.load(name_or_path)
    findings = list(look(hardware))
    if as_json:
        listed = [
            {"where": each.where, "well": each.well, "what": each.what, "remedy": each.remedy} for each in findings
        ]
        print(json.dumps({"board": hardware.name, "file": str(hardware.file), "findings": listed}, indent=2))
    else:
        print(told(hardware, findings))
    return 0 if all(each.well for each in findings) else 1


def told(hardware: board.Board, findings: list[Finding]) -> str:
    width = max((len(each.where) for each in findings), default=0)
    lines = [f"Board {hardware.name}"]
    for each in findings:
        lines.append(f"{'ok  ' if each.well else 'FAIL'} {each.where:{width}}  {each.what}")
        if not each.well:
            lines.append(f"     {'':{width}}  -> {each.remedy}")
    wrong = sum(not each.well for each in findings)
    lines.append("All is well" if not wrong else f"{wrong} of {len(findings)} to mend")
    return "\n".join(lines)


def look(hardware: board.Board) -> Iterator[Finding]:
    station, lock = User.of_service(STATION), User.of_service(LOCK)
    return chain(
        on_machine.check_machine(hardware.machines, machine()),
        _lines(hardware, station, lock),
        on_machine.check_release() if hardware.outputs else (),
        _camera(hardware.camera, station),
        _audio(hardware.audio, station),
        on_machine.check_watchdog(hardware.watchdog),
        on_machine.check_modules(hardware.beside("modules.conf")),
        on_machine.check_files({name: hardware.beside(name) for name in on_machine.PLACES}),
        on_machine.check_boot_settings(hardware.beside("config.txt")),
        on_machine.check_command_line(hardware.beside("cmdline.txt")),
    )


def _lines(hardware: board.Board, station: User, lock: User) -> Iterator[Finding]:
    from drivers.gpio.probing import Wanted, check

    wanted = [
        Wanted(place.key, place.chip, place.line, lock if place.role == "relay" else station)
        for place in board.places(hardware)
    ]
    match hardware.gpio:
        case "simulated":
            return (Finding(each.where, f'line {each.line} of "{each.chip}", simulated') for each in wanted)
        case "lines":
            return check(wanted)
    remedy = 'write "lines" or "simulated"'
    return iter((Finding("gpio.driver", f'there is no gpio driver "{hardware.gpio}"', remedy),))


def _camera(spec: board.CameraSpec | None, user: User) -> Iterator[Finding]:
    if spec is None:
        return iter(())
    match spec.driver:
        case "simulated":
            return iter(
                (Finding("camera", f"simulated, {spec.width}x{spec.height} at {spec.fps} pictures a second"),)
            )
        case "picamera2":
            from drivers.camera.probing import check_picamera2

            return check_picamera2(spec.device, user)
        case "v4l2":
            from drivers.camera.probing import check_v4l2

            return check_v4l2(spec.device, spec.form, (spec.width, spec.height), spec.fps, user)
    remedy = 'write "picamera2", "v4l2" or "simulated"'
    return iter((Finding("camera.driver", f'there is no camera driver "{spec.driver}"', remedy),))


def _audio(spec: board.AudioSpec, user: User) -> Iterator[Finding]:
    match spec.driver:
        case "simulated":
            return iter((Finding("audio", f"simulated, {spec.rate_hz} Hz"),))
        case "alsa":
            from drivers.audio.probing import check

            return check(
                spec.card, spec.rate_hz, user, capture_pcm=spec.capture_pcm, playback_pcm=spec.playback_pcm
            )
    remedy = 'write "alsa" or "simulated"'
    return iter((Finding("audio.driver", f'there is no audio driver "{spec.driver}"', remedy),))
