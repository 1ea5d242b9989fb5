"""What others may see of a call: dialog states and their document, RFC 4235 (application/dialog-info+xml).

A call, that is one INVITE of ours or to us, is one `dialog` element, however many phones one INVITE reaches:
whoever watches the door wants to know whether it rings or talks. With whom is nobody's business (section 9), so
that elements carry a direction and a state, and neither addresses nor what a Replaces would need. A call to us is
seen once the station takes it: a stranger whom it refuses lights no lamp.

    answered | direction | ended by      | event of the terminated state (3.7.1)
    ---------|-----------|---------------|--------------------------------------
    no       | initiator | us            | cancelled
    no       | initiator | peer          | rejected, with its status as code
    no       | recipient | us            | rejected, with our status as code
    no       | recipient | peer          | cancelled
    yes      | any       | us            | local-bye
    yes      | any       | peer, BYE     | remote-bye
    yes      | any       | peer, refusal | error
    any      | any       | network, 408 or 504 | timeout
    any      | any       | network       | error
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from firmware.sip.events import EndedBy

CONTENT_TYPE = "application/dialog-info+xml"
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", '"': "&quot;"})
Direction = Literal["initiator", "recipient"]
State = Literal["trying", "proceeding", "early", "confirmed", "terminated"]


@dataclass(frozen=True, slots=True)
class DialogState:
    """`event` and `code` say how a terminated one ended."""

    id: str
    direction: Direction
    state: State = "trying"
    event: str = ""
    code: int = 0


def ending(direction: Direction, by: EndedBy, status: int, *, answered: bool) -> tuple[str, int]:
    """(event, code) of a call that has ended; code 0 where there is none."""
    if by == "network":
        return ("timeout" if status in (408, 504) else "error"), 0
    if answered:
        if by == "us":
            return "local-bye", 0
        return ("remote-bye" if status == 200 else "error"), 0
    if (by == "us") == (direction == "initiator"):
        return "cancelled", 0
    return "rejected", status


def document(entity: str, version: int, dialogs: Iterable[DialogState], *, full: bool) -> bytes:
    """The body of a NOTIFY; `entity` is the URI that was asked for, `version` rises by one with each."""
    head = (
        '<?xml version="1.0"?>\r\n<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" '
        f'version="{version}" state="{"full" if full else "partial"}" entity="{entity.translate(_ESCAPES)}">'
    )
    return "\r\n".join((head, *map(_element, dialogs), "</dialog-info>\r\n")).encode()


def _element(dialog: DialogState) -> str:
    code = f' code="{dialog.code}"' if dialog.code else ""
    event = f' event="{dialog.event}"' if dialog.event else ""
    return (
        f'<dialog id="{dialog.id}" direction="{dialog.direction}">'
        f"<state{event}{code}>{dialog.state}</state></dialog>"
    )
