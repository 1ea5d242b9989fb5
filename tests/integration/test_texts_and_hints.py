"""What goes beside calls: short texts to and from phones, and what an INVITE says of itself, as the phone saw."""

import re

import pytest

from tests.support.certificates import Authority
from tests.support.peers import Peers
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

NOBODY = [(["sip:nobody@127.0.0.1:9"], 5)]


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_doorctl_message_is_shown_by_linphone_behind_the_server_and_its_answer_is_told(
    peers: Peers, transport: str
) -> None:
    authority = Authority(peers.folder / "authority")
    server = peers.kamailio(certificate=authority.issue("DNS:door.test", "DNS:127.0.0.1"))
    door = peers.portero(server=server, stages=NOBODY, transport=transport, ca_file=authority.file)
    phone = peers.linphone("103", server=server, transport=transport, ca_file=authority.file)
    door.wait_registered()

    door.doorctl("message", "103", "Paquete en portería ✓")
    delivered = door.wait_event("text-delivered")
    wait_until(lambda: "Paquete en portería ✓" in phone.program.log_text(), "the phone shows it")
    phone.send_text("sip:door@door.test", "Bajo enseguida")
    received = door.wait_event("text-received")

    assert (delivered["target"], delivered["status"] // 100) == ("103", 2)
    assert received["sender"] == "sip:103@door.test"
    assert received["text"] == "Bajo enseguida"
    assert received["account"] == "pbx"


def test_doorctl_message_to_nobody_says_why_it_did_not_arrive(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=NOBODY)
    door.wait_registered()

    door.doorctl("message", "101", "Hola")  # whom the server knows, and who is not there

    assert door.wait_event("text-delivered")["status"] == 480


def test_phone_is_told_how_to_ring_whom_for_and_to_answer_by_itself(peers: Peers) -> None:
    server = peers.kamailio()
    monitor = peers.baresip("101", server=server, video=False)
    tone = "<http://127.0.0.1/Bellcore-dr3>;info=door"
    door = peers.portero(
        server=server,
        stages=[(["101"], 20)],
        button={"alert_info": tone, "subject": "Calle Mayor 5, 1A", "display_name": "Puerta 1A"},
        stage={"auto_answer": True},
        account={"trusted": True},
    )
    door.wait_registered()

    door.press()
    wait_until(lambda: "\nINVITE " in monitor.sip_log(), "the INVITE arrives")
    invite = monitor.sip_log().split("\nINVITE ", 1)[1].split("\nv=0", 1)[0]
    said = dict(re.findall(r"^([A-Za-z-]+): (.*?)\r?$", invite, re.MULTILINE))

    assert said["Alert-Info"] == tone
    assert said["Subject"] == "Calle Mayor 5, 1A"
    assert said["Answer-Mode"] == "Auto"
    assert re.fullmatch(r"<sip:door\.test>;answer-after=0", said["Call-Info"])
    assert said["From"].startswith("Puerta 1A <sip:door@door.test>;tag=")
    assert said["P-Asserted-Identity"] == "Puerta 1A <sip:door@door.test>"


def test_phone_that_is_told_nothing_is_not_asked_to_answer_by_itself(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 20)])

    door.press()
    wait_until(lambda: "\nINVITE " in monitor.sip_log(), "the INVITE arrives")
    invite = monitor.sip_log().split("\nINVITE ", 1)[1].split("\nv=0", 1)[0]

    assert not re.search("^(Answer-Mode|Call-Info|Alert-Info|P-Asserted-Identity):", invite, re.MULTILINE)
