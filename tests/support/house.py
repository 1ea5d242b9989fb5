"""Phones of the house against one core on a `Bench`: REGISTER with digest, requests with credentials."""

from collections.abc import Iterable
from itertools import count

from firmware.sip.configuration import Configuration, House, User
from firmware.sip.digest import DigestClient
from firmware.sip.message import Request, Response
from firmware.sip.types import Flow
from firmware.sip.uri import Uri
from tests.support.sip_link import Bench, seeded

DOMAIN = "house.test"
PASSWORDS = {"anna": "anna-secret", "bob": "bob-secret", "carl": "carl-secret"}
_branches = count(1)


def house(**settings: object) -> Configuration:
    users = tuple(User(name, password) for name, password in PASSWORDS.items())
    return Configuration(house=House(users, DOMAIN, **settings))  # type: ignore[arg-type]


def connection(number: int, host: str = "10.0.0.2", port: int = 40_000) -> Flow:
    return Flow("tcp", ("10.0.0.1", 5060), (host, port + number), ("10.0.0.1", 5060), number)


class Phone:
    """One phone of `user`, which answers one challenge as a phone does."""

    def __init__(
        self,
        bench: Bench,
        user: str = "anna",
        *,
        host: str = "10.0.0.2",
        port: int = 5060,
        flow: Flow | None = None,
        password: str | None = None,
        login: str | None = None,
    ) -> None:
        self.bench = bench
        self.user = user
        self.flow = flow or bench.flow_to(host, port)
        transport = "" if self.flow.transport == "udp" else f";transport={self.flow.transport}"
        self.contact = f"<sip:{user}@{host}:{port}{transport}>"
        self.call_id = f"{user}-{host}-{port}"
        self.cseq = 0
        self.digest = DigestClient(login or user, password or PASSWORDS.get(user, "?"), seeded(port))

    def request(
        self,
        method: str,
        uri: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        to: str = "",
        from_tag: str = "f",
        to_tag: str = "",
        call_id: str = "",
        body: bytes = b"",
    ) -> Request:
        self.cseq += 1
        host, port = self.flow.remote
        host = f"[{host}]" if ":" in host else host
        request = Request(method, Uri.parse(uri))
        fields = request.headers
        fields.add(
            "Via",
            f"SIP/2.0/{self.flow.transport.upper()} {host}:{port};rport;branch=z9hG4bKphone{next(_branches)}",
        )
        fields.add("Max-Forwards", "70")
        fields.add("From", f"<sip:{self.user}@{DOMAIN}>;tag={from_tag}")
        fields.add("To", f"<{to or uri}>{f';tag={to_tag}' if to_tag else ''}")
        fields.add("Call-ID", call_id or self.call_id)
        fields.add("CSeq", f"{self.cseq} {method}")
        for name, value in headers:
            fields.add(name, value)
        request.body = body
        return request

    def ask(self, request: Request) -> Response:
        """The answer to this one request."""
        self.bench.receive(request, self.flow)
        answers = [message for message in self.bench.sent() if isinstance(message, Response)]
        assert len(answers) == 1, answers
        return answers[0]

    def again(self, request: Request) -> Request:
        """The same request as a transaction of its own."""
        self.cseq += 1
        copy = Request(request.method, request.uri, request.headers.copy(), request.body)
        copy.headers.set("CSeq", f"{self.cseq} {request.method}")
        via = copy.top_via
        copy.replace_top_via(via.with_parameter("branch", f"z9hG4bKphone{next(_branches)}"))
        return copy

    def proven(self, request: Request, challenge: Response) -> Request:
        """The request again, with credentials for the challenge."""
        exchange = self.digest.exchange()
        assert exchange.challenged(challenge), exchange.failure
        again = self.again(request)
        exchange.authorize(again)
        return again

    def register(
        self,
        *contacts: str,
        expires: int | None = 600,
        headers: Iterable[tuple[str, str]] = (),
        to: str = "",
    ) -> Response:
        """Register, answering the challenge; the last response. Without contacts: the phone's own."""
        lines = [("Contact", contact) for contact in contacts or (self.contact,) if contact]
        if expires is not None:
            lines.append(("Expires", str(expires)))
        to = to or f"sip:{self.user}@{DOMAIN}"
        request = self.request("REGISTER", f"sip:{DOMAIN}", [*lines, *headers], to=to)
        answer = self.ask(request)
        return self.ask(self.proven(request, answer)) if answer.status == 401 else answer


def contacts_of(response: Response) -> list[str]:
    """user@host:port of each Contact listed."""
    return [f"{contact.uri.user}@{contact.uri.host}:{contact.uri.port}" for contact in response.contacts]
