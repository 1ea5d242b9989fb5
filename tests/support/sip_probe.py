"""The smallest SIP there is: one OPTIONS over UDP, to see whether somebody answers at an address; one REGISTER, for
phones that sipp plays."""

import re
import secrets
import socket
from hashlib import md5


def answers_options(host: str, port: int, timeout_s: float = 0.2) -> bool:
    """Whether any SIP response comes back within `timeout_s`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    shown = f"[{host}]" if ":" in host else host
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.settimeout(timeout_s)
        try:
            probe.connect((host, port))
            own = probe.getsockname()[1]
            token = secrets.token_hex(6)
            probe.send(
                f"OPTIONS sip:probe@{shown}:{port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {shown}:{own};branch=z9hG4bK{token};rport\r\n"
                "Max-Forwards: 5\r\n"
                f"From: <sip:probe@{shown}>;tag={token}\r\n"
                f"To: <sip:probe@{shown}:{port}>\r\n"
                f"Call-ID: {token}\r\n"
                "CSeq: 1 OPTIONS\r\n"
                "Content-Length: 0\r\n\r\n".encode()
            )
            return probe.recv(4096).startswith(b"SIP/2.0 ")
        except OSError:
            return False


def register(server: tuple[str, int], user: str, password: str, domain: str, port: int) -> None:
    """Register `user` at 127.0.0.1:`port`, from there, for two minutes (UDP, digest with MD5)."""
    token = secrets.token_hex(6)
    uri = f"sip:{domain}"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", port))
        phone.settimeout(20)
        phone.connect(server)

        def ask(number: int, *more: str) -> str:
            head = [
                f"REGISTER {uri} SIP/2.0",
                f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{token}{number};rport",
                "Max-Forwards: 5",
                f"From: <sip:{user}@{domain}>;tag={token}",
                f"To: <sip:{user}@{domain}>",
                f"Call-ID: {token}",
                f"CSeq: {number} REGISTER",
                f"Contact: <sip:{user}@127.0.0.1:{port}>",
                "Expires: 120",
                *more,
                "Content-Length: 0",
            ]
            phone.send(("\r\n".join(head) + "\r\n\r\n").encode())
            return phone.recv(4096).decode()

        challenge = re.search(r'nonce="([^"]+)"', ask(1))
        assert challenge is not None
        nonce = challenge[1]
        who, what = (md5(text.encode()).hexdigest() for text in (f"{user}:{domain}:{password}", f"REGISTER:{uri}"))
        proof = md5(f"{who}:{nonce}:00000001:{token}:auth:{what}".encode()).hexdigest()
        answer = ask(
            2,
            f'Authorization: Digest username="{user}", realm="{domain}", nonce="{nonce}", uri="{uri}", '
            f'response="{proof}", cnonce="{token}", nc=00000001, qop=auth, algorithm=MD5',
        )
        assert answer.startswith("SIP/2.0 200 "), answer
