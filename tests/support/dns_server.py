"""A name server of a few lines for one test: answers from a table, or late, wrongly, or not at all."""

import asyncio
import socket
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Behaviour = Callable[[dns.message.Message], dns.message.Message | None]


class DnsServer:
    """By UDP and TCP on one port of `host`. `behave(query)` gives the response; None: silence."""

    def __init__(self, behave: Behaviour, host: str = "127.0.0.1", *, delay_s: float = 0.0) -> None:
        self.behave = behave
        self.host = host
        self.port = 0
        self.delay_s = delay_s
        self.asked: list[tuple[str, str, str]] = []  # (udp or tcp, name, kind)

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    async def __aenter__(self) -> "DnsServer":
        loop = asyncio.get_running_loop()
        server = self
        self._tcp = await asyncio.start_server(self._serve_tcp, self.host, 0)
        self.port = self._tcp.sockets[0].getsockname()[1]

        class Datagrams(asyncio.DatagramProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, address: object) -> None:
                answer = server.answer("udp", data)
                if answer is not None:
                    loop.call_later(server.delay_s, self._send, answer, address)

            def _send(self, answer: bytes, address: object) -> None:
                if not self.transport.is_closing():
                    self.transport.sendto(answer, address)

        self._udp, _ = await loop.create_datagram_endpoint(
            Datagrams, local_addr=(self.host, self.port), family=socket.AF_INET
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def answer(self, by: str, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.asked.append((by, question.name.to_text(True), dns.rdatatype.to_text(question.rdtype)))
        response = self.behave(query)
        if response is None:
            return None
        if by == "tcp":
            response.flags &= ~dns.flags.TC
        return response.to_wire()

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer("tcp", await reader.readexactly(size))
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
        writer.close()


def zone(*lines: str, rcode: int = dns.rcode.NOERROR, truncated: bool = False) -> Behaviour:
    """Answers from lines like "pbx.example. 60 IN A 192.0.2.1"; NXDOMAIN for names that have none."""
    rrsets: dict[tuple[str, str], dns.rrset.RRset] = {}
    for line in lines:
        name, ttl, cls, kind, data = line.split(None, 4)
        key = (name.lower(), kind)
        if key in rrsets:
            rrsets[key].add(dns.rdata.from_text(cls, kind, data))
        else:
            rrsets[key] = dns.rrset.from_text(name, int(ttl), cls, kind, data)

    def behave(query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(rcode)
        (question,) = query.question
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        while (alias := rrsets.get((name, "CNAME"))) is not None:
            response.answer.append(alias)
            name = alias[0].target.to_text().lower()
        found = rrsets.get((name, kind))
        if found is not None:
            if truncated:
                response.flags |= dns.flags.TC
            response.answer.append(found)
        elif rcode == dns.rcode.NOERROR:
            if not any(known == name for known, _ in rrsets):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns.example. host.example. 1 3600 600 86400 7"
            response.authority.append(dns.rrset.from_text("example.", 30, "IN", "SOA", soa))
        return response

    return behave


def silent(query: dns.message.Message) -> None:
    return None
