"""What the rig lays into `provision/`: the configuration of its door, and the key that may log in.

`python -m hil.provision BOARD KEY.pub FOLDER` writes it for a bench, whose card is laid in by hand.
"""

import json
import subprocess
import sys
from pathlib import Path

from tests.support.kamailio import DOMAIN
from tests.support.peers import USERS

RIG_ADDRESS = "10.77.0.1"
PBX_PORT = 5060
BUTTON, DOOR, CODE = "flat", "street", "4711"
MONITOR = "101"
PULSE_MS = 5000
MAX_PULSE_MS = 8000
STUCK_S = 10

_STATION = """\
[station]
name = "Rig"
board = "{board}"
run_dir = "/run/portero"
state_dir = "/data/portero/state"

[[accounts]]
name = "pbx"
address = {address}
registrar = "sip:{rig}:{port}"
outbound_proxy = "sip:{rig}:{port};lr"
username = "door"
password = {password}
expires_s = 60

[[buttons]]
name = "{button}"
input = "button1"
ring_limit_s = 90
stuck_s = {stuck_s}
doors = ["{door}"]

[[buttons.stages]]
ring = ["{monitor}"]
seconds = 90

[[doors]]
name = "{door}"
relay = "relay1"
pulse_ms = {pulse_ms}
max_pulse_ms = {max_pulse_ms}

[[doors.codes]]
name = "family"
digits = "{code}"

[calls]
hangup_after_unlock_s = 0
"""


def station_toml(board: str) -> str:
    return _STATION.format(
        board=board,
        address=json.dumps(f"sip:door@{DOMAIN}"),
        rig=RIG_ADDRESS,
        port=PBX_PORT,
        password=json.dumps(USERS["door"]),
        button=BUTTON,
        door=DOOR,
        monitor=MONITOR,
        pulse_ms=PULSE_MS,
        max_pulse_ms=MAX_PULSE_MS,
        code=CODE,
        stuck_s=STUCK_S,
    )


def make_key(file: Path) -> str:
    """A new SSH key in `file`; its public half."""
    for old in (file, file.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rig", "-f", str(file)], check=True)
    return file.with_suffix(".pub").read_text()


def write_provision(folder: Path, station: str, public_key: str | None = None) -> Path:
    """The folder `provision` in `folder`, as the device wants it; without a key the one in use stays."""
    provision = folder / "provision"
    provision.mkdir(parents=True, exist_ok=True)
    (provision / "station.toml").write_text(station)
    if public_key is not None:
        (provision / "authorized_keys").write_text(public_key)
    return provision


def main() -> int:
    if len(sys.argv) != 4:
        print("usage: python -m hil.provision BOARD KEY.pub FOLDER", file=sys.stderr)
        return 2
    board, key, folder = sys.argv[1:]
    print(write_provision(Path(folder), station_toml(board), Path(key).read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
