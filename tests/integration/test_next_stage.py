"""Point 6: whatever happens to the first stage, the next one rings at once, and the visitor hears that it rings."""

import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.peers import Peers
from tests.support.ports import free_port
from tests.support.sound import level_db, read_wav
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes everything and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", free_port()))
        yield silent.getsockname()[1]


FIRST_STAGE: dict[str, Callable[[Peers, int], str]] = {
    "busy": lambda peers, _: peers.sipp("busy").uri,
    "declined": lambda peers, _: peers.sipp("declines").uri,
    "dead UDP port": lambda peers, _: f"sip:101@127.0.0.1:{free_port()}",
    "dead TCP port": lambda peers, _: f"sip:101@127.0.0.1:{free_port()};transport=tcp",
    "no way there": lambda peers, _: "sip:101@[::1]:5060",  # the station has no IPv6 here
    "nobody answers": lambda peers, _: peers.sipp("rings").uri,
    "silence": lambda peers, silent: f"sip:101@127.0.0.1:{silent}",
}
IN_TIME = ("nobody answers", "silence")  # these end with the stage's time, not with a failure


@pytest.mark.parametrize("what", FIRST_STAGE)
def test_next_stage_rings_within_a_second(peers: Peers, silent_port: int, what: str) -> None:
    second = peers.baresip("102", video=False)
    target = FIRST_STAGE[what](peers, silent_port)
    door = peers.portero(stages=[([target], 2), ([second.uri], 30)])

    press = door.press()
    wait_until(lambda: second.count("CALL_INCOMING"), "the second stage rings")
    started = door.wait_event("invite-sent", press=press, target=second.uri)

    ended = door.wait_event("stage-ended", press=press, stage=1)
    if what in IN_TIME:
        assert ended["reason"] == "nobody answered in time"
        assert started["monotonic_s"] - door.wait_event("stage-started", press=press)["monotonic_s"] < 3
    else:
        failed = door.wait_event("leg-failed", press=press)
        assert failed["reason"]
        assert started["monotonic_s"] - failed["monotonic_s"] < 1
        assert failed["status"] == {"busy": 486, "declined": 603}.get(what, failed["status"])
    assert started["monotonic_s"] - ended["monotonic_s"] < 1
    door.wait_event("door-sound", press=press, sound="ringback")
    second.accept()
    door.wait_event("leg-answered", press=press)


def test_phone_that_is_not_there_at_the_server_fails_over_too(peers: Peers) -> None:
    server = peers.kamailio()
    second = peers.baresip("102", server=server, video=False)
    door = peers.portero(server=server, stages=[(["101"], 20), (["102"], 30)])
    door.wait_registered()

    press = door.press()
    wait_until(lambda: second.count("CALL_INCOMING"), "the second stage rings")

    failed = door.wait_event("leg-failed", press=press)
    assert failed["status"] == 480
    assert door.wait_event("invite-sent", press=press, target="102")["monotonic_s"] - failed["monotonic_s"] < 1


def test_one_dead_monitor_of_a_stage_does_not_stop_the_other(peers: Peers) -> None:
    alive = peers.baresip("102", video=False)
    dead = f"sip:101@127.0.0.1:{free_port()};transport=tcp"
    door = peers.portero(stages=[([dead, alive.uri], 30)])

    press = door.press()
    door.wait_event("leg-failed", press=press)
    wait_until(lambda: alive.count("CALL_INCOMING"), "the other rings")
    alive.accept()

    door.wait_event("leg-answered", press=press)
    assert not door.events("stage-ended", press)


@pytest.mark.sound
def test_visitor_hears_that_it_rings_and_at_the_end_that_nobody_can_be_reached(peers: Peers) -> None:
    phone = peers.sipp("rings")
    door = peers.portero(stages=[([phone.uri], 2), ([f"sip:101@127.0.0.1:{free_port()}"], 30)])

    press = door.press()
    ended = door.wait_event("press-ended", press=press)
    tone = door.events("door-sound", press)[-1]
    door.wait_event("door-sound", press=press, sound="silence")

    assert ended["outcome"] == "failed"
    assert tone["sound"] in ("busy", "unreachable")
    heard = read_wav(door.speaker)
    assert level_db(heard.part(0.1, 1.3), 425) > -35  # it rings (Spain: 425 Hz, 1.5 s on, 3 s off)
    assert level_db(heard.part(heard.seconds - 2.5, heard.seconds - 0.5), 425) > -40  # 0.2 s on and off
    assert door.why(press)
