"""A configuration file from the disk to a `Config`, or to the list of everything that is wrong with it.

Passwords and codes that stand in files of their own are read here too, so a Config holds them all as `Secret`.
"""

import errno
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import TypeVar

from msgspec.structs import replace

from firmware import last_good
from firmware.config import checks, profiles, toml_text
from firmware.config.forms import code_digits
from firmware.config.problems import ConfigError, Path, Problem, dotted
from firmware.config.reading import Reader
from firmware.config.secret import Secret
from firmware.config.sections import Config, Section

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Section)

MAX_BYTES = last_good.MAX_BYTES  # a building of a thousand flats needs a fifth of it
SECRET_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a start goes by. `data` is the file that was used, as it was read; `spoilt` is what is wrong with the
    one in whose place the last good copy stands, which is the configuration `since` then."""

    config: Config
    data: bytes
    spoilt: Problem | None = None
    since: str = ""


def load(path: str | os.PathLike[str]) -> Config:
    """The configuration of `path`; warnings go to the log. Raises ConfigError with every fault at once."""
    return load_or_last_good(path, None).config


def load_or_last_good(path: str | os.PathLike[str], copy: FilePath | None, *, of_anybody: bool = False) -> Loaded:
    """The configuration of `path`, or where that is spoilt the last good one of `copy` (None: there is none), as
    though it stood in `path`. Spoilt is a file with faults, and one without a button where the copy has some: what
    is left of a file that was cut off may be in order. Warnings, and which of the two is used, go to the log.
    `of_anybody` as in last_good.read. Raises ConfigError with every fault of `path` where neither will do."""
    file = os.fspath(path)
    data, config, problems = _inspect(file)
    kept = None
    if copy is not None and (config is None or not config.buttons):
        kept = _last_good(copy, FilePath(file), of_anybody)
    if config is None:
        if kept is None:
            raise ConfigError(problems)
        spoilt = next(problem for problem in problems if not problem.warning)
    elif kept is None or not kept.config.buttons:
        _log_all(problems)
        return Loaded(config, data)
    else:
        what = "there is none, and the last good copy has some: the file may be cut off"
        spoilt = Problem(file, 0, "buttons", what, f"if it is meant so, remove {copy}")
    log.error("%s", spoilt)
    log.error("%s is not used, but the last good copy of %s, %s", file, kept.since, copy)
    _log_all(kept.warnings)
    return Loaded(kept.config, kept.data, spoilt, kept.since)


def inspect(path: str | os.PathLike[str]) -> tuple[Config | None, tuple[Problem, ...]]:
    """(the configuration, or None where a fault forbids it; faults and warnings by line)."""
    _, config, problems = _inspect(os.fspath(path))
    return config, problems


def _inspect(file: str) -> tuple[bytes, Config | None, tuple[Problem, ...]]:
    try:
        data = _bytes(file)
    except _Unreadable as error:
        return b"", None, (Problem(file, 0, "", error.what, error.write),)
    return data, *_judge(data, file, FilePath(file))


@dataclass(frozen=True, slots=True)
class _Kept:
    config: Config
    warnings: tuple[Problem, ...]
    data: bytes
    since: str


def _last_good(path: FilePath, place: FilePath, of_anybody: bool) -> _Kept | None:
    """The copy at `path`, judged as though it stood at `place`; None where there is none to be used."""
    try:
        copy = last_good.read(path, of_anybody=of_anybody)
    except last_good.Refused as error:
        log.error("the last good copy is not used: %s", error)
        return None
    if copy is None:
        return None
    config, problems = _judge(copy.data, os.fspath(path), place)
    if config is None:
        fault = next(problem for problem in problems if not problem.warning)
        log.error("the last good copy cannot be used either: %s", fault)
        return None
    return _Kept(config, problems, copy.data, copy.since)


def _log_all(warnings: tuple[Problem, ...]) -> None:
    for problem in warnings:
        log.warning("%s", problem)


def _judge(data: bytes, file: str, place: FilePath) -> tuple[Config | None, tuple[Problem, ...]]:
    """As `inspect`, of what was read from `file`; what it names is looked up as though it stood at `place`."""
    try:
        text = _text(data)
        table = toml_text.parse(text)
    except _Unreadable as error:
        return None, (Problem(file, 0, "", error.what, error.write),)
    except toml_text.TomlSyntaxError as error:
        return None, (Problem(file, error.line, "", error.what, error.write),)
    if not table:
        what = "the file is empty" if not text.strip() else "the file holds remarks only"
        return None, (
            Problem(file, 0, "", what, "write at least one button; docs/configuration.md has an example"),
        )
    findings = _Findings(file, toml_text.locate(text))
    reader = Reader(findings.fault)
    config: Config = reader.table(Config, profiles.fill_in(table), ())
    findings.marked = reader.wrong
    config = _with_secret_files(config, place, findings)
    config = _with_certificates(config, place, findings)
    checks.check(config, findings.lines.__contains__, findings)
    _world_readable(file, config, findings)
    problems = tuple(sorted(findings.problems, key=lambda problem: problem.line))
    return (None if any(not problem.warning for problem in problems) else config), problems


class _Unreadable(Exception):
    def __init__(self, what: str, write: str) -> None:
        super().__init__(what)
        self.what = what
        self.write = write


class _Findings:
    """Collects problems and gives each the line of its key, or of the nearest table round it."""

    def __init__(self, file: str, lines: dict[Path, int]) -> None:
        self.lines = lines
        self.problems: list[Problem] = []
        self.marked: set[Path] = set()
        self._file = file

    def fault(self, path: Path, what: str, write: str) -> None:
        self._add(path, what, write, warning=False)
        self.marked.add(path)

    def warn(self, path: Path, what: str, write: str) -> None:
        self._add(path, what, write, warning=True)

    def wrong(self, path: Path) -> bool:
        return path in self.marked

    def _add(self, path: Path, what: str, write: str, *, warning: bool) -> None:
        place = path
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines[place] if place else 0
        self.problems.append(Problem(self._file, line, dotted(path), what, write, warning))


def _bytes(file: str) -> bytes:
    try:
        # Opened without waiting: a FIFO in the file's place must not hang the start.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                kind = "a folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "no regular file"
                raise _Unreadable(f"is {kind}", "name the configuration file itself")
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(file, error) from None
    if len(data) > MAX_BYTES:
        raise _Unreadable(
            f"is larger than {MAX_BYTES} bytes", "name the configuration file: this is something else"
        )
    return data


def _text(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Unreadable("is UTF-16 text", "save it as UTF-8")
    try:
        # utf-8-sig: Notepad's byte order mark is no fault of the technician's.
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable(f"line {line} is not UTF-8 text", "save the file as UTF-8") from None


def _unreadable(file: str, error: OSError) -> _Unreadable:
    if error.errno == errno.ENOENT:
        return _Unreadable("there is no such file", "give the path of the configuration file")
    if error.errno in (errno.EACCES, errno.EPERM):
        return _Unreadable("may not be read by this user", f"let it: chgrp portero {file}; chmod 640 {file}")
    if error.errno == errno.EISDIR:
        return _Unreadable("is a folder", "name the configuration file itself")
    return _Unreadable(f"cannot be read: {error.strerror}", "check the disk and the path")


def _with_secret_files(config: Config, file: FilePath, findings: _Findings) -> Config:
    accounts = (
        _with_secret(account, "password", ("accounts", index), file, findings)
        for index, account in enumerate(config.accounts)
    )
    users = (
        _with_secret(user, "password", ("users", index), file, findings) for index, user in enumerate(config.users)
    )
    doors = []
    for number, door in enumerate(config.doors):
        codes = []
        for index, written in enumerate(door.codes):
            place: Path = ("doors", number, "codes", index)
            code = _with_secret(written, "digits", place, file, findings)
            if code is not written and code.digits is not None and (complaint := code_digits(code.digits.reveal())):
                findings.fault(
                    (*place, "digits_file"), f"the file {complaint[0]}", "write the code alone on its first line"
                )
            codes.append(code)
        doors.append(replace(door, codes=tuple(codes)))
    nat = _with_secret(config.nat, "turn_password", ("nat",), file, findings)
    return replace(config, accounts=tuple(accounts), users=tuple(users), doors=tuple(doors), nat=nat)


def _with_secret(section: S, key: str, place: Path, file: FilePath, findings: _Findings) -> S:
    """The same with the first line of the file that `<key>_file` names as its `key`."""
    name = getattr(section, f"{key}_file")
    if name is None:
        return section
    if getattr(section, key) is not None:
        findings.fault((*place, key), f"stands beside {key}_file", "keep one of the two, best the file")
        return section
    return replace(section, **{key: _secret(name, file, (*place, f"{key}_file"), findings)})


def _with_certificates(config: Config, file: FilePath, findings: _Findings) -> Config:
    """The same with absolute paths of certificates and keys, each of them there and readable."""
    found = {
        key: _located(name, file, ("sip", key), findings)
        for key in ("tls_certificate_file", "tls_key_file")
        if (name := getattr(config.sip, key)) is not None
    }
    accounts = []
    for index, account in enumerate(config.accounts):
        files = {
            key: _located(name, file, ("accounts", index, "tls", key), findings)
            for key in ("ca_file", "certificate_file", "key_file")
            if (name := getattr(account.tls, key)) is not None
        }
        accounts.append(replace(account, tls=replace(account.tls, **files)) if files else account)
    return replace(config, sip=replace(config.sip, **found), accounts=tuple(accounts))


def _located(name: str, file: FilePath, path: Path, findings: _Findings) -> str:
    where = FilePath(os.environ.get("CREDENTIALS_DIRECTORY") or file.parent).absolute() / name
    if not findings.wrong(path):
        try:
            with where.open("rb") as stream:
                stream.read(1)
        except OSError as error:
            unreadable = _unreadable(str(where), error)
            findings.fault(path, f"{where}: {unreadable.what}", "put the file there, readable by the station")
    return str(where)


def _secret(name: str, file: FilePath, path: Path, findings: _Findings) -> Secret | None:
    """The first line of a secret's file."""
    if findings.wrong(path):
        return None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    where = FilePath(credentials or file.parent) / name
    try:
        with where.open("rb") as stream:
            data = stream.read(SECRET_MAX_BYTES + 1)
        lines = data.decode().splitlines()
    except OSError as error:
        unreadable = _unreadable(str(where), error)
        findings.fault(path, f"{where}: {unreadable.what}", "put the file there, readable by the station alone")
        return None
    except UnicodeDecodeError:
        findings.fault(path, f"{where} is not UTF-8 text", "write the secret alone on its first line")
        return None
    if not lines or not lines[0].strip() or len(data) > SECRET_MAX_BYTES:
        findings.fault(
            path, f"{where} does not begin with a line to use", "write the secret alone on its first line"
        )
        return None
    return Secret(lines[0].strip())


def _world_readable(file: str, config: Config, findings: _Findings) -> None:
    inline = any(account.password is not None and account.password_file is None for account in config.accounts)
    inline |= any(user.password is not None and user.password_file is None for user in config.users)
    inline |= any(
        code.digits is not None and code.digits_file is None for door in config.doors for code in door.codes
    )
    inline |= config.nat.turn_password is not None and config.nat.turn_password_file is None
    if inline and os.stat(file).st_mode & stat.S_IROTH:
        findings.warn((), "holds passwords or codes and every user may read it", f"run chmod o= {file}")
