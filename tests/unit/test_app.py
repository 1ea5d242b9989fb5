"""What the composition root adds of its own: buttons on the board's lines, accounts for the core, refusals."""

import asyncio
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

import board
from drivers.camera.base import CameraError
from drivers.gpio.simulated import SimulatedChip, lines_file
from firmware import app
from firmware.config import (
    Account,
    Button,
    Config,
    Door,
    MediaSection,
    Problem,
    Secret,
    Sip,
    Stage,
    Station,
    User,
)
from firmware.station.buttons import Buttons
from firmware.station.events import EventStream
from firmware.station.faults import Faults
from firmware.wiring import Wiring

CONFIG = Config(
    accounts=(
        Account(name="pbx", address="sip:door@pbx.example.org", password=Secret("opensesame"), session_timer_s=0),
    ),
    buttons=(Button(name="flat", input="button1", stages=(Stage(ring=("101",)),)),),
    doors=(Door(name="street", relay="relay1"),),
)


def test_a_fault_tells_which_copy_is_in_use_why_and_how_to_mend_the_file():
    problem = Problem("/data/station.toml", 7, "buttons[0].input", "is missing", 'write input = "button1"')
    assert app.spoilt(problem, "2026-11-21 20:30") == (
        "configuration",
        "the last good copy of 2026-11-21 20:30 is in use: "
        '/data/station.toml:7: buttons[0].input: is missing; write input = "button1"',
        "mend /data/station.toml (portero check-config /data/station.toml shows all that is wrong), then restart",
    )


def test_a_copy_that_cannot_be_written_is_a_warning(caplog):
    app.keep(Path("/proc/last-good.toml"), b"")
    assert "cannot be kept as the last good one: /proc/last-good.toml: " in caplog.text


def test_an_edge_on_the_line_is_a_press_on_the_loops_thread_with_the_time_of_the_edge(tmp_path):
    async def scene():
        loop = asyncio.get_running_loop()
        pressed = loop.create_future()
        faults = Faults(EventStream())

        class House:
            buttons = Buttons(CONFIG.buttons, faults, lambda *what: pressed.set_result(what), loop)

        hardware = board.load("simulated")
        wiring = Wiring(hardware.gpio, tmp_path, faults, loop)
        app.wire(CONFIG, hardware, wiring, House())
        hand = SimulatedChip(lines_file("simulated", tmp_path))
        try:
            before = time.monotonic()
            hand.drive(hardware.inputs["button1"].line, False)  # active low
            button, edge_s, hammered = await asyncio.wait_for(pressed, 10)
            assert (button, hammered) == ("flat", False)
            assert before <= edge_s <= time.monotonic()
        finally:
            House.buttons.close()
            wiring.close()
            hand.close()

    asyncio.run(scene())


def test_an_account_reaches_the_core_with_its_password_and_defaults():
    account = app.sip_configuration(CONFIG).accounts[0]
    assert (account.username, account.password, account.session_expires_s) == ("door", "opensesame", 0)
    assert "opensesame" not in repr(account)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CONFIG, False),
        (replace(CONFIG, media=MediaSection(srtp="mandatory")), False),
        (replace(CONFIG, media=MediaSection(srtp="dtls")), True),
        (replace(CONFIG, media=MediaSection(ice=True)), True),
        (replace(CONFIG, accounts=(Account(name="app", address="sip:door@app.example", srtp="dtls"),)), True),
        (replace(CONFIG, sip=Sip(wss_listen=("0.0.0.0:443",))), False),  # nobody may register there
        (replace(CONFIG, sip=Sip(wss_listen=("0.0.0.0:443",)), users=(User(name="anna"),)), True),
        (replace(CONFIG, users=(User(name="anna"),)), False),
    ],
)
def test_what_dtls_and_ice_take_is_loaded_early_where_calls_with_them_are_to_be_expected(config, expected):
    assert app.shakes_hands(config) is expected


def test_a_board_that_went_since_the_configuration_was_read_is_refused_by_name():
    with pytest.raises(app.StartError, match="nowhere"):
        app.load_board(Config(station=Station(board="nowhere")))


@pytest.mark.parametrize(
    ("driver", "kind"),
    [("simulated", "SimulatedCamera"), ("picamera2", "EncodingCamera"), ("v4l2", "V4l2Camera")],
)
def test_the_boards_camera_driver_is_made_and_opens_nothing_yet(driver, kind):
    spec = board.CameraSpec(driver, "/dev/v4l/by-id/none", "auto", 640, 480, 15, 600, False)
    made = app.make_camera(spec)
    assert type(made).__name__ == kind
    assert (made.width, made.height, made.fps, made.bitrate_bps) == (640, 480, 15, 600_000)
    assert app.make_standby_camera(spec).profile_level_id == made.profile_level_id


def test_an_unknown_camera_driver_is_answered_with_those_there_are():
    with pytest.raises(CameraError, match='write "picamera2", "v4l2" or "simulated"'):
        app.make_camera(board.CameraSpec("webcam", "", "auto", 640, 480, 15, 600, False))
