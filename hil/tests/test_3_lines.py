"""3. The contract of lines on the device's own chip: the cases that the simulated one passes (tests/unit/drivers),
run by pytest on the device while the rig is the hand. A bench closes contacts and sets no levels: docs/lines.md
tells how to run the cases there.
"""

import contextlib
import socketserver
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from labgrid import Environment

from hil.door import Door
from hil.provision import RIG_ADDRESS

ROOT = Path(__file__).parents[2]
CASES = "tests/unit/drivers/test_lines_contract.py"
THERE = "/run/contract"
LIMIT_S = 600.0
# What the image has no use for: pytest, and what it imports.
PACKAGES = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
# One for each case, for PORTERO_GPIO_HAND.
HAND = """\
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 20) as rig, rig.makefile("rw") as lines:
    for asked in sys.stdin:
        lines.write(asked)
        lines.flush()
        print(lines.readline(), end="", flush=True)
"""


@contextlib.contextmanager
def _hand(drive: Callable[[bool], None]) -> Iterator[int]:
    """Moves the line as lines of "LINE LEVEL" ask for, and answers each; its port."""

    class Asked(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                drive(line.split()[1] == b"1")
                self.wfile.write(b"done\n")

    with socketserver.ThreadingTCPServer((RIG_ADDRESS, 0), Asked) as server:
        serving = threading.Thread(target=server.serve_forever, name="hand", daemon=True)
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _packed(file: Path) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hand.py", HAND)
        for name in ("tests/__init__.py", "tests/support/fake_gpiod.py", CASES):
            archive.write(ROOT / name, name)
        for name in PACKAGES:
            spec = find_spec(name)
            assert spec is not None, name
            assert spec.origin is not None, name
            origin = Path(spec.origin)
            top = origin.parents[1 if spec.submodule_search_locations else 0]
            for source in sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]:
                archive.write(source, source.relative_to(top))
    return file


@pytest.mark.lg_feature("virtual")
def test_the_devices_own_chip_keeps_the_contract(door: Door, env: Environment, tmp_path: Path) -> None:
    board = tomllib.loads((ROOT / "board" / env.config.get_option("board") / "board.toml").read_text())
    button, relay = board["inputs"]["button1"], board["outputs"]["relay2"]
    door.strategy.ssh.put(str(_packed(tmp_path / "contract.zip")), f"{THERE}.zip")
    door.run(f"python3 -m zipfile -e {THERE}.zip {THERE}", LIMIT_S)
    door.run("systemctl stop portero portero-door")  # who own the lines
    try:
        with _hand(door.level) as port:
            environment = {
                "PORTERO_GPIO_CHIP": button["chip"],
                "PORTERO_GPIO_INPUT": button["line"],
                "PORTERO_GPIO_OUTPUT": relay["line"],
                "PORTERO_GPIO_HAND": f"'python3 -I -S {THERE}/hand.py {RIG_ADDRESS} {port}'",
                "PYTHONPATH": THERE,
                "PYTHONDONTWRITEBYTECODE": 1,
            }
            variables = " ".join(f"{name}={value}" for name, value in environment.items())
            run = "python3 -m pytest -c /dev/null -p no:cacheprovider --import-mode=importlib -q -ra -k real"
            told = door.run(f"cd {THERE} && {variables} {run} {CASES}", LIMIT_S)
    finally:
        door.level(False)
        door.run(f"rm -r {THERE} {THERE}.zip")
        door.run("systemctl start portero-door portero")
        door.strategy.wait_ready(180)
    assert " passed" in told, told
    assert "skipped" not in told, told
