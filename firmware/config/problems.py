"""What is wrong with a configuration file: `Problem`, in one line that names file, line, key, fault and remedy."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]  # of a value in the file: ("accounts", 0, "registrar")


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `line` counts from 1, 0 where there is none; a warning does not keep the station from starting."""

    file: str
    line: int
    key: str
    what: str
    write: str
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        parts = [place, "warning" if self.warning else "", self.key, self.what]
        text = ": ".join(part for part in parts if part)
        return f"{text}; {self.write}" if self.write else text


class ConfigError(Exception):
    """The file cannot be used. `problems` holds every fault found, warnings among them; str() is one per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def dotted(path: Path) -> str:
    """("accounts", 0, "registrar") as `accounts[0].registrar`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    folded = {name.lower().replace("-", "_"): name for name in known}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
