"""What is known of PBXs and servers, as data (profiles.toml): settings of an account with the reason for each.

A profile only fills in what the account leaves out, before the file is typed and checked, so its values obey the
same rules as written ones.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any

from firmware.config.problems import Path, nearest


@dataclass(frozen=True, slots=True)
class Setting:
    key: str  # of [[accounts]]
    value: Any
    why: str


@dataclass(frozen=True, slots=True)
class Profile:
    """`tested`: the test that calls through the real server; empty where none could be had."""

    name: str
    title: str
    tested: str
    setup: tuple[str, ...]
    settings: tuple[Setting, ...]


@cache
def profiles() -> Mapping[str, Profile]:
    with FilePath(__file__).with_name("profiles.toml").open("rb") as file:
        tables = tomllib.load(file)
    return MappingProxyType(
        {
            name: Profile(
                name,
                table["title"],
                table["tested"],
                tuple(table["setup"]),
                tuple(Setting(key, **setting) for key, setting in table.get("settings", {}).items()),
            )
            for name, table in tables.items()
        }
    )


def fill_in(table: dict[str, Any]) -> dict[str, Any]:
    """The file's values with those of the profiles its accounts name; unknown names are `check`'s business."""
    accounts = table.get("accounts")
    if not isinstance(accounts, list) or not any(isinstance(each, dict) and "profile" in each for each in accounts):
        return table
    return {**table, "accounts": [_filled(each) for each in accounts]}


def _filled(account: Any) -> Any:
    profile = profiles().get(account.get("profile", "")) if isinstance(account, dict) else None
    if profile is None:
        return account
    return {**{setting.key: setting.value for setting in profile.settings}, **account}


def complaint(path: Path, name: str) -> tuple[Path, str, str] | None:
    """Path, what is wrong and what to write, where no profile has this name."""
    if name in profiles():
        return None
    guess = nearest(name, tuple(profiles()))
    known = ", ".join(f'"{each}"' for each in profiles())
    return path, f'there is no profile "{name}"', f'write "{guess}"' if guess else f"write one of {known}"
