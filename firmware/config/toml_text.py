"""The TOML text: read by the standard library, with the line of every key and with remedies for syntax errors.

`tomllib` keeps no positions, so `locate` walks the text a second time and notes where each key, table and list
entry begins. It relies on tomllib having accepted the text and knows only as much of TOML 1.0 as positions need.
"""

import re
import tomllib

from firmware.config.problems import Path

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\"]|\\.|"(?!""))*"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^\\"\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}\s#]+(?: [0-9][^,\]}\s#]*)?")  # the blank: between a date and its time


class TomlSyntaxError(ValueError):
    """The text is not TOML: where, what is wrong, what to write."""

    def __init__(self, line: int, what: str, write: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what
        self.write = write


def parse(text: str) -> dict[str, object]:
    """The document's tables. Raises TomlSyntaxError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _explained(text, str(error)) from None
    except RecursionError:
        raise TomlSyntaxError(0, "lists or tables nest too deeply", "write flat tables") from None


def locate(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table header and list entry of a text that `parse` accepts."""
    return _Locator(text).lines()


class _Locator:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # entries so far of each list of tables
        self._counted_to = 0
        self._line = 1

    def lines(self) -> dict[Path, int]:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text.startswith("[[", self._at):
                self._at += 2
                table = self._header()
                index = self._counts.get(table, 0)
                self._counts[table] = index + 1
                self._lines.setdefault(table, self._here())
                table = (*table, index)
                self._note(table)
                self._at += 2
            elif self._text.startswith("[", self._at):
                self._at += 1
                table = self._header()
                self._note(table)
                self._at += 1
            else:
                self._pair(table)
            before = self._at
            self._skip(_BLANK)
            if self._at == before and self._at < len(self._text):
                break  # not reached with a text that tomllib accepts
        return self._lines

    def _header(self) -> Path:
        """The path that a header means: inside lists of tables it means their last entry."""
        path: Path = ()
        for part in self._dotted_key():
            if path in self._counts:
                path = (*path, self._counts[path] - 1)
            path = (*path, part)
        return path

    def _dotted_key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            if found := _STRING.match(self._text, self._at):
                parts.append(str(next(iter(tomllib.loads(f"{found[0]}=0")))))
            elif not (found := _BARE_KEY.match(self._text, self._at)):
                return parts
            else:
                parts.append(found[0])
            self._at = found.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _pair(self, table: Path) -> None:
        path = table
        for part in self._dotted_key():
            path = (*path, part)
            self._lines.setdefault(path, self._here())
        self._skip(_SPACE)
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._text.startswith("[", self._at):
            self._at += 1
            self._skip(_BLANK)
            index = 0
            while self._at < len(self._text) and self._text[self._at] != "]":
                self._note((*path, index))
                self._value((*path, index))
                self._comma()
                index += 1
            self._at += 1
        elif self._text.startswith("{", self._at):
            self._at += 1
            self._skip(_BLANK)
            while self._at < len(self._text) and self._text[self._at] != "}":
                self._pair(path)
                self._comma()
            self._at += 1
        elif found := _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at):
            self._at = found.end()
        else:
            self._at = len(self._text)

    def _comma(self) -> None:
        self._skip(_BLANK)
        if self._text.startswith(",", self._at):
            self._at += 1
            self._skip(_BLANK)

    def _note(self, path: Path) -> None:
        self._lines[path] = self._here()

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line

    def _skip(self, pattern: re.Pattern[str]) -> None:
        if found := pattern.match(self._text, self._at):
            self._at = found.end()


# --- syntax errors ---------------------------------------------------------------------------------------------


def _explained(text: str, message: str) -> TomlSyntaxError:
    """tomllib's message with a remedy. Nothing of the line is quoted: it may hold a password."""
    lines = text.splitlines() or [""]
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    number = int(found[1]) if found else len(lines)
    column = int(found[2]) - 1 if found else 0
    line = lines[min(number, len(lines)) - 1]
    what = message.split(" (at ")[0]
    return TomlSyntaxError(
        number, f"not TOML: {what[:1].lower()}{what[1:]}", _remedy(line, column, what, text, number)
    )


def _remedy(line: str, column: int, what: str, text: str, number: int) -> str:
    stripped = line.strip()
    key, equals, value = stripped.partition("=")
    key, value = key.strip(), value.split("#")[0].strip()
    if "overwrite" in what or "declare" in what or "twice" in what or "mutate" in what:
        if stripped.startswith("[["):
            return f"write {stripped.split(']')[0]}]] everywhere or [{stripped.strip('[]')}] once, not both"
        if stripped.startswith("["):
            return (
                f"the table {stripped} is there twice: put its keys together, or write [{stripped}] if it is a list"
            )
        return f"{key or 'the key'} is there twice in its table: remove one"
    if any(quote in line for quote in "\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb"):
        return 'write straight quotes: "'
    if stripped.startswith("[") and not equals:
        closing = "]]" if stripped.startswith("[[") else "]"
        return f"write the table's name with nothing behind it, as in {'[' * len(closing)}doors{closing}"
    if not equals:
        if re.match(r"[\w.-]+\s*:", stripped):
            return f"write {stripped.split(':')[0].strip()} = ... with an equals sign"
        if re.fullmatch(r"[\w.-]+(\s+.*)?", stripped):
            return f"write {stripped.split()[0]} = and its value"
        return 'write lines of the form key = "text", key = 5, [table] or # remark'
    if value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return f"write {key} = {'true' if value.lower() in ('true', 'yes', 'on') else 'false'}, in small letters"
    if value in ("", "none", "None", "null"):
        return f"write a value behind {key} =, or take the line out"
    if re.fullmatch(r"\d+,\d+", value):
        return f"write the number with a point: {key} = {value.replace(',', '.')}"
    if re.fullmatch(r"0\d+", value):
        return f'write {key} without leading zeros, or as a text in quotes: {key} = "..."'
    if re.fullmatch(r"\d+\s*(ms|s|min|m|h)", value):
        return f"write the number alone, without a unit: {key} = {re.match(r'[0-9]+', value)[0]}"  # type: ignore[index]
    if "escape" in what.lower() or "\\" in value:
        return f"write {key} = '...' in single quotes, where a backslash is just that"
    if value[:1] in "\"'" and value.count(value[0]) % 2:
        return f"write the closing quote: {key} = {value[0]}...{value[0]}"
    if value[:1] in "\"'":
        return f"write one text behind {key} =, in one pair of quotes, and nothing behind it"
    if value.startswith("["):
        return f'write {key} = ["...", "..."] with a comma between the entries and a closing bracket'
    if re.match(r"[A-Za-z]", value):
        return f'write texts in quotes: {key} = "..."'
    if number >= len(text.splitlines()):
        return "something is not closed before the end of the file: look for a missing quote or ]"
    return 'write key = "text", key = 5, key = true or key = ["one", "two"]'
