"""Where a station of this machine keeps its folders: the installed one, a demo of this user, or a named one."""

import os
import socket
import stat
from pathlib import Path

from firmware.api.client import Refused

MOST_DEMOS = 9  # of one user at a time
RUN_DIR, STATE_DIR = "/run/portero", "/var/lib/portero"


def demo_folders() -> list[Path]:
    """Where each `portero demo` of this user keeps its station; the first takes the first, and so on."""
    first = Path(os.environ.get("TMPDIR", "/tmp")) / f"portero-demo-{os.getuid()}"  # noqa: S108 — owner is checked
    return [first, *(first.with_name(f"{first.name}-{n}") for n in range(2, MOST_DEMOS + 1))]


def ours(folder: Path) -> bool:
    """Whether a folder in a place that everybody may write to is ours, and no link to another one."""
    try:
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def demo_folder() -> Path | None:
    """The demo that doorctl means on a machine without an installed station: the first that runs, else the first
    whose events are still there."""
    there = [folder for folder in demo_folders() if ours(folder)]
    for folder in there:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(folder / "run" / "portero.sock"))
            except OSError:
                continue
            return folder
    return there[0] if there else None


def folders(config: str | None, own_run_dir: str | None) -> tuple[Path, Path]:
    """(run_dir, state_dir): from the configuration file that was named, the environment, or where the packages put
    them; else a demo's."""
    run_dir, state_dir = os.environ.get("PORTERO_RUN_DIR", RUN_DIR), os.environ.get("PORTERO_STATE_DIR", STATE_DIR)
    # An empty folder is no station: a start that failed may have left it.
    installed = any(map(os.path.exists, (f"{RUN_DIR}/portero.sock", f"{STATE_DIR}/events.sqlite")))
    if not config and "PORTERO_RUN_DIR" not in os.environ and not installed:
        demo = demo_folder()
        if demo is not None:  # of ours: nobody else may lend us a station
            run_dir, state_dir = os.fspath(demo / "run"), os.fspath(demo / "state")
    if config:
        import tomllib

        try:
            with open(config, "rb") as stream:
                station = tomllib.load(stream).get("station", {})
        except (OSError, ValueError) as error:
            raise Refused(f"{config}: {error}; portero check-config says more") from None
        run_dir, state_dir = station.get("run_dir", RUN_DIR), station.get("state_dir", STATE_DIR)
    return Path(own_run_dir or run_dir), Path(state_dir)
