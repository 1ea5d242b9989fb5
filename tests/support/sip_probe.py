"""The smallest SIP there is: one OPTIONS over UDP, to see whether somebody answers at an address."""

import secrets
import socket


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
