"""What a look at the hardware found: one line each, with the remedy where something is missing or taken."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`where` is the table or file of the board that it is about. `remedy` is empty where all is well."""

    where: str
    what: str
    remedy: str = ""

    @property
    def well(self) -> bool:
        return not self.remedy
