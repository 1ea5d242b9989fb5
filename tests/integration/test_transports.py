"""Each transport against a real server: registered and called over it with outbound (RFC 5626), refused with the
reason where the certificate is not as it should be, and a dead server noticed within ten seconds.
"""

import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority, Certificate, self_signed
from tests.support.kamailio import Kamailio
from tests.support.peers import Peers
from tests.support.ports import free_port
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

NOBODY = [(["101"], 20)]
TRANSPORTS = ["udp", "tcp", "tls", "wss"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def station(peers: Peers, server: Kamailio, transport: str, **options: Any) -> Portero:
    return peers.portero(server=server, stages=NOBODY, transport=transport, **options)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_calls_find_the_door_over_its_own_flow(peers: Peers, authority: Authority, transport: str) -> None:
    server = peers.kamailio(outbound=True, certificate=authority.issue("DNS:door.test"))
    door = station(peers, server, transport, ca_file=authority.file)
    door.wait_registered()
    assert all(f"over {transport} " in line for line in server.requests("REGISTER"))

    phone = peers.baresip("101", server=server, video=False)
    phone.dial("sip:door@door.test")

    assert door.wait_event("incoming-refused")["status"] == 403
    wait_until(lambda: phone.count("CALL_CLOSED"), "the phone hears the refusal")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_registers_over_ipv6(peers: Peers, authority: Authority, transport: str) -> None:
    server = peers.kamailio(hosts=("::1",), outbound=True, certificate=authority.issue("DNS:door.test"))
    door = station(peers, server, transport, host="::1", ca_file=authority.file)
    door.wait_registered()


# --- whom the door does not talk to --------------------------------------------------------------------------


def refused(peers: Peers, certificate: Certificate, transport: str, **options: Any) -> str:
    """Why the door does not register; no word of it may have reached the server."""
    server = peers.kamailio(certificate=certificate)
    door = station(peers, server, transport, **options)
    failed = door.wait_event("registration-changed", state="failed")
    assert server.requests("REGISTER") == []
    assert failed["reason"] in str(door.status())
    return str(failed["reason"])


@pytest.mark.parametrize("transport", ["tls", "wss"])
def test_certificate_for_another_name_is_refused_with_the_names(
    peers: Peers, authority: Authority, transport: str
) -> None:
    reason = refused(peers, authority.issue("DNS:pbx.other"), transport, ca_file=authority.file)
    assert "the certificate is not for 127.0.0.1 or door.test; it is for pbx.other" in reason


def test_expired_certificate_is_refused(peers: Peers, authority: Authority) -> None:
    old = authority.issue("DNS:door.test", days=("20200101000000Z", "20210101000000Z"))
    assert "has expired" in refused(peers, old, "tls", ca_file=authority.file)


def test_unknown_authority_is_refused(peers: Peers, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "Somebody Else")
    reason = refused(peers, authority.issue("DNS:door.test"), "tls", ca_file=other.file)
    assert "of an authority that is not known" in reason


def test_system_authorities_do_not_know_ours(peers: Peers, authority: Authority) -> None:
    reason = refused(peers, authority.issue("DNS:door.test"), "tls")
    assert "of an authority that is not known" in reason


def test_other_certificate_than_the_pinned_one_is_refused(peers: Peers, authority: Authority) -> None:
    shown = authority.issue("DNS:door.test")
    reason = refused(peers, shown, "tls", fingerprint=authority.issue("DNS:else.test").fingerprint)
    assert f"SHA-256 fingerprint is {shown.fingerprint}, not the one" in reason


def test_pinned_certificate_of_nobodys_is_taken(peers: Peers, tmp_path: Path) -> None:
    own = self_signed(tmp_path / "self", "DNS:nobody.test")
    server = peers.kamailio(certificate=own)
    door = station(peers, server, "tls", fingerprint=own.fingerprint)
    door.wait_registered()


# --- who comes to the door -----------------------------------------------------------------------------------


def test_listeners_get_a_certificate_of_the_stations_own_that_outlives_it(peers: Peers) -> None:
    port = free_port(2)
    sections = {"sip": {"tls_listen": [f"127.0.0.1:{port}"], "wss_listen": [f"127.0.0.1:{port + 1}"]}}
    door = peers.portero(stages=[(["sip:nobody@127.0.0.1:9"], 20)], sections=sections)
    assert f"wss:127.0.0.1:{port + 1}" in str(door.status())
    shown = ssl.get_server_certificate(("127.0.0.1", port))
    door.program.stop(8)
    door.start_station()
    assert ssl.get_server_certificate(("127.0.0.1", port + 1)) == shown


# --- servers that die ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_dead_server_is_noticed_within_ten_seconds(
    peers: Peers, authority: Authority, transport: str, death: signal.Signals
) -> None:
    server = peers.kamailio(outbound=True, certificate=authority.issue("DNS:door.test"))
    door = station(peers, server, transport, ca_file=authority.file)
    door.wait_registered()
    assert "flow to" not in door.program.log_text()

    os.killpg(server.program.pid, death)  # all its workers

    wait_until(lambda: "flow to 127.0.0.1" in door.program.log_text(), "the dead flow is noticed", 15)
    why = next(line for line in door.program.log_text().splitlines() if "flow to 127.0.0.1" in line)
    if death == signal.SIGSTOP:
        assert "keep-alive unanswered" in why
        os.killpg(server.program.pid, signal.SIGKILL)
    else:
        door.wait_event("registration-changed", state="failed")  # the attempt to come back has failed
