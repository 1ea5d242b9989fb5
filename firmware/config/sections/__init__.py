"""The configuration's types: one Struct for each table of the TOML file, each key with its meaning beside it.

docs/configuration.md is generated from what stands here (docs/generate.py). Reading a file into these types is
`reading.py`; what must hold between keys is `checks.py`. Paths and hardware names are checked by who opens them.
"""

from collections.abc import Sequence

from firmware.config.sections.base import Section
from firmware.config.sections.ringing import Access, Button, Calls, Code, Door, Incoming, LightSection, Stage
from firmware.config.sections.sip import Account, House, NatSection, Sip, Tls, User
from firmware.config.sections.sound import Announcements, Audio, MediaSection
from firmware.config.sections.station import Station, StoreSection

__all__ = [
    "Access",
    "Account",
    "Announcements",
    "Audio",
    "Button",
    "Calls",
    "Code",
    "Config",
    "Door",
    "House",
    "Incoming",
    "LightSection",
    "MediaSection",
    "NatSection",
    "Section",
    "Sip",
    "Stage",
    "Station",
    "StoreSection",
    "Tls",
    "User",
]


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    station: Station = Station()
    sip: Sip = Sip()
    accounts: tuple[Account, ...] = ()
    house: House = House()
    users: tuple[User, ...] = ()
    buttons: tuple[Button, ...] = ()
    doors: tuple[Door, ...] = ()
    lights: tuple[LightSection, ...] = ()
    calls: Calls = Calls()
    access: Access = Access()
    media: MediaSection = MediaSection()
    nat: NatSection = NatSection()
    audio: Audio = Audio()
    announcements: Announcements = Announcements()
    store: StoreSection = StoreSection()

    def account(self, name: str | None) -> Account | None:
        """The account of this name; the first of the file for None; None where there is none."""
        return _first(self.accounts, name)

    def user(self, name: str) -> User | None:
        return next((user for user in self.users if user.name == name), None)

    def button(self, name: str) -> Button | None:
        return next((button for button in self.buttons if button.name == name), None)

    def door(self, name: str) -> Door | None:
        return next((door for door in self.doors if door.name == name), None)


def _first(accounts: Sequence[Account], name: str | None) -> Account | None:
    return next((account for account in accounts if name is None or account.name == name), None)
