"""Every message of the published call flows (RFC 3665, 3327, 3515, 4916, 5626) is read and survives our writing."""

import re
from pathlib import Path

import pytest

from firmware.sip.message import Request, check_request, check_response, parse_message
from tests.support.suites import suite

SUITE = suite("callflows-yaml")


def messages(file: Path) -> list[bytes]:
    """The block scalars of a YAML list of messages, which is all these files are, with the wire's line ends."""
    blocks = re.split(r"(?m)^- \|\+\n", file.read_text())[1:]
    texts = ["\n".join(line[2:] for line in block.split("\n") if not line.startswith("#")) for block in blocks]
    return [text.replace("\n", "\r\n").encode() for text in texts]


@pytest.mark.parametrize("file", sorted(SUITE.rglob("*.yaml")), ids=lambda file: file.stem)
def test_call_flow_is_read_and_survives_our_writing(file):
    found = messages(file)
    assert found
    for wire in found:
        message = parse_message(wire)
        if not message.headers.get("Via"):
            message.headers.add("Via", "SIP/2.0/TCP 192.0.2.9;branch=z9hG4bKleftout")  # RFC 5626 leaves them out
        (check_request if isinstance(message, Request) else check_response)(message)
        again = parse_message(message.serialize())
        assert again.repairs == ()
        assert again.start_line() == message.start_line()
        assert again.body == message.body
        for name in ("vias", "from_", "to", "call_id", "cseq", "contacts", "routes", "record_routes", "expires"):
            assert getattr(again, name) == getattr(message, name)


def test_there_are_29_call_flows():
    assert len(list(SUITE.rglob("*.yaml"))) == 29
