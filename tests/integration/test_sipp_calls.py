"""Phones that sipp plays against one running station: PRACK, collisions, holds, session timers, forks, late offers,
CANCEL races, broken answers, wrong CSeq, repeats. Each scenario file says what its phone does, and checks it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import Peers
from tests.support.station import Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration

CALLER = "sip:caller@127.0.0.1"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portero]:
    """One station for all scenarios: it must be as good after each as before."""
    own = Peers(tmp_path_factory.mktemp("door"))
    incoming = {"calls.incoming": {"policy": "auto-answer", "from": [CALLER]}}
    try:
        yield own.portero(stages=[(["sip:nobody@127.0.0.1:9"], 5)], sections=incoming)
    finally:
        own.stop()


@pytest.fixture(autouse=True)
def _as_before(door: Portero) -> Iterator[None]:
    """Whatever a scenario left behind must not fail the next."""
    yield
    door.try_doorctl("hangup")
    wait_until(lambda: not any(call["state"] == "talking" for call in door.status()["calls"]), "the door is free")


def free(door: Portero) -> bool:
    return not door.status()["calls"]


@pytest.mark.parametrize(
    ("scenario", "outcome"),
    [
        pytest.param("prack", "answered", id="pitfall 3: PRACK and UPDATE before the answer"),
        pytest.param("collides", "answered", id="pitfall 15: 491"),
        pytest.param("holds", "answered", id="pitfall 16: hold"),
        pytest.param("session_timer", "answered", id="pitfall 17: session timers"),
        pytest.param("forked_answers", "answered", id="pitfall 13: forked 200s"),
        pytest.param("broken_answer", "failed", id="broken SDP"),
        pytest.param("wrong_cseq", "answered", id="pitfall 36: wrong CSeq"),
        pytest.param("diverts", "answered", id="pitfall 35: 302 within the host"),
        pytest.param("no_screen", "answered", id="pitfall 5: 488 to a picture"),
    ],
)
def test_the_door_calls_a_phone_that(door: Portero, peers: Peers, scenario: str, outcome: str) -> None:
    phone = peers.sipp(scenario)
    press = door.doorctl("call", phone.uri)["press"]
    phone.result()
    assert door.wait_event("press-ended", press=press)["outcome"] == outcome
    wait_until(lambda: free(door), "nothing of the call is left")


def test_pitfall_30_each_repeated_200_gets_its_ack_and_each_repeated_bye_its_200(
    door: Portero, peers: Peers
) -> None:
    phone = peers.sipp("repeats", counts_repeats=True)
    press = door.doorctl("call", phone.uri)["press"]
    phone.result()
    door.wait_event("press-ended", press=press)
    assert len(door.events("leg-answered", press)) == 1


def test_pitfall_14_a_phone_that_never_ends_its_invite_does_not_keep_the_door(door: Portero, peers: Peers) -> None:
    phone = peers.sipp("never_ends")
    press = door.doorctl("call", phone.uri)["press"]
    door.wait_event("leg-ringing", press=press)
    door.hang_up()
    phone.result()
    door.wait_event("press-ended", press=press)
    other = peers.sipp("no_screen")
    door.doorctl("call", other.uri)
    other.result()


@pytest.mark.parametrize("scenario", ["late_offer", "late_offer_unanswered", "late_cancel"])
def test_a_phone_that_calls_the_door_with_a(door: Portero, peers: Peers, scenario: str) -> None:
    phone = peers.sipp(scenario, remote=f"127.0.0.1:{door.sip_port}", keys={"caller": CALLER})
    phone.result()
    told = door.wait_event("incoming-call")
    assert told["caller"] == CALLER


def test_the_scenarios_are_all_used() -> None:
    text = Path(__file__).read_text()
    here = Path(__file__).parent
    others = "".join(path.read_text() for path in here.glob("test_*.py")) + "".join(
        path.read_text() for path in (here.parent / "support").glob("*.py")
    )
    unused = [path.stem for path in (here / "sipp").glob("*.xml") if f'"{path.stem}"' not in text + others]
    assert unused == []
