"""What must hold between keys: names that are referenced exist, nothing is there twice, times and sums fit.

Each function takes the file as read and reports faults and warnings by path; values that were wrong in themselves
(`skip`) are left out, so one mistake is reported once. The board is read, too: it must have the lines that are
named.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

import board
from firmware.config.problems import Path, nearest
from firmware.config.profiles import complaint
from firmware.config.sections import Account, Button, Config, Tls
from firmware.media.tones import COUNTRIES
from firmware.sip.configuration import STATION_NAMES

MAX_CODE_DIGITS = 32
LEAST_SESSION_S = 90  # RFC 4028 section 4
MAX_USERS = 32
SHORT_PASSWORD = 8  # digits of a wall panel guessed at the registrar's pace would not last a week
_DIALLED = re.compile(r"[0-9*#+]+")


class Findings(Protocol):
    """Where checks report to."""

    def fault(self, path: Path, what: str, write: str) -> None: ...
    def warn(self, path: Path, what: str, write: str) -> None: ...
    def wrong(self, path: Path) -> bool:
        """Whether the value at this path was found wrong already."""


def check(config: Config, given: Callable[[Path], bool], findings: Findings) -> None:
    """Report everything about `config`; `given` says whether a path stands in the file."""
    _station(config, findings)
    _sip(config, findings)
    _accounts(config, findings)
    _tls(config, findings)
    _users(config, findings)
    _buttons(config, given, findings)
    _doors(config, findings)
    _lines(config, findings)
    _board(config, findings)
    _codes(config, findings)
    _calls(config, findings)
    _media(config, findings)
    _nat(config, findings)


def _station(config: Config, findings: Findings) -> None:
    place, country = ("station", "country"), config.station.country
    if country not in COUNTRIES and not findings.wrong(place):
        known = ", ".join(sorted(COUNTRIES))
        findings.fault(place, f'"{country}" is no country whose tones are known', f"write one of {known}")


def _unique(path: str, key: str, values: Iterable[str], findings: Findings, *, why: str, nested: Path = ()) -> None:
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        place = (*nested, path, index, key)
        if findings.wrong(place):
            continue
        if value in seen:
            findings.fault(place, f'"{value}" is {path}[{seen[value]}] already', why)
        seen.setdefault(value, index)


def _known(path: Path, name: str, names: Sequence[str], table: str, findings: Findings) -> None:
    _among(path, name, names, f"[[{table}]]", f'write [[{table}]] with name = "{name}"', findings)


def _among(path: Path, name: str, names: Sequence[str], what: str, first: str, findings: Findings) -> None:
    """`first`: what to write where there are none yet."""
    if name in names or findings.wrong(path):
        return
    if not names:
        findings.fault(path, f'"{name}" is none of {what}: there are none', first)
        return
    guess = nearest(name, names)
    known = ", ".join(f'"{other}"' for other in names)
    findings.fault(path, f'"{name}" is none of {what}', f'write "{guess}"' if guess else f"write one of {known}")


def _sip(config: Config, findings: Findings) -> None:
    if not config.sip.listen and not findings.wrong(("sip", "listen")):
        findings.fault(("sip", "listen"), "is empty", 'write listen = ["0.0.0.0:5060"]')
    seen: dict[str, str] = {}
    for key in ("listen", "tls_listen", "ws_listen", "wss_listen"):
        for index, text in enumerate(getattr(config.sip, key)):
            place = ("sip", key, index)
            if text in seen and not text.endswith(":0") and not findings.wrong(place):
                if seen[text] == key:
                    findings.fault(place, f'"{text}" is there twice', "remove one")
                else:
                    findings.fault(place, f'"{text}" is in {seen[text]} already', "write another port")
            seen.setdefault(text, key)
    if config.sip.tls_key_file is not None and config.sip.tls_certificate_file is None:
        findings.fault(("sip", "tls_key_file"), "stands alone", "write tls_certificate_file beside it")


def _tls(config: Config, findings: Findings) -> None:
    for index, account in enumerate(config.accounts):
        place: Path = ("accounts", index, "tls")
        tls = account.tls
        if tls.ca_file is not None and tls.fingerprint is not None and not findings.wrong((*place, "fingerprint")):
            findings.fault(
                (*place, "ca_file"), "stands beside fingerprint, which alone decides", "keep one of the two"
            )
        if tls.key_file is not None and tls.certificate_file is None:
            findings.fault((*place, "key_file"), "stands alone", "write certificate_file beside it")
        server = (account.outbound_proxy or account.registrar or account.address).lower()
        secure = server.startswith("sips:") or ";transport=tls" in server or ";transport=wss" in server
        if tls != Tls() and not secure and not findings.wrong(place):
            findings.warn(
                place,
                "has no effect unless DNS says so: the server is not asked for TLS",
                "write ;transport=tls behind the server's address",
            )


def _accounts(config: Config, findings: Findings) -> None:
    names = [account.name for account in config.accounts]
    _unique("accounts", "name", names, findings, why="write a name of its own")
    for index, account in enumerate(config.accounts):
        if account.profile is not None and not findings.wrong(("accounts", index, "profile")):
            wrong = complaint(("accounts", index, "profile"), account.profile)
            if wrong is not None:
                findings.fault(*wrong)
        place = ("accounts", index, "session_timer_s")
        if 0 < account.session_timer_s < LEAST_SESSION_S and not findings.wrong(place):
            findings.fault(
                place, f"{account.session_timer_s} is less than servers accept", "write 90 or more, or 0"
            )
    for index, account in enumerate(config.accounts):
        _backups(account, ("accounts", index), findings)


def _backups(account: Account, place: Path, findings: Findings) -> None:
    first = account.outbound_proxy or account.registrar
    for position, server in enumerate(account.backups):
        path: Path = (*place, "backups", position)
        if findings.wrong(path):
            continue
        if server in account.backups[:position] or server == first:
            findings.fault(path, f'"{server}" is there twice', "remove one")


def _users(config: Config, findings: Findings) -> None:
    users = config.users
    _unique("users", "name", [user.name for user in users], findings, why="write a name of its own")
    if len(users) > MAX_USERS:
        findings.fault(
            ("users", MAX_USERS), f"is user number {MAX_USERS + 1}; there may be {MAX_USERS}", "use a PBX for more"
        )
    accounts = {}
    for account in config.accounts:
        accounts[account.address.partition(":")[2].partition("@")[0]] = account.name
    for index, user in enumerate(users):
        place: Path = ("users", index)
        if not findings.wrong((*place, "name")):
            if user.name in STATION_NAMES:
                findings.fault((*place, "name"), f'"{user.name}" is the station itself', "write another name")
            elif user.name in accounts:
                findings.fault(
                    (*place, "name"),
                    f'"{user.name}" is the station itself at account "{accounts[user.name]}"',
                    "write another name",
                )
        if user.password is None:
            if user.password_file is None:
                findings.fault(
                    (*place, "password"), "is missing", 'write password = "..." or password_file = "..."'
                )
        elif len(user.password.reveal()) < SHORT_PASSWORD and not findings.wrong((*place, "password")):
            key = "password_file" if user.password_file is not None else "password"
            findings.warn(
                (*place, key),
                f"has fewer than {SHORT_PASSWORD} characters",
                "write a longer one: nobody types it twice",
            )
    house = config.house
    if not users and house.domain is not None and not findings.wrong(("house", "domain")):
        findings.warn(("house", "domain"), "has no effect: nobody can register", "write [[users]], or remove it")
    if house.min_expires_s > house.max_expires_s and not findings.wrong(("house", "min_expires_s")):
        findings.fault(
            ("house", "min_expires_s"),
            f"{house.min_expires_s} is more than max_expires_s, {house.max_expires_s}",
            f"write min_expires_s = {min(60, house.max_expires_s)}",
        )


def _buttons(config: Config, given: Callable[[Path], bool], findings: Findings) -> None:
    if not config.buttons and not findings.wrong(("buttons",)):
        findings.warn(
            ("buttons",), "there is no [[buttons]]: nobody can ring", "write one as in docs/configuration.md"
        )
    _unique("buttons", "name", [button.name for button in config.buttons], findings, why="write a name of its own")
    accounts = [account.name for account in config.accounts]
    doors = [door.name for door in config.doors]
    for index, button in enumerate(config.buttons):
        place: Path = ("buttons", index)
        if button.account is not None:
            _known((*place, "account"), button.account, accounts, "accounts", findings)
        for position, door in enumerate(button.doors):
            _known((*place, "doors", position), door, doors, "doors", findings)
        if doors and not given((*place, "doors")):
            guess = ", ".join(f'"{door}"' for door in doors)
            findings.warn(
                (*place, "doors"),
                "is not there: who answers this button opens no door",
                f"write doors = [{guess}], or doors = [] if that is meant",
            )
        _stages(config, button, place, findings)


def _stages(config: Config, button: Button, place: Path, findings: Findings) -> None:
    if not button.stages and not findings.wrong((*place, "stages")):
        findings.fault(
            (*place, "stages"),
            "the button rings nobody",
            'write [[buttons.stages]] with ring = ["101"] below the button',
        )
    before = 0.0
    for index, stage in enumerate(button.stages):
        path: Path = (*place, "stages", index)
        if not stage.ring and not findings.wrong((*path, "ring")):
            findings.fault((*path, "ring"), "is empty", 'write whom to ring: ring = ["101"]')
        for position, target in enumerate(stage.ring):
            entry = (*path, "ring", position)
            if findings.wrong(entry):
                continue
            if config.user(target) is not None:
                _user_or_number(config, button, target, entry, findings)
            elif config.accounts and (guess := _user_nearby(config, target)):
                findings.warn(
                    entry,
                    f'"{target}" is no user of the house and is dialled at the account',
                    f'write "{guess}" if that user is meant',
                )
            elif (
                not target.lower().startswith(("sip:", "sips:"))
                and not config.accounts
                and not findings.wrong(("accounts",))
            ):
                findings.fault(
                    entry,
                    f'"{target}" is neither a user of the house nor, without an account, a number',
                    f'write "sip:{target}@" and the address of the phone, or add [[users]] or [[accounts]]',
                )
            if target in stage.ring[:position]:
                findings.fault(entry, f'"{target}" is there twice in one stage', "remove one")
        if before >= button.ring_limit_s and not findings.wrong((*place, "ring_limit_s")):
            findings.warn(
                path,
                f"is never reached: ringing ends at ring_limit_s, {button.ring_limit_s:g}, it begins at {before:g}",
                f"write ring_limit_s = {before + stage.seconds:g} for this button",
            )
        before += stage.seconds


def _user_or_number(config: Config, button: Button, target: str, entry: Path, findings: Findings) -> None:
    """A user of the house whose name looks like a number, where there is an account to dial numbers at."""
    account = config.account(button.account)
    if account is not None and _DIALLED.fullmatch(target):
        findings.warn(
            entry,
            f'"{target}" is the user of the house, not the number at account "{account.name}"',
            f'write "sip:{target}@{account.address.partition("@")[2]}" if the number is meant',
        )


def _user_nearby(config: Config, target: str) -> str | None:
    """The user who may have been meant by a name that is none."""
    if _DIALLED.fullmatch(target) or ":" in target:
        return None
    return nearest(target, [user.name for user in config.users])


def _doors(config: Config, findings: Findings) -> None:
    _unique("doors", "name", [door.name for door in config.doors], findings, why="write a name of its own")
    _unique("doors", "relay", [door.relay for door in config.doors], findings, why="write the relay of this door")
    for index, door in enumerate(config.doors):
        place: Path = ("doors", index)
        if findings.wrong((*place, "pulse_ms")) or findings.wrong((*place, "max_pulse_ms")):
            continue
        if door.pulse_ms > door.max_pulse_ms:
            findings.fault(
                (*place, "pulse_ms"),
                f"{door.pulse_ms} is more than max_pulse_ms, {door.max_pulse_ms}",
                f"write pulse_ms = {door.max_pulse_ms}, or a larger max_pulse_ms",
            )


def _lines(config: Config, findings: Findings) -> None:
    """One line, one use."""
    uses: list[tuple[Path, str, str | None]] = [
        (("buttons", n, "input"), "this button", button.input) for n, button in enumerate(config.buttons)
    ]
    uses += [(("doors", n, "contact"), "this door's contact", door.contact) for n, door in enumerate(config.doors)]
    uses.append((("access", "tamper"), "the cover's contact", config.access.tamper))
    seen: dict[str, str] = {}
    for place, whose, name in uses:
        if name is None or findings.wrong(place):
            continue
        if name in seen:
            findings.fault(place, f'"{name}" is {seen[name]} already', f"write the input of {whose}")
        seen.setdefault(name, f"{place[0]}[{place[1]}]")
    outputs = [light.output for light in config.lights]
    _unique("lights", "output", outputs, findings, why="write the output of this light")
    buttons = [button.name for button in config.buttons]
    for n, light in enumerate(config.lights):
        if light.button is not None:
            _known(("lights", n, "button"), light.button, buttons, "buttons", findings)


def _board(config: Config, findings: Findings) -> None:
    """The board can be read, and has every line that is named."""
    place: Path = ("station", "board")
    if findings.wrong(place):
        return
    try:
        hardware = board.load(config.station.board)
    except board.BoardError as error:
        for line in str(error).splitlines():
            findings.fault(place, line, "")
        return
    named: list[tuple[Path, str | None, str, Collection[str]]] = [
        (("buttons", n, "input"), button.input, "inputs", hardware.inputs)
        for n, button in enumerate(config.buttons)
    ]
    for n, door in enumerate(config.doors):
        named.append((("doors", n, "relay"), door.relay, "outputs", hardware.outputs))
        named.append((("doors", n, "contact"), door.contact, "inputs", hardware.inputs))
    named += [
        (("lights", n, "output"), light.output, "lights", hardware.lights) for n, light in enumerate(config.lights)
    ]
    named.append((("access", "tamper"), config.access.tamper, "inputs", hardware.inputs))
    for path, name, table, lines in named:
        if name is not None:
            first = f"write [{table}.{name}] in {hardware.file}"
            _among(path, name, tuple(lines), f"the {table} of board {hardware.name}", first, findings)


def _codes(config: Config, findings: Findings) -> None:
    """Codes are named, never shown."""
    seen: list[_SeenCode] = []
    for number, door in enumerate(config.doors):
        names = [code.name for code in door.codes]
        _unique("codes", "name", names, findings, why="write a name of its own", nested=("doors", number))
        for index, code in enumerate(door.codes):
            place: Path = ("doors", number, "codes", index)
            key: Path = (*place, "digits_file" if code.digits_file is not None else "digits")
            if code.digits is None:
                if code.digits_file is None:
                    findings.fault((*place, "digits"), "is missing", 'write digits = "..." or digits_file = "..."')
                continue
            if findings.wrong(key):
                continue
            digits = code.digits.reveal()
            if len(digits) < config.access.min_code_digits:
                findings.fault(
                    key,
                    f"the code has fewer than {config.access.min_code_digits} digits",
                    "write a longer one (access.min_code_digits says how long)",
                )
            if len(digits) > MAX_CODE_DIGITS:
                findings.fault(key, f"the code has more than {MAX_CODE_DIGITS} digits", "write a shorter one")
            for other in seen:
                _two_codes(key, digits, door.name, other, config, findings)
            seen.append(_SeenCode(digits, code.name, door.name))


class _SeenCode(NamedTuple):
    digits: str
    name: str
    door: str


def _two_codes(key: Path, digits: str, door: str, other: _SeenCode, config: Config, findings: Findings) -> None:
    """Two codes that the same keys could mean."""
    whose = f'code "{other.name}" of door "{other.door}"'
    if digits == other.digits:
        together = next((b.name for b in config.buttons if door in b.doors and other.door in b.doors), None)
        if other.door == door:
            findings.fault(key, f"the digits are those of {whose}", "write others, or remove one")
        elif together is not None:
            findings.fault(
                key, f'the digits are those of {whose}, and button "{together}" may open both', "write others"
            )
        else:
            findings.warn(key, f"the digits are those of {whose}", "write others, if the doors have other users")
    elif digits.startswith(other.digits):
        findings.warn(
            key, f"{whose} is its beginning and opens only after # or calls.dtmf_timeout_s", "write others"
        )
    elif other.digits.startswith(digits):
        findings.warn(
            key, f"it is the beginning of {whose} and opens only after # or calls.dtmf_timeout_s", "write others"
        )


def _calls(config: Config, findings: Findings) -> None:
    calls = config.calls
    times_read = not findings.wrong(("calls", "warning_s")) and not findings.wrong(("calls", "talk_limit_s"))
    if times_read and calls.warning_s >= calls.talk_limit_s:
        findings.fault(
            ("calls", "warning_s"),
            f"{calls.warning_s:g} is not less than talk_limit_s, {calls.talk_limit_s:g}",
            f"write warning_s = {min(10, calls.talk_limit_s / 2):g}",
        )
    if calls.transfer == "accept" and not calls.transfer_to and not findings.wrong(("calls", "transfer_to")):
        findings.fault(
            ("calls", "transfer_to"),
            'is missing: transfer = "accept" hands the door on to nobody',
            'write transfer_to = ["102"]',
        )
    if calls.transfer == "refuse" and calls.transfer_to and not findings.wrong(("calls", "transfer")):
        findings.warn(("calls", "transfer_to"), 'has no effect while transfer is "refuse"', 'transfer = "accept"')
    incoming: Path = ("calls", "incoming")
    if findings.wrong((*incoming, "policy")) or findings.wrong((*incoming, "from")):
        return
    if calls.incoming.policy == "auto-answer" and not calls.incoming.from_:
        findings.fault(
            (*incoming, "from"),
            "is missing: auto-answer answers nobody",
            'write from = ["sip:101@pbx.example.org"]',
        )
    if calls.incoming.policy == "refuse" and calls.incoming.from_:
        findings.warn((*incoming, "from"), 'has no effect while policy is "refuse"', 'write policy = "auto-answer"')
    for index, text in enumerate(calls.incoming.from_):
        entry: Path = (*incoming, "from", index)
        if ":" not in text and not findings.wrong(entry):
            _known(entry, text, [user.name for user in config.users], "users", findings)
    access = config.access
    if not access.keys_by and not findings.wrong(("access", "keys_by")):
        findings.fault(("access", "keys_by"), "is empty: no code could be typed", 'write keys_by = ["rtp", "info"]')
    if access.max_lockout_s < access.lockout_s and not findings.wrong(("access", "max_lockout_s")):
        findings.fault(
            ("access", "max_lockout_s"),
            f"{access.max_lockout_s:g} is less than lockout_s, {access.lockout_s:g}",
            f"write max_lockout_s = {access.lockout_s:g} or more",
        )


def _codecs(section: Path, codecs: Sequence[str], findings: Findings) -> None:
    for index, codec in enumerate(codecs):
        if codec in codecs[:index] and not findings.wrong((*section, "audio_codecs", index)):
            findings.fault((*section, "audio_codecs", index), f'"{codec}" is there twice', "remove one")


def _media(config: Config, findings: Findings) -> None:
    if not config.media.audio_codecs and not findings.wrong(("media", "audio_codecs")):
        findings.fault(("media", "audio_codecs"), "is empty", 'write audio_codecs = ["PCMA", "PCMU"]')
    _codecs(("media",), config.media.audio_codecs, findings)
    for number, account in enumerate(config.accounts):
        _codecs(("accounts", number), account.audio_codecs, findings)
    if config.media.ports is None or findings.wrong(("media", "ports")):
        return
    low, high = config.media.ports
    path: Path = ("media", "ports")
    if any(findings.wrong((*path, index)) for index in (0, 1)):
        return
    if not (1024 <= low <= 65535 and 1024 <= high <= 65535):
        findings.fault(path, f"{low} to {high} is not within 1024 to 65535", "write ports = [16384, 16583]")
        return
    if low % 2:
        findings.fault(
            path, f"{low} is odd: RTP begins at an even port", f"write ports = [{low + 1}, {max(high, low + 200)}]"
        )
    elif high - low + 1 < 8:
        findings.fault(
            path,
            f"{low} to {high} is too narrow: each phone that rings takes four ports",
            f"write ports = [{low}, {low + 199}]",
        )
    for index, (_, port) in enumerate(config.sip.listen_addresses if not _any_wrong(config, findings) else ()):
        if low <= port <= high:
            findings.fault(path, f"SIP's port {port} (sip.listen[{index}]) is within", "write another range")


def _nat(config: Config, findings: Findings) -> None:
    nat = config.nat
    if nat.turn_server and not nat.turn_username and not findings.wrong(("nat", "turn_username")):
        findings.fault(("nat", "turn_username"), "is missing: TURN servers relay for those they know", "write it")
    for key in ("turn_username", "turn_password", "turn_password_file"):
        if getattr(nat, key) and not nat.turn_server and not findings.wrong(("nat", "turn_server")):
            findings.warn(("nat", key), "has no effect without turn_server", "write turn_server, or remove it")


def _any_wrong(config: Config, findings: Findings) -> bool:
    return any(findings.wrong(("sip", "listen", index)) for index in range(len(config.sip.listen)))
