"""The certificate that a station makes for itself, for TLS and WSS listeners that were given none.

Made once by the `openssl` program and kept: phones and browsers that were told to trust it, or pinned it, go on
doing so. Whoever can give the station a certificate of an authority should.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from firmware.net.sip_tls import ServerIdentity, TlsError

DAYS = 3650  # nobody renews it
_LONGEST_S = 30.0


def own_certificate(folder: Path, hosts: Sequence[str] = ()) -> ServerIdentity:
    """That in `folder`, made now for this machine's name and `hosts` if there is none. TlsError if it cannot be."""
    identity = ServerIdentity(folder / "sip-certificate.pem", folder / "sip-key.pem")
    if identity.certificate_file.exists() and identity.key_file.exists():
        return identity
    openssl = shutil.which("openssl")
    if openssl is None:
        raise TlsError("there is no openssl to make a certificate; install it, or write sip.tls_certificate_file")
    names = ["DNS:" + name for name in dict.fromkeys((socket.gethostname().lower(), "localhost")) if name]
    names += [f"IP:{host}" for host in hosts]
    parts = [file.with_suffix(".new") for file in (identity.certificate_file, identity.key_file)]
    command = [
        *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", str(DAYS), "-subj", "/CN=Portero door station"),
        *("-addext", f"subjectAltName={','.join(names)}", "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-out", str(parts[0]), "-keyout", str(parts[1])),
    ]
    try:
        done = subprocess.run(  # noqa: S603  # our own words, and addresses of the configuration
            command, capture_output=True, text=True, timeout=_LONGEST_S, check=False, umask=0o077
        )
        if done.returncode:
            raise TlsError(f"openssl could not make a certificate: {done.stderr.strip()[-200:]}")
        # The key first: a certificate without it would be taken for a finished pair.
        os.replace(parts[1], identity.key_file)
        os.replace(parts[0], identity.certificate_file)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TlsError(f"{folder}: no certificate could be made there: {error}") from None
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    return identity
