"""7. Who gets in over the network: the key, and nothing else; only the ports that the configuration opens."""

import asyncio
import errno
import resource
import subprocess
from pathlib import Path

from hil.door import Door
from hil.provision import make_key
from tests.support.sip_probe import answers_options

SCANNED_AT_ONCE = 1600
OPEN = {22, 5060}  # SSH; [sip] listen of the provisioned configuration


def _ssh(
    door: Door, *options: str, command: str = "true", user: str = "root"
) -> "subprocess.CompletedProcess[str]":
    fixed = [
        "-F",
        "none",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
    ]
    address = door.strategy.ssh.networkservice.address
    return subprocess.run(
        ["ssh", *fixed, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", *options, f"{user}@{address}", command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_key_of_the_card_gets_a_shell(door: Door) -> None:
    done = _ssh(door, "-i", door.strategy.ssh.keyfile, command="id -un")
    assert done.stdout == "root\n", done.stderr


def test_another_key_and_no_key_get_none(door: Door, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    for user in ("root", "portero", "portero-door", "nobody"):
        done = _ssh(door, "-i", str(tmp_path / "stranger"), user=user)
        assert done.returncode == 255, (user, done)
        assert "Permission denied (publickey)" in done.stderr, (user, done)


def test_no_password_is_ever_asked_for(door: Door) -> None:
    done = _ssh(
        door, "-o", "PreferredAuthentications=password,keyboard-interactive", "-o", "PubkeyAuthentication=no"
    )
    assert done.returncode == 255
    assert "Permission denied (publickey)" in done.stderr, "the server offers more than keys"
    shadow = door.run("cut -d: -f2 /etc/shadow").splitlines()
    assert all(field.startswith(("!", "*")) for field in shadow), "an account has a password"


def test_a_port_scan_finds_what_the_configuration_opened(door: Door) -> None:
    address = door.strategy.ssh.networkservice.address
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        assert asyncio.run(_open_ports(address)) == OPEN
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert answers_options(address, 5060, timeout_s=10)


async def _open_ports(address: str) -> set[int]:
    """TCP ports that take a connection. What is dropped in silence is waited for a second."""
    turn = asyncio.Semaphore(SCANNED_AT_ONCE)
    found: set[int] = set()

    async def probe(port: int) -> None:
        async with turn:
            try:
                async with asyncio.timeout(5 if port in OPEN else 1):
                    _, writer = await asyncio.open_connection(address, port)
            except TimeoutError:
                return
            except OSError as error:
                if error.errno == errno.EMFILE:  # of this machine: says nothing about the port
                    raise
                return
            found.add(port)
            writer.close()

    await asyncio.gather(*(probe(port) for port in range(1, 65536)))
    return found
