# ruff: noqa: E501  # messages stand here in one piece, as they are printed
"""The configuration file: a good one is read as it is meant, a bad one is explained, all at once and by line."""

import copy
import json
import logging
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware import config
from firmware.config import ConfigError, Problem, Secret
from firmware.media.tones import COUNTRIES

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "portero.example.toml"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "portero.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


MINIMAL = """\
[[buttons]]
name = "flat"
input = "button1"
doors = ["street"]
  [[buttons.stages]]
  ring = ["sip:monitor@192.168.1.20"]
[[doors]]
name = "street"
relay = "relay1"
  [[doors.codes]]
  name = "family"
  digits = "58231"
"""


def problems(path: Path) -> list[str]:
    """What is wrong, each as `line: key: what; write`, as far as the file's name does not matter."""
    return [str(problem).removeprefix(f"{path}:").strip() for problem in config.inspect(path)[1]]


def changed(old: str, new: str) -> str:
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


# --- a good file -------------------------------------------------------------------------------------------


def test_the_example_of_the_documentation_is_in_order(write: Write) -> None:
    path = write(EXAMPLE.read_text())
    assert problems(path) == []
    assert len(config.load(path).buttons) == 2


def test_the_documentation_is_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_every_key_is_described() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) >= 50
    assert all(cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row)[1:-1])


def test_a_small_file_gets_the_defaults(write: Write) -> None:
    loaded = config.load(write(MINIMAL))
    assert loaded.station.run_dir == "/run/portero"
    assert loaded.sip.listen_addresses == (("0.0.0.0", 5060),)
    assert loaded.calls.incoming.policy == "refuse"
    assert loaded.buttons[0].stages[0].seconds == 30
    assert loaded.doors[0].pulse_ms == 3000
    assert loaded.account(None) is None
    assert loaded.door("street") is loaded.doors[0]
    assert loaded.button("flat") is loaded.buttons[0]
    assert loaded.door("owl") is None


def test_values_arrive_as_they_are_meant(write: Write) -> None:
    text = (
        '[sip]\nlisten = ["[2001:db8::1]:5080", "192.168.1.5:0"]\n[media]\nports = [20000, 20199]\n'
        '[calls]\ntalk_limit_s = 90\n[calls.incoming]\npolicy = "auto-answer"\nfrom = ["sip:101@pbx"]\n' + MINIMAL
    )
    loaded = config.load(write(text))
    assert loaded.sip.listen_addresses == (("2001:db8::1", 5080), ("192.168.1.5", 0))
    assert loaded.media.ports == (20000, 20199)
    assert loaded.calls.talk_limit_s == 90.0
    assert loaded.calls.incoming.from_ == ("sip:101@pbx",)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "portero.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    path.chmod(0o600)
    assert problems(path) == []


# --- what is wrong with a value, and what to write ---------------------------------------------------------

ACCOUNT = '[[accounts]]\nname = "pbx"\naddress = "sip:door@pbx"\n'
USER = '[[users]]\nname = "anna"\npassword = "anna-secret"\n'
OTHER_DOOR = (
    '[[doors]]\nname = "garage"\nrelay = "relay2"\n  [[doors.codes]]\n  name = "other"\n  digits = "58231"\n'
)

WRONG = [
    (
        USER + USER + MINIMAL,
        '5: users[1].name: "anna" is users[0] already; write a name of its own',
    ),
    (
        USER.replace("anna", "door") + MINIMAL,
        '2: users[0].name: "door" is the station itself; write another name',
    ),
    (
        ACCOUNT.replace("door@", "gate@") + USER.replace("anna", "gate") + MINIMAL,
        '5: users[0].name: "gate" is the station itself at account "pbx"; write another name',
    ),
    (
        '[[users]]\nname = "anna"\n' + MINIMAL,
        '1: users[0].password: is missing; write password = "..." or password_file = "..."',
    ),
    (
        "".join(USER.replace("anna", f"anna{n}") for n in range(33)) + MINIMAL,
        "97: users[32]: is user number 33; there may be 32; use a PBX for more",
    ),
    (
        '[house]\ndomain = "sip:house.lan:5060"\n' + USER + MINIMAL,
        '2: house.domain: "sip:house.lan:5060" is no host name; write "house.lan"',
    ),
    (
        "[house]\nmin_expires_s = 3000\nmax_expires_s = 100\n" + USER + MINIMAL,
        "2: house.min_expires_s: 3000 is more than max_expires_s, 100; write min_expires_s = 60",
    ),
    (
        '[calls.incoming]\npolicy = "auto-answer"\nfrom = ["ana"]\n' + USER + MINIMAL,
        '3: calls.incoming.from[0]: "ana" is none of [[users]]; write "anna"',
    ),
    ("[statoin]\n" + MINIMAL, "1: statoin: is not a key of this table; did you mean station?"),
    (changed("relay =", "realy ="), "9: doors[0].realy: is not a key of this table; did you mean relay?"),
    (changed("relay =", "realy ="), '7: doors[0].relay: is missing; write relay = "relay1"'),
    (
        "[calls.incoming]\nzzz = 1\n" + MINIMAL,
        "2: calls.incoming.zzz: is not a key of this table; known here: policy, from",
    ),
    ('[station]\nname = ""\n' + MINIMAL, "2: station.name: is empty; write a text, or leave the key out"),
    ("[station]\nname = 5\n" + MINIMAL, '2: station.name: is a number, not a text; write it in quotes: name = "5"'),
    (
        '[station]\nname = "a\\nb"\n' + MINIMAL,
        "2: station.name: holds a line break or another control character; write it on one line, without",
    ),
    ('[station]\ncountry = "ES"\n' + MINIMAL, '2: station.country: "ES" is written in capitals; write "es"'),
    (
        '[station]\ncountry = "xx"\n' + MINIMAL,
        '2: station.country: "xx" is no country whose tones are known; write one of '
        + ", ".join(sorted(COUNTRIES)),
    ),
    (
        '[station]\ncountry = "Spain"\n' + MINIMAL,
        '2: station.country: "Spain" is no country code of two letters; write "es", "de", "fr", "gb" ...',
    ),
    (
        '[station]\nrun_dir = "run"\n' + MINIMAL,
        '2: station.run_dir: "run" depends on the folder the station is started in; write "/run" or another absolute path',
    ),
    ("station = 5\n" + MINIMAL, "1: station: is a number, not a table; write [station] and its keys below it"),
    ("[accounts]\n" + MINIMAL, "1: accounts: is not a list of tables; write [[accounts]] with two brackets"),
    (
        '[sip]\nlisten = "0.0.0.0:5060"\n' + MINIMAL,
        '2: sip.listen: is a text, not a list; write listen = ["0.0.0.0:5060"]',
    ),
    ("[sip]\nlisten = []\n" + MINIMAL, '2: sip.listen: is empty; write listen = ["0.0.0.0:5060"]'),
    ('[sip]\nlisten = ["5060"]\n' + MINIMAL, '2: sip.listen[0]: "5060" names no address; write "0.0.0.0:5060"'),
    ('[sip]\nlisten = ["::1"]\n' + MINIMAL, '2: sip.listen[0]: "::1" is no address and port; write "[::1]:5060"'),
    (
        '[sip]\nlisten = ["10.0.0.1"]\n' + MINIMAL,
        '2: sip.listen[0]: "10.0.0.1" names no port; write "10.0.0.1:5060"',
    ),
    (
        '[sip]\nlisten = ["10.0.0.300:5060"]\n' + MINIMAL,
        '2: sip.listen[0]: "10.0.0.300:5060": 10.0.0.300 is no IP address; write "0.0.0.0:5060"',
    ),
    (
        '[sip]\nlisten = ["0.0.0.0:70000"]\n' + MINIMAL,
        '2: sip.listen[0]: "0.0.0.0:70000": there is no port 70000; write "0.0.0.0:5060"',
    ),
    (
        '[sip]\nlisten = [\n  "0.0.0.0:5060",\n  "0.0.0.0:5060",\n]\n' + MINIMAL,
        '4: sip.listen[1]: "0.0.0.0:5060" is there twice; remove one',
    ),
    (
        ACCOUNT.replace("sip:door@pbx", "door@pbx") + MINIMAL,
        '3: accounts[0].address: "door@pbx" is not a SIP URI; write "sip:door@pbx"',
    ),
    (
        ACCOUNT.replace("sip:door@pbx", "sip:pbx") + MINIMAL,
        '3: accounts[0].address: "sip:pbx" names no user; write "sip:door@pbx"',
    ),
    (
        ACCOUNT + 'registrar = "<sip:pbx>"\n' + MINIMAL,
        '4: accounts[0].registrar: "<sip:pbx>" has angle brackets; write "sip:pbx"',
    ),
    (
        ACCOUNT + 'registrar = "sips:pbx;transport=udp"\n' + MINIMAL,
        '4: accounts[0].registrar: "sips:pbx;transport=udp" asks for TLS and for UDP, which do not go together; '
        'write "sips:pbx"',
    ),
    (
        ACCOUNT + 'registrar = "sip:a"\nbackups = ["sip:b", "sip:a", "sip:b"]\n' + MINIMAL,
        '5: accounts[0].backups[1]: "sip:a" is there twice; remove one',
    ),
    (
        '[sip]\nname_servers = ["dns.example.org"]\n' + MINIMAL,
        '2: sip.name_servers[0]: "dns.example.org" is no address; write "192.168.1.1", or "192.168.1.1:5353" with a port',
    ),
    (
        '[sip]\nname_servers = ["192.168.1.1:99999"]\n' + MINIMAL,
        '2: sip.name_servers[0]: "192.168.1.1:99999": there is no such port; write "192.168.1.1"',
    ),
    (
        "[sip]\nfleet_spread_s = -1\n" + MINIMAL,
        "2: sip.fleet_spread_s: -1 is less than 0; write fleet_spread_s = 0 or more",
    ),
    (
        ACCOUNT + '[accounts.tls]\nfingerprint = "AB:CD"\n' + MINIMAL,
        "5: accounts[0].tls.fingerprint: has 4 hexadecimal digits, not 64; "
        "write what openssl x509 -noout -fingerprint -sha256 prints",
    ),
    (
        ACCOUNT + f'[accounts.tls]\nfingerprint = "{"AB:" * 20}"\n' + MINIMAL,
        "5: accounts[0].tls.fingerprint: is a SHA-1 fingerprint; "
        "write the SHA-256 one: openssl x509 -noout -fingerprint -sha256 -in ...",
    ),
    (
        ACCOUNT + f'[accounts.tls]\nfingerprint = "{"AB" * 32}"\nca_file = "/etc/hostname"\n' + MINIMAL,
        "6: accounts[0].tls.ca_file: stands beside fingerprint, which alone decides; keep one of the two",
    ),
    (
        ACCOUNT + '[accounts.tls]\nca_file = "/no/such.pem"\n' + MINIMAL,
        "5: accounts[0].tls.ca_file: /no/such.pem: there is no such file; "
        "put the file there, readable by the station",
    ),
    (
        ACCOUNT + '[accounts.tls]\nkey_file = "/etc/hostname"\n' + MINIMAL,
        "5: accounts[0].tls.key_file: stands alone; write certificate_file beside it",
    ),
    (
        ACCOUNT + 'websocket_path = "ws"\n' + MINIMAL,
        '4: accounts[0].websocket_path: "ws" is no path; write "/ws"',
    ),
    (
        '[sip]\nlisten = ["0.0.0.0:5061"]\ntls_listen = ["0.0.0.0:5061"]\n' + MINIMAL,
        '3: sip.tls_listen[0]: "0.0.0.0:5061" is in listen already; write another port',
    ),
    (
        '[sip]\ntls_key_file = "/etc/hostname"\n' + MINIMAL,
        "2: sip.tls_key_file: stands alone; write tls_certificate_file beside it",
    ),
    (
        '[sip]\nws_origins = ["door.example.org/"]\n' + MINIMAL,
        '2: sip.ws_origins[0]: "door.example.org/" is no page\'s origin; write "https://door.example.org"',
    ),
    (
        ACCOUNT + 'registrar = "sip:pbx;transport=sctp"\n' + MINIMAL,
        '4: accounts[0].registrar: "sip:pbx;transport=sctp" asks for sctp; there are udp, tcp, tls, ws, wss; '
        "write transport=tcp",
    ),
    (
        ACCOUNT + 'registrar = "sip:pbx:99999"\n' + MINIMAL,
        '4: accounts[0].registrar: "sip:pbx:99999": there is no port 99999; write "sip:pbx:5060"',
    ),
    (
        ACCOUNT + "expires_s = 5\n" + MINIMAL,
        "4: accounts[0].expires_s: 5 is less than 30; write expires_s = 30 or more",
    ),
    (
        ACCOUNT + "expires_s = 1e6\n" + MINIMAL,
        "4: accounts[0].expires_s: 1000000 is more than 86400; write expires_s = 86400 or less",
    ),
    (
        ACCOUNT + "expires_s = 60.5\n" + MINIMAL,
        "4: accounts[0].expires_s: 60.5 is not a whole number; write expires_s = 60",
    ),
    (
        ACCOUNT + 'register = "yes"\n' + MINIMAL,
        "4: accounts[0].register: is a text, not true or false; write register = true, or register = false, without quotes",
    ),
    (
        ACCOUNT + 'password = "a"\npassword_file = "b"\n' + MINIMAL,
        "4: accounts[0].password: stands beside password_file; keep one of the two, best the file",
    ),
    (ACCOUNT + ACCOUNT + MINIMAL, '5: accounts[1].name: "pbx" is accounts[0] already; write a name of its own'),
    (
        changed('name = "flat"', 'name = "flat 1"'),
        '2: buttons[0].name: "flat 1" is no name: letters, digits, "-", "_" and "." only, as it is typed in commands; '
        'write "flat-1"',
    ),
    (
        changed('doors = ["street"]', 'doors = ["streat"]'),
        '4: buttons[0].doors[0]: "streat" is none of [[doors]]; write "street"',
    ),
    (
        changed('doors = ["street"]', 'doors = ["zzz"]'),
        '4: buttons[0].doors[0]: "zzz" is none of [[doors]]; write one of "street"',
    ),
    (
        ACCOUNT + changed('doors = ["street"]', 'account = "pbz"\ndoors = []'),
        '7: buttons[0].account: "pbz" is none of [[accounts]]; write "pbx"',
    ),
    (
        changed('doors = ["street"]', 'account = "pbz"\ndoors = []'),
        '4: buttons[0].account: "pbz" is none of [[accounts]]: there are none; write [[accounts]] with name = "pbz"',
    ),
    (
        changed('doors = ["street"]', 'second_press = "cancle"'),
        '4: buttons[0].second_press: "cancle" is none of "ignore" or "extend" or "cancel"; write "cancel"',
    ),
    (
        changed('doors = ["street"]', 'ring_limit_s = "60 s"'),
        "4: buttons[0].ring_limit_s: is a text, not a number; write ring_limit_s = 60",
    ),
    (
        changed('doors = ["street"]', "ring_limit_s = 0"),
        "4: buttons[0].ring_limit_s: 0 is not more than 0; write ring_limit_s = a number above 0",
    ),
    (
        changed('doors = ["street"]', "ring_limit_s = nan"),
        "4: buttons[0].ring_limit_s: nan is not a usable number; write ring_limit_s = 60",
    ),
    (
        changed('  ring = ["sip:monitor@192.168.1.20"]\n', ""),
        '5: buttons[0].stages[0].ring: is missing; write ring = ["101", "102"]',
    ),
    (
        changed('["sip:monitor@192.168.1.20"]', "[]"),
        '6: buttons[0].stages[0].ring: is empty; write whom to ring: ring = ["101"]',
    ),
    (
        changed('["sip:monitor@192.168.1.20"]', '["101"]'),
        '6: buttons[0].stages[0].ring[0]: "101" is neither a user of the house nor, without an account, a number; '
        'write "sip:101@" and the address of the phone, or add [[users]] or [[accounts]]',
    ),
    (
        changed('["sip:monitor@192.168.1.20"]', '["monitor@192.168.1.20"]'),
        '6: buttons[0].stages[0].ring[0]: "monitor@192.168.1.20" is neither a number nor a SIP URI; '
        'write "sip:monitor@192.168.1.20"',
    ),
    (
        changed('["sip:monitor@192.168.1.20"]', '["sip:a@b", "sip:a@b"]'),
        '6: buttons[0].stages[0].ring[1]: "sip:a@b" is there twice in one stage; remove one',
    ),
    (
        changed('  [[buttons.stages]]\n  ring = ["sip:monitor@192.168.1.20"]\n', ""),
        '1: buttons[0].stages: the button rings nobody; write [[buttons.stages]] with ring = ["101"] below the button',
    ),
    (
        changed("[[doors]]", '[[buttons]]\nname = "b"\ninput = "button1"\ndoors = []\n[[doors]]'),
        '9: buttons[1].input: "button1" is buttons[0] already; write the input of this button',
    ),
    (
        changed('relay = "relay1"', 'relay = "relay1"\ncontact = "button1"'),
        '10: doors[0].contact: "button1" is buttons[0] already; write the input of this door\'s contact',
    ),
    (
        changed('relay = "relay1"', 'relay = "relay1"\ncontact = "door"') + '[access]\ntamper = "door"\n',
        '15: access.tamper: "door" is doors[0] already; write the input of the cover\'s contact',
    ),
    (
        MINIMAL + '[[lights]]\noutput = "light1"\n[[lights]]\noutput = "light1"\n',
        '16: lights[1].output: "light1" is lights[0] already; write the output of this light',
    ),
    (
        '[station]\nboard = "qemu-vert"\n' + MINIMAL,
        '2: station.board: there is no board "qemu-vert"; write one of "qemu-virt", "rpi-debian", "rpi-raspios", '
        '"simulated", or the path of a board.toml',
    ),
    (
        changed('input = "button1"', 'input = "buton1"'),
        '3: buttons[0].input: "buton1" is none of the inputs of board simulated; write "button1"',
    ),
    (
        changed('relay = "relay1"', 'relay = "light1"'),
        '9: doors[0].relay: "light1" is none of the outputs of board simulated; write one of "relay1", "relay2"',
    ),
    (
        changed('relay = "relay1"', 'relay = "relay1"\ncontact = "dor"'),
        '10: doors[0].contact: "dor" is none of the inputs of board simulated; write "door"',
    ),
    (
        MINIMAL + '[[lights]]\noutput = "light2"\n',
        '14: lights[0].output: "light2" is none of the lights of board simulated; write "light1"',
    ),
    (
        MINIMAL + '[access]\ntamper = "tampr"\n',
        '14: access.tamper: "tampr" is none of the inputs of board simulated; write "tamper"',
    ),
    (
        MINIMAL + '[[lights]]\noutput = "light1"\nbutton = "flatt"\n',
        '15: lights[0].button: "flatt" is none of [[buttons]]; write "flat"',
    ),
    (
        MINIMAL + OTHER_DOOR.replace("relay2", "relay1").replace("58231", "99999"),
        '15: doors[1].relay: "relay1" is doors[0] already; write the relay of this door',
    ),
    (
        changed('relay = "relay1"', 'relay = "relay1"\npulse_ms = 20000'),
        "10: doors[0].pulse_ms: 20000 is more than max_pulse_ms, 10000; write pulse_ms = 10000, or a larger max_pulse_ms",
    ),
    (
        changed('"58231"', '"12"'),
        "12: doors[0].codes[0].digits: the code has fewer than 4 digits; "
        "write a longer one (access.min_code_digits says how long)",
    ),
    (
        changed('"58231"', '"open sesame"'),
        "12: doors[0].codes[0].digits: holds something other than 0-9, * and #; write keys a telephone has",
    ),
    (
        changed('"58231"', "58231"),
        '12: doors[0].codes[0].digits: is a number, not a text; write it in quotes: digits = "..."',
    ),
    (
        changed('"58231"', f'"{"1" * 33}"'),
        "12: doors[0].codes[0].digits: the code has more than 32 digits; write a shorter one",
    ),
    (
        changed('  digits = "58231"\n', ""),
        '10: doors[0].codes[0].digits: is missing; write digits = "..." or digits_file = "..."',
    ),
    (
        MINIMAL + '  [[doors.codes]]\n  name = "guest"\n  digits = "58231"\n',
        '15: doors[0].codes[1].digits: the digits are those of code "family" of door "street"; write others, or remove one',
    ),
    (
        changed('["street"]', '["street", "garage"]') + OTHER_DOOR,
        '18: doors[1].codes[0].digits: the digits are those of code "family" of door "street", and button "flat" '
        "may open both; write others",
    ),
    (
        MINIMAL + '  [[doors.codes]]\n  name = "family"\n  digits = "99999"\n',
        '14: doors[0].codes[1].name: "family" is codes[0] already; write a name of its own',
    ),
    (
        "[calls]\ntalk_limit_s = 5\n" + MINIMAL,
        "1: calls.warning_s: 10 is not less than talk_limit_s, 5; write warning_s = 2.5",
    ),
    (
        '[calls]\ntransfer = "accept"\n',
        '1: calls.transfer_to: is missing: transfer = "accept" hands the door on to nobody; '
        'write transfer_to = ["102"]',
    ),
    (
        '[calls.incoming]\npolicy = "auto-answer"\n' + MINIMAL,
        '1: calls.incoming.from: is missing: auto-answer answers nobody; write from = ["sip:101@pbx.example.org"]',
    ),
    (
        "[access]\nlockout_s = 60\nmax_lockout_s = 30\n" + MINIMAL,
        "3: access.max_lockout_s: 30 is less than lockout_s, 60; write max_lockout_s = 60 or more",
    ),
    (
        "[media]\nports = [16385, 16585]\n" + MINIMAL,
        "2: media.ports: 16385 is odd: RTP begins at an even port; write ports = [16386, 16585]",
    ),
    (
        "[media]\nports = [16384, 16386]\n" + MINIMAL,
        "2: media.ports: 16384 to 16386 is too narrow: each phone that rings takes four ports; "
        "write ports = [16384, 16583]",
    ),
    (
        "[media]\nports = [80, 200]\n" + MINIMAL,
        "2: media.ports: 80 to 200 is not within 1024 to 65535; write ports = [16384, 16583]",
    ),
    ("[media]\nports = [16384]\n" + MINIMAL, "2: media.ports: has 1 entries, not 2; write ports = [16384, 16583]"),
    (
        "[media]\nports = [5000, 5999]\n" + MINIMAL,
        "2: media.ports: SIP's port 5060 (sip.listen[0]) is within; write another range",
    ),
    (
        '[media]\naudio_codecs = ["pcma", "G722"]\n' + MINIMAL,
        '2: media.audio_codecs[0]: "pcma" is none of "opus" or "G722" or "PCMA" or "PCMU" or "L16"; write "PCMA"',
    ),
    (
        '[media]\naudio_codecs = ["PCMA", "PCMA"]\n' + MINIMAL,
        '2: media.audio_codecs[1]: "PCMA" is there twice; remove one',
    ),
    (
        "[store]\nmax_events = 5\n" + MINIMAL,
        "2: store.max_events: 5 is less than 1000; write max_events = 1000 or more",
    ),
    (
        "[store]\nmax_events = 2024-01-01\n" + MINIMAL,
        "2: store.max_events: is a date or time, not a number; write max_events = 50000",
    ),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[row[1].split(";")[0][:70] for row in WRONG])
def test_a_fault_names_line_key_what_is_wrong_and_what_to_write(write: Write, text: str, expected: str) -> None:
    path = write(text)
    assert expected in problems(path)
    with pytest.raises(ConfigError):
        config.load(path)


def test_all_faults_are_told_at_once_in_the_order_of_the_file(write: Write) -> None:
    path = write(
        '[station]\nbord = "x"\ncountry = "Spain"\n[sip]\nlisten = ["nowhere", 7]\n[access]\nwrong_codes = 0\n'
        + changed('["street"]', '["sreet"]').replace('"58231"', '"1"')
    )
    with pytest.raises(ConfigError) as raised:
        config.load(path)
    assert [(problem.line, problem.key) for problem in raised.value.problems] == [
        (2, "station.bord"),
        (3, "station.country"),
        (5, "sip.listen[0]"),
        (5, "sip.listen[1]"),
        (7, "access.wrong_codes"),
        (11, "buttons[0].doors[0]"),
        (19, "doors[0].codes[0].digits"),
    ]
    lines = str(raised.value).splitlines()
    assert len(lines) == 7
    assert all(line.startswith(f"{path}:") for line in lines)


def test_one_mistake_is_told_once(write: Write) -> None:
    path = write(changed('name = "street"', 'name = "my street"').replace('doors = ["street"]', "doors = []"))
    assert len(problems(path)) == 1


def test_a_secret_of_the_wrong_form_is_not_shown(write: Write) -> None:
    for digits in ('"hush-hush"', '"hush\\nhush"', '["hush"]', '"47"'):
        text = changed('"58231"', digits) + '[[accounts]]\nname = "a"\naddress = "sip:a@b"\npassword = ["hush"]\n'
        assert not re.search("hush|47", " ".join(problems(write(text))))


# --- warnings ----------------------------------------------------------------------------------------------

WARNINGS = [
    (
        ACCOUNT + USER.replace("anna", "101") + changed("sip:monitor@192.168.1.20", "101"),
        '12: warning: buttons[0].stages[0].ring[0]: "101" is the user of the house, not the number at account "pbx"; '
        'write "sip:101@pbx" if the number is meant',
    ),
    (
        ACCOUNT + USER + changed("sip:monitor@192.168.1.20", "ana"),
        '12: warning: buttons[0].stages[0].ring[0]: "ana" is no user of the house and is dialled at the account; '
        'write "anna" if that user is meant',
    ),
    (
        USER.replace("anna-secret", "1234") + MINIMAL,
        "3: warning: users[0].password: has fewer than 8 characters; write a longer one: nobody types it twice",
    ),
    (
        '[house]\ndomain = "house.lan"\n' + MINIMAL,
        "2: warning: house.domain: has no effect: nobody can register; write [[users]], or remove it",
    ),
    (
        changed('doors = ["street"]\n', ""),
        '1: warning: buttons[0].doors: is not there: who answers this button opens no door; write doors = ["street"], '
        "or doors = [] if that is meant",
    ),
    (
        changed(
            '["sip:monitor@192.168.1.20"]', '["sip:a@b"]\nseconds = 60\n  [[buttons.stages]]\n  ring = ["sip:c@d"]'
        ),
        "8: warning: buttons[0].stages[1]: is never reached: ringing ends at ring_limit_s, 60, it begins at 60; "
        "write ring_limit_s = 90 for this button",
    ),
    (
        MINIMAL + '  [[doors.codes]]\n  name = "long"\n  digits = "582319"\n',
        '15: warning: doors[0].codes[1].digits: code "family" of door "street" is its beginning and opens only after # '
        "or calls.dtmf_timeout_s; write others",
    ),
    (
        MINIMAL + '  [[doors.codes]]\n  name = "short"\n  digits = "5823"\n',
        '15: warning: doors[0].codes[1].digits: it is the beginning of code "family" of door "street" and opens only '
        "after # or calls.dtmf_timeout_s; write others",
    ),
    (
        MINIMAL + OTHER_DOOR,
        '18: warning: doors[1].codes[0].digits: the digits are those of code "family" of door "street"; '
        "write others, if the doors have other users",
    ),
    (
        '[calls.incoming]\nfrom = ["sip:a@b"]\n' + MINIMAL,
        '2: warning: calls.incoming.from: has no effect while policy is "refuse"; write policy = "auto-answer"',
    ),
    (
        MINIMAL[MINIMAL.index("[[doors]]") :],
        "warning: buttons: there is no [[buttons]]: nobody can ring; write one as in docs/configuration.md",
    ),
]


@pytest.mark.parametrize(("text", "expected"), WARNINGS, ids=[row[1][:60] for row in WARNINGS])
def test_a_warning_does_not_keep_the_station_from_starting(
    write: Write, caplog: pytest.LogCaptureFixture, text: str, expected: str
) -> None:
    path = write(text)
    assert problems(path)[0].endswith(expected)
    with caplog.at_level(logging.WARNING):
        config.load(path)
    assert expected in caplog.text


def test_doors_left_empty_on_purpose_are_no_warning(write: Write) -> None:
    assert problems(write(changed('["street"]', "[]"))) == []


def test_secrets_that_everybody_may_read_are_a_warning(write: Write) -> None:
    path = write(MINIMAL)
    path.chmod(0o644)
    assert str(config.inspect(path)[1][0]) == (
        f"{path}: warning: holds passwords or codes and every user may read it; run chmod o= {path}"
    )
    path.chmod(0o640)
    assert problems(path) == []


# --- secrets -----------------------------------------------------------------------------------------------


def test_a_secret_is_shown_nowhere(write: Write) -> None:
    loaded = config.load(write(ACCOUNT + 'password = "hush-hush"\n' + MINIMAL))
    secret = loaded.accounts[0].password
    assert secret is not None
    assert secret.reveal() == "hush-hush"
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret!r:>10}", json.dumps([secret])):
        assert "hush" not in shown
        assert "***" in shown
    assert not re.search("hush|58231", repr(loaded) + str(loaded))
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_secrets_compare_by_what_they_hide() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("***") != "***"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert copy.deepcopy([Secret("a")])[0].reveal() == "a"


IN_FILES = (
    ACCOUNT + 'password_file = "pbx-password"\n' + changed('digits = "58231"', 'digits_file = "street-family"')
)


def test_secrets_come_from_files_beside_the_configuration(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pbx-password").write_text("s p a c e\nanother line\n")
    (tmp_path / "street-family").write_text("58231\r\n")
    path = write(IN_FILES)
    path.chmod(0o644)  # holds no secrets itself
    assert problems(path) == []
    loaded = config.load(path)
    assert loaded.accounts[0].password == Secret("s p a c e")
    assert loaded.doors[0].codes[0].digits == Secret("58231")


def test_a_ring_plan_names_a_user_without_any_account(write: Write) -> None:
    path = write(USER + changed("sip:monitor@192.168.1.20", "anna"))
    assert problems(path) == []
    assert config.load(path).user("anna") is not None


def test_a_users_password_comes_from_a_file_and_is_shown_nowhere(write: Write, tmp_path: Path) -> None:
    (tmp_path / "anna").write_text("anna-secret\n")
    path = write(USER.replace("password", "password_file").replace("anna-secret", "anna") + MINIMAL)
    path.chmod(0o640)
    loaded = config.load(path)
    assert loaded.users[0].password == Secret("anna-secret")
    assert "secret" not in repr(loaded)
    assert problems(write(USER + 'password_file = "anna"\n' + MINIMAL))[0].endswith(
        "users[0].password: stands beside password_file; keep one of the two, best the file"
    )


def test_secrets_come_from_systemds_credentials(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "pbx-password").write_text("from systemd")
    (credentials / "street-family").write_text("58231")
    (tmp_path / "pbx-password").write_text("not this one")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert config.load(write(IN_FILES)).accounts[0].password == Secret("from systemd")


def test_a_secrets_file_that_is_of_no_use_is_a_fault(write: Write, tmp_path: Path) -> None:
    (tmp_path / "pbx-password").write_text("\n")
    assert problems(write(IN_FILES)) == [
        f"4: accounts[0].password_file: {tmp_path}/pbx-password does not begin with a line to use; "
        "write the secret alone on its first line",
        f"16: doors[0].codes[0].digits_file: {tmp_path}/street-family: there is no such file; "
        "put the file there, readable by the station alone",
    ]
    (tmp_path / "street-family").write_text("open sesame\n")
    (tmp_path / "pbx-password").write_bytes(b"\xff\xfe\x00")
    told = " ".join(problems(write(IN_FILES)))
    assert "the file holds something other than 0-9, * and #" in told
    assert "is not UTF-8 text" in told
    assert "sesame" not in told


# --- files that cannot be read -----------------------------------------------------------------------------


def only_problem(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        config.load(path)
    (problem,) = raised.value.problems
    return str(problem)


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.toml"
    assert only_problem(path) == f"{path}: there is no such file; give the path of the configuration file"


def test_a_folder(tmp_path: Path) -> None:
    assert only_problem(tmp_path) == f"{tmp_path}: is a folder; name the configuration file itself"


def test_a_pipe_does_not_hang_the_start(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert only_problem(path) == f"{path}: is no regular file; name the configuration file itself"


def test_a_file_that_this_user_may_not_read(write: Write) -> None:
    path = write(MINIMAL)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "may not be read by this user; let it: chgrp portero" in only_problem(path)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "the file is empty; write at least one button; docs/configuration.md has an example"),
        (b"\n \n", "the file is empty; write at least one button; docs/configuration.md has an example"),
        (
            b"# later\n",
            "the file holds remarks only; write at least one button; docs/configuration.md has an example",
        ),
        (b'[station]\nname = "caf\xe9"\n', "line 2 is not UTF-8 text; save the file as UTF-8"),
        ("[station]".encode("utf-16"), "is UTF-16 text; save it as UTF-8"),
        (b"#" * 1_000_001, "is larger than 1000000 bytes; name the configuration file: this is something else"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, data: bytes, complaint: str) -> None:
    path = tmp_path / "portero.toml"
    path.write_bytes(data)
    assert only_problem(path) == f"{path}: {complaint}"


def test_a_problem_without_key_and_line_reads_well() -> None:
    assert str(Problem("f.toml", 0, "", "is odd", "")) == "f.toml: is odd"
    assert str(Problem("f.toml", 3, "a.b", "is odd", "write 2")) == "f.toml:3: a.b: is odd; write 2"


# --- TLS -----------------------------------------------------------------------------------------------------


def test_tls_settings_of_an_account_that_asks_for_none_are_warned_of(write: Write) -> None:
    path = write(ACCOUNT + '[accounts.tls]\nca_file = "/etc/hostname"\n' + MINIMAL)
    assert problems(path) == [
        "4: warning: accounts[0].tls: has no effect unless DNS says so: the server is not asked for TLS; "
        "write ;transport=tls behind the server's address"
    ]


@pytest.mark.parametrize(
    "server", ["sips:pbx", "sip:pbx;transport=tls", "sip:pbx;transport=wss", "sip:pbx;transport=ws"]
)
def test_every_transport_is_taken_as_it_is_typed(write: Write, server: str) -> None:
    assert problems(write(ACCOUNT + f'registrar = "{server}"\n' + MINIMAL)) == []


def test_certificate_files_are_found_beside_the_configuration(write: Write) -> None:
    path = write(
        '[sip]\ntls_listen = ["0.0.0.0:5061"]\ntls_certificate_file = "door.pem"\n'
        + ACCOUNT
        + 'registrar = "sips:pbx"\n[accounts.tls]\nca_file = "ca.pem"\n'
        + MINIMAL
    )
    for name in ("door.pem", "ca.pem"):
        (path.parent / name).write_text("")
    loaded = config.load(path)
    assert loaded.sip.tls_certificate_file == str(path.parent / "door.pem")
    assert loaded.accounts[0].tls.ca_file == str(path.parent / "ca.pem")


def test_servers_and_name_servers_are_read(write: Write) -> None:
    loaded = config.load(
        write(
            '[sip]\nname_servers = ["192.168.1.1", "127.0.0.1:5353", "2001:db8::53", "[2001:db8::53]:54"]\n'
            + ACCOUNT
            + 'backups = ["sip:10.0.0.3"]\ngruu = true\n'
            + MINIMAL
        )
    )
    assert loaded.sip.name_server_addresses == (
        ("192.168.1.1", 53),
        ("127.0.0.1", 5353),
        ("2001:db8::53", 53),
        ("2001:db8::53", 54),
    )
    account = loaded.accounts[0]
    assert (account.backups, account.outbound, account.gruu) == (("sip:10.0.0.3",), True, True)
