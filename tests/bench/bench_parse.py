"""Reading the 1,283-byte INVITE of a door beside email.parser.BytesParser on the same header fields and body.

BytesParser gets the message from its first header on: with the request line in front it takes the whole for a body
and reads nothing. It types no field. Ours are typed on demand: the first row types none, the others what they name.
"""

from email.parser import BytesParser

from firmware.sip.message import Message, Request, check_request, parse_message
from tests.bench.measure import interleaved, rate
from tests.bench.report import Row, ratio_at_least
from tests.support.door_invite import DOOR_INVITE


def parse() -> Message:
    return parse_message(DOOR_INVITE)


def parse_and_match() -> None:
    """What finds a message's transaction (RFC 3261 section 17.1.3)."""
    message = parse_message(DOOR_INVITE)
    _ = message.top_via.branch, message.cseq.method


def parse_and_find_dialog() -> None:
    message = parse_message(DOOR_INVITE)
    _ = message.top_via.branch, message.cseq.method, message.call_id, message.from_.tag, message.to.tag


def parse_and_check() -> None:
    """What a stranger's request costs before anything is done with it: every field the core relies on, typed."""
    message = parse_message(DOOR_INVITE)
    assert isinstance(message, Request)
    check_request(message)


def run() -> list[Row]:
    after_request_line = DOOR_INVITE[DOOR_INVITE.index(b"\n") + 1 :]
    parser = BytesParser()
    rows = []
    for name, ours, bar in (
        ("INVITE read", parse, 1.6),
        ("INVITE read, branch and CSeq typed", parse_and_match, 1.6),
        ("INVITE read, branch, CSeq, Call-ID, tags typed", parse_and_find_dialog, None),
        ("INVITE read, every field the core needs typed", parse_and_check, None),
    ):
        figures = interleaved(ours, lambda: parser.parsebytes(after_request_line))
        if bar is None:
            rows.append(Row(name, *figures, unit="parse/s"))
        else:
            rows.append(ratio_at_least(name, *figures, bar, "parse/s"))
    rows.append(Row("INVITE written", rate(parse().serialize, 0.3), unit="message/s"))
    return rows


if __name__ == "__main__":
    from tests.bench.report import table

    print(table(run()))
