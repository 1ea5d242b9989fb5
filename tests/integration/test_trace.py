"""What `doorctl sip` keeps of calls with real peers: drawn, read by Wireshark, free of secrets, replayed exactly.

With PORTERO_TRACES=FOLDER the traces are kept there: that is how tests/traces is recorded.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.sip.replay import replay
from tests.support.peers import USERS, Peers
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


def sip(door: Portero, *arguments: str) -> str:
    """What `doorctl sip` prints."""
    command = [str(Path(sys.executable).parent / "doorctl"), "sip", *arguments, "--config", str(door.configuration)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, env=environment)
    return done.stdout


def checked(door: Portero, name: str) -> str:
    """The whole trace, which holds no secret and replays to the byte."""
    trace = sip(door, "--json")
    if folder := os.environ.get("PORTERO_TRACES"):
        (Path(folder) / f"{name}.jsonl").write_text(trace)
    for secret in (*USERS.values(), "not-the-password"):
        assert secret not in trace
    outcome = replay(trace.splitlines(), exact=True)
    assert outcome.differences == ()
    assert outcome.messages >= 4
    return trace


def test_a_call_through_kamailio_with_digest(peers: Peers, tmp_path: Path) -> None:
    server = peers.kamailio()
    phone = peers.baresip("101", server=server, video=False)
    door = peers.portero(server=server, stages=[(["101"], 30)])
    door.wait_registered()
    press = door.press()
    door.wait_event("leg-ringing", press=press)
    phone.accept()
    door.wait_event("leg-answered", press=press)
    wait_until(lambda: phone.count("CALL_ESTABLISHED"), "the phone talks")
    phone.hang_up()
    door.wait_event("press-ended", press=press)

    trace = checked(door, "call-through-kamailio")
    assert CODE not in sip(door, "--press", str(press))
    drawing = sip(door, "--press", str(press))
    assert "0.0 ms" not in drawing.split("│")[0]
    for said in ("door", "» call sip:101@door.test", "407 Proxy Authentication", "ACK 2", "call 1 answered", "BYE"):
        assert said in drawing
    assert "REGISTER" not in drawing
    assert "REGISTER" in sip(door)
    if shutil.which("tshark") is not None:
        capture = tmp_path / "call.pcapng"
        assert "Wireshark" in sip(door, "--pcap", str(capture))
        seen = subprocess.run(
            ["tshark", "-n", "-r", str(capture), "-T", "fields", "-e", "frame.protocols", "-e", "sip.Call-ID"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout.splitlines()
        assert len(seen) == replay(trace.splitlines()).messages
        assert all(":sip" in line and line.split("\t")[1] for line in seen)


def test_an_answer_that_crosses_the_cancel(peers: Peers) -> None:
    late = peers.sipp("answers_despite_cancel")
    door = peers.portero(stages=[([late.uri], 30)])
    press = door.press()
    door.wait_event("leg-ringing", press=press)
    door.hang_up()
    late.result()

    drawing = sip(door, "--press", str(press))
    order = [drawing.index(f"{said} 1 ") for said in ("─ INVITE", "─ CANCEL", "─ ACK")] + [
        drawing.index("─ BYE 2 ")
    ]
    assert order == sorted(order)
    checked(door, "answer-crosses-cancel")


def test_a_registration_with_a_wrong_password(peers: Peers) -> None:
    server = peers.kamailio()
    door = peers.portero(server=server, stages=[(["101"], 30)], password="not-the-password")
    door.wait_event("registration-changed", state="failed")

    assert "account pbx failed: " in sip(door)
    checked(door, "registration-refused")
