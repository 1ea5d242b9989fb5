"""The pcapng file: block structure by hand, and what Wireshark makes of it."""

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.diagnostics.pcapng import write
from firmware.sip.replay import messages_of
from firmware.sip.types import Flow
from tests.support.sip_link import invite, reply

TRANSPORTS = ("udp", "tcp", "tls", "ws", "wss")
PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}


def flow_json(transport: str, local: str, remote: str, number: int = 7) -> Any:
    port = PORTS[transport]
    return {
        "$": "types.Flow",
        "transport": transport,
        "local": [local, 40000 + number],
        "remote": [remote, port],
        "advertised": [local if local not in ("0.0.0.0", "::") else "10.0.0.9", 5060],
        "number": number,
    }


def exchange(flow: Any, at: float, body: bytes = b"v=0\r\n") -> list[Any]:
    """An INVITE out, its repeat, its answer in."""
    request = invite(sdp=body)
    request.headers.set("Via", f"SIP/2.0/{flow['transport'].upper()} 10.0.0.1;branch=z9hG4bK1")
    send = {"$": "actions.Send", "flow": flow, "data": {"text": bytes(request).decode()}}
    answer = {"flow": flow, "data": {"text": bytes(reply(request, 200)).decode()}}
    return [
        {"n": 1, "at": at, "do": "invite", "with": {"target": {"uri": "sip:a@b"}}, "actions": [send]},
        {"n": 2, "at": at + 0.5, "do": "handle_timer", "timers": ["Timer A of INVITE"], "actions": [send]},
        {"n": 3, "at": at + 0.6, "do": "receive", "with": answer},
    ]


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        kind, length = struct.unpack("<II", data[:8])
        assert length % 4 == 0
        assert struct.unpack("<I", data[length - 4 : length])[0] == length
        yield kind, data[8 : length - 4]
        data = data[length:]


def test_a_file_has_a_section_two_interfaces_and_a_packet_for_each_message() -> None:
    entries = exchange(flow_json("udp", "10.0.0.1", "10.0.0.2"), 5.0)
    kinds = [kind for kind, _ in blocks(b"".join(write(entries, 1.7e9)))]
    assert kinds == [0x0A0D0D0A, 1, 1, 6, 6, 6]


def test_a_packet_has_the_messages_time_direction_and_octets() -> None:
    entries = exchange(flow_json("udp", "10.0.0.1", "10.0.0.2"), 5.25)
    (*_, (_, first), _, (_, last)) = blocks(b"".join(write(entries, 1.7e9)))
    _, high, low, length, original = struct.unpack("<IIIII", first[:20])
    assert (high << 32 | low) == 1_700_000_005_250_000
    assert length == original
    assert first[20:24] == b"\x45\x00" + struct.pack("!H", length)
    assert entries[0]["actions"][0]["data"]["text"].encode() in first
    assert first.endswith(struct.pack("<HHIHH", 2, 4, 2, 0, 0))
    assert last.endswith(struct.pack("<HHIHH", 2, 4, 1, 0, 0))
    assert b"call sip:a@b" in first


def tshark(path: Path, *fields: str) -> list[dict[str, str]]:
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed (apt-get install tshark)")
    options = [option for field in fields for option in ("-e", field)]
    # Checksums are checked, so that a wrong one is seen.
    checks = [option for each in ("ip", "udp", "tcp") for option in ("-o", f"{each}.check_checksum:TRUE")]
    done = subprocess.run(
        [program, "-n", "-r", str(path), *checks, "-T", "fields", "-E", "separator=|", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [dict(zip(fields, line.split("|"), strict=False)) for line in done.stdout.splitlines()]


def test_wireshark_reads_every_message_of_every_transport_as_sip(tmp_path: Path) -> None:
    entries = []
    for number, transport in enumerate(TRANSPORTS):
        for local, remote in (("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2"), ("0.0.0.0", "10.0.0.3")):
            entries += exchange(flow_json(transport, local, remote, number), 5.0 + number)
    path = tmp_path / "trace.pcapng"
    path.write_bytes(b"".join(write(entries, 1.7e9)))
    fields = ("frame.protocols", "sip.Method", "sip.Status-Code", "_ws.expert.message", "frame.comment")
    rows = tshark(path, *fields, "ip.checksum.status", "udp.checksum.status", "tcp.checksum.status")
    assert len(rows) == sum(1 for entry in entries for _ in messages_of(entry)) == 45
    for row in rows:
        assert ":sip" in row["frame.protocols"], row
        assert row["sip.Method"] == "INVITE" or row["sip.Status-Code"] == "200", row
        assert "ad checksum" not in row["_ws.expert.message"], row
        assert "alformed" not in row["_ws.expert.message"], row
        for protocol in ("ip", "udp", "tcp"):
            assert row[f"{protocol}.checksum.status"] in ("", "1"), row
    assert [row["frame.comment"] for row in rows].count("Timer A of INVITE") == 15


def test_a_message_larger_than_a_packet_is_put_together_again(tmp_path: Path) -> None:
    path = tmp_path / "large.pcapng"
    entries = exchange(flow_json("tcp", "10.0.0.1", "10.0.0.2"), 5.0, b"v=0\r\n" + b"a=x\r\n" * 20_000)
    path.write_bytes(b"".join(write(entries, 1.7e9)))
    rows = tshark(path, "sip.Method", "sip.Status-Code", "tcp.analysis.lost_segment")
    assert [row["sip.Method"] for row in rows if row["sip.Method"]] == ["INVITE", "INVITE"]
    assert not any(row["tcp.analysis.lost_segment"] for row in rows)


def test_a_flow_of_the_core_has_what_is_read_here() -> None:
    """The tests above write flows by hand; the core's own must have the same fields."""
    assert {"transport", "local", "remote", "advertised", "number"} <= set(Flow.__dataclass_fields__)
    assert json.dumps(flow_json("udp", "10.0.0.1", "10.0.0.2"))
