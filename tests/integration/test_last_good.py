"""A station whose configuration is spoilt or gone rings and opens with what it last had, and says so."""

import pytest

from tests.support.peers import Peers
from tests.support.station import CODE, Portero
from tests.support.waiting import wait_until

pytestmark = pytest.mark.integration


def _restart(door: Portero) -> None:
    for program in (door.program, door.door):
        program.stop(8)
    door.start()


def _faults(door: Portero) -> dict[str, dict[str, str]]:
    return {fault["where"]: fault for fault in door.status()["faults"]}


def test_with_a_spoilt_file_and_without_any_it_rings_and_opens_and_the_status_says_so(peers: Peers) -> None:
    monitor = peers.baresip("101", video=False)
    door = peers.portero(stages=[([monitor.uri], 60)])
    good = door.configuration.read_bytes()
    copies = [door.folder / f"state/{name}.last-good.toml" for name in ("station", "door")]
    for copy in copies:
        wait_until(copy.exists, f"{copy.name} is kept")
        assert copy.read_bytes() == good
        assert copy.stat().st_mode & 0o777 == 0o600
    assert door.status()["faults"] == []

    half = good[: good.index(b"button1")]  # as a write that was cut off leaves it
    for spoilt, told in ((half, "station.toml:"), (None, "station.toml: there is no such file")):
        if spoilt is None:
            door.configuration.unlink()
        else:
            door.configuration.write_bytes(spoilt)
        calls, pulses = monitor.count("CALL_ESTABLISHED"), len(door.relay.pulses)

        _restart(door)

        wait_until(lambda: len(_faults(door)) == 2, "both processes tell of it")
        faults = _faults(door)
        assert set(faults) == {"configuration", "configuration of the lock"}
        assert told in faults["configuration"]["what"]
        assert f"check-config {door.configuration}" in faults["configuration"]["remedy"]
        press = door.press()
        door.wait_event("leg-ringing", press=press)
        monitor.accept()
        wait_until(lambda calls=calls: monitor.count("CALL_ESTABLISHED") > calls, "the call stands")
        monitor.press_keys(CODE)
        wait_until(lambda pulses=pulses: len(door.relay.pulses) > pulses, "the code opens the door")
        door.hang_up()
        wait_until(lambda: not monitor.has_call(), "the call is over")
        for copy in copies:
            assert copy.read_bytes() == good
    told_of = [event for event in door.events("fault") if event["where"] == "configuration"]
    assert len(told_of) == 2
    assert "ERROR" in next(line for line in door.program.log_text().splitlines() if "is not used, but" in line)

    door.configuration.write_bytes(good)
    door.configuration.chmod(0o600)
    _restart(door)
    assert door.status()["faults"] == []
