"""Which settings the lock goes by: those of the station's file or, where that is spoilt, of the last good copy.

The copy is the lock's own. It is chosen before a relay is released where the file as a whole or its [station] is
wrong, for nobody knows then which relays those are; afterwards where a door is.
"""

from collections.abc import Collection
from pathlib import Path

from firmware import last_good
from firmware.door.lock import Door
from firmware.door.settings import Settings, SettingsError


class Choice:
    """`settings` as they are chosen; `spoilt` is the first thing that is wrong with the file where they are the
    copy's, which are the last good ones `since` then. `notes` are for the technician, and nothing here says them: a
    pipe that nobody reads must not hold up a release. SettingsError where nothing can be read at all."""

    def __init__(self, file: Path, copy: Path | None) -> None:
        self._copy = copy  # None once the file was found spoilt: then it is looked at, and not written
        self.notes: list[str] = []
        self.spoilt = ""
        self.since = ""
        try:
            self.settings = Settings(file)
            wrong = self.settings.spoilt
        except SettingsError as error:
            if not self._turned_to_copy(str(error)):
                raise SettingsError("\n".join((str(error), *self.notes))) from error
        else:
            if wrong:
                self._turned_to_copy(wrong)

    def judge(self, inputs: Collection[str], outputs: Collection[str]) -> tuple[str, dict[Door, str]]:
        """(the cover's input, the doors with their outputs) as in Settings. SettingsError if neither will do."""
        try:
            return self.settings.tamper(inputs), self.settings.doors(outputs)
        except SettingsError as error:
            # Of another board not: it is this one's relays that were released.
            if not self._turned_to_copy(str(error).splitlines()[0], self.settings.places):
                raise
        return self.settings.tamper(inputs), self.settings.doors(outputs)

    def keep(self) -> None:
        """Keep the settings as the last good ones, unless they are that. The disk may take its time."""
        if self._copy is None:
            return
        try:
            last_good.keep(self._copy, self.settings.data)
        except OSError as error:
            self.notes.append(
                f"the configuration cannot be kept as the last good one: {self._copy}: {error.strerror}"
            )

    def _turned_to_copy(self, spoilt: str, places: tuple[str, Path, Path] | None = None) -> bool:
        """Whether there is a good copy, of `places` where that matters; it is chosen then."""
        copy, self._copy = self._copy, None
        if copy is None:
            return False
        try:
            kept = last_good.read(copy)
        except last_good.Refused as refused:
            self.notes.append(f"the last good copy is not used: {refused}")
            return False
        if kept is None:
            return False
        settings = Settings(kept.path, kept.data)
        if settings.spoilt:
            self.notes.append(f"the last good copy cannot be used either: {settings.spoilt}")
            return False
        if places is not None and settings.places != places:
            self.notes.append(f"the last good copy is of another board or other folders: {kept.path}")
            return False
        self.settings, self.spoilt, self.since = settings, spoilt, kept.since
        self.notes += (spoilt, f"goes on with the last good copy of {kept.since}, {kept.path}")
        return True
