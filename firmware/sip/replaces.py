"""An INVITE that wants the place of a call of ours: RFC 3891 section 3.

| the Replaces field | what comes of it |
|---|---|
| more than one, or unreadable | 400 |
| no such dialog | 481 |
| of a call that has ended | 603 |
| early-only, of an answered call | 486 |
| of an answered call | that call |
| of an early dialog of a call that we made | that call |
| of a call to us that still rings | 481 |

Whether the caller may have that place is the station's decision: a Replaces field proves nothing.
"""

from firmware.sip.abnf import unquote
from firmware.sip.call import Call, Calls
from firmware.sip.message import Request


def replaced(request: Request, calls: Calls) -> Call | int:
    """The call to be replaced, or the status that refuses the request."""
    fields = request.headers.get_all("Replaces")
    if len(fields) != 1:
        return 400
    call_id, *rest = fields[0].split(";")
    parameters: dict[str, str] = {}
    for item in rest:
        name, _, value = item.partition("=")
        parameters[name.strip().lower()] = unquote(value.strip())
    if "to-tag" not in parameters or "from-tag" not in parameters:
        return 400
    # Tags of peers of RFC 2543, which have none, are written 0.
    remote = parameters["from-tag"]
    found = calls.by_dialog.get((call_id.strip(), parameters["to-tag"], remote)) or (
        calls.by_dialog.get((call_id.strip(), parameters["to-tag"], "")) if remote == "0" else None
    )
    if found is None:
        return 481
    call = found[0]
    if call.state == "ended":
        return 603
    if call.state == "early":
        return call if call.owns_call_id else 481
    return 486 if "early-only" in parameters else call
