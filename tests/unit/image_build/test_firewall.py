"""What a station's configuration opens, and that nothing else is."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ondevice import firewall

from firmware.config import load

EPHEMERAL = (32768, 60999)


def opened(tmp_path: Path, text: str) -> firewall.Ports:
    file = tmp_path / "station.toml"
    file.write_text('[station]\nboard = "simulated"\n' + text)
    file.chmod(0o600)
    return firewall.ports(load(str(file)), EPHEMERAL)


def test_a_plain_station_opens_ssh_sip_and_its_media(tmp_path: Path) -> None:
    ports = opened(tmp_path, "[media]\nports = [16384, 16483]\n")
    assert ports == firewall.Ports(frozenset({22, 5060}), frozenset({5060}), (16384, 16483))


def test_listeners_for_tls_and_websockets_are_tcp_alone(tmp_path: Path) -> None:
    ports = opened(
        tmp_path, '[sip]\nlisten = ["0.0.0.0:5062"]\ntls_listen = ["[::]:5061"]\nwss_listen = ["0.0.0.0:8089"]\n'
    )
    assert ports.tcp == {22, 5062, 5061, 8089}
    assert ports.udp == {5062}


def test_what_listens_for_this_machine_alone_is_not_opened(tmp_path: Path) -> None:
    ports = opened(tmp_path, '[sip]\nlisten = ["127.0.0.1:5060", "[::1]:5060"]\nws_listen = ["127.0.0.1:8088"]\n')
    assert ports.tcp == {22}
    assert ports.udp == frozenset()


def test_media_without_a_range_takes_the_kernels(tmp_path: Path) -> None:
    assert opened(tmp_path, "").media == EPHEMERAL


def test_a_file_with_errors_leaves_the_rules_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "station.toml").write_text("[")
    assert firewall.main(["--print", str(tmp_path / "station.toml")]) == 1
    assert "the rules stay" in capsys.readouterr().err


def test_no_file_yet_is_no_failure(tmp_path: Path) -> None:
    assert firewall.main(["--print", str(tmp_path / "station.toml")]) == 0


@pytest.mark.parametrize("spoilt", ["[", None])
def test_with_a_file_that_is_spoilt_or_gone_the_last_good_copy_opens_its_ports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: str | None
) -> None:
    copy = tmp_path / "last-good.toml"
    copy.write_text('[sip]\nlisten = ["0.0.0.0:5062"]\n')
    copy.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(copy, 4242, -1)  # the station's
    if spoilt is not None:
        (tmp_path / "station.toml").write_text(spoilt)
    assert firewall.main(["--print", "--last-good", str(copy), str(tmp_path / "station.toml")]) == 0
    assert "tcp dport { 22, 5062 } accept" in capsys.readouterr().out


def test_with_a_copy_that_is_spoilt_too_the_rules_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "last-good.toml"
    copy.write_text("[")
    assert firewall.main(["--print", "--last-good", str(copy), str(tmp_path / "station.toml")]) == 1
    assert "station.toml: there is no such file" in capsys.readouterr().err


RULES = Path(__file__).parents[3] / "image-build/root/etc/nftables.conf"


@pytest.mark.parametrize("which", ["made", "of the start"])
def test_nft_takes_the_rules(tmp_path: Path, which: str) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nftables is not installed")
    rules = firewall.ruleset(opened(tmp_path, "")) if which == "made" else RULES.read_text()
    # Dry: into a network of its own where that is allowed, and nothing is loaded anyway.
    command = ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "--file", "-"]
    done = subprocess.run(command, input=rules, text=True, capture_output=True, check=False)
    if "unshare" in done.stderr:
        pytest.skip(f"no network of its own to be had: {done.stderr}")
    assert done.returncode == 0, done.stderr
