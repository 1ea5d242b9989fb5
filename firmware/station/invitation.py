"""What a call from the door says of itself besides its offer: header fields by button, stage and account.

Alert-Info (RFC 3261 20.4, RFC 7462), Subject (20.36), Answer-Mode (RFC 5373), Call-Info with answer-after (what
phones understood before that), P-Asserted-Identity (RFC 3325: only to a server that trusts us). Pure.
"""

from firmware.config import Account, Button
from firmware.sip.abnf import unescape
from firmware.sip.errors import ProtocolError
from firmware.sip.uri import NameAddr, Uri

Headers = tuple[tuple[str, str], ...]


def headers_for(target: Uri, button: Button | None, account: Account | None, *, auto_answer: bool) -> Headers:
    """The additional header fields of an INVITE to `target`."""
    headers: list[tuple[str, str]] = []
    if button is not None and button.alert_info:
        headers.append(("Alert-Info", button.alert_info))
    if button is not None and button.subject:
        headers.append(("Subject", button.subject))
    if auto_answer:
        headers.append(("Answer-Mode", "Auto"))
        host = f"[{target.host}]" if ":" in target.host else target.host
        headers.append(("Call-Info", f"<sip:{host}>;answer-after=0"))
    if account is not None and account.trusted:
        name = (button.display_name if button is not None else None) or account.display_name or ""
        headers.append(("P-Asserted-Identity", str(NameAddr(name, Uri.parse(account.address)))))
    return tuple(headers)


def replaces_of(target: Uri) -> Headers:
    """What the INVITE of an attended transfer says: whom the transferor has talked with already expects the door in
    the place of that call (RFC 3891, RFC 5589 7)."""
    for name, escaped in target.headers:
        value = unescape(escaped)
        if name.lower() == "replaces" and value.isprintable():
            return (("Require", "replaces"), ("Replaces", value))
    return ()


def may_be_handed_to(target: Uri, allowed: tuple[str, ...], domain: str) -> str | None:
    """The entry of calls.transfer_to that a transfer's target means, or None. `domain` is the account's, where
    numbers live."""
    for entry in allowed:
        try:
            known = Uri.parse(entry if ":" in entry else f"sip:{entry}@{domain}")
        except ProtocolError:
            continue
        if known.user == target.user and known.host.lower() == target.host.lower():
            return entry
    return None
