"""Authorities and certificates for tests, made by the openssl program: good ones, and one of each kind of bad."""

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    certificate_file: Path
    key_file: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256, as `openssl x509 -fingerprint` spells it."""
        der = ssl.PEM_cert_to_DER_cert(self.certificate_file.read_text())
        return _spelt(hashlib.sha256(der).hexdigest())


class Authority:
    """A certificate authority in `folder`; its own certificate is `file`."""

    def __init__(self, folder: Path, name: str = "Test Authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = folder / "ca-key.pem"
        _openssl(
            "req", "-x509", *_new_key(self._key), "-subj", f"/CN={name}", "-days", "30", "-out", str(self.file),
            "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip

    def issue(self, *names: str, label: str = "", days: tuple[str, str] | None = None) -> Certificate:
        """A certificate for `names`, each as "DNS:…", "IP:…" or "URI:…". `days`: not before and not after, as
        YYYYMMDDHHMMSSZ; left out: from now for a month."""
        name = label or (names[0] if names else "nobody").replace(":", "-").replace("*", "star")
        made = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        _openssl("req", "-new", *_new_key(made.key_file), "-subj", f"/CN={name[:40]}", "-out", str(request))
        extensions.write_text(f"subjectAltName={','.join(names)}\n" if names else "")
        if days is None:
            _openssl(
                "x509", "-req", "-in", str(request), "-CA", str(self.file), "-CAkey", str(self._key),
                "-CAcreateserial", "-days", "30", "-extfile", str(extensions), "-out", str(made.certificate_file),
            )  # fmt: skip
        else:
            self._issue_dated(request, extensions, made.certificate_file, days)
        return made

    def _issue_dated(self, request: Path, extensions: Path, out: Path, days: tuple[str, str]) -> None:
        """`openssl x509` knows no past; `openssl ca` does, with a register of what it issued."""
        register = self.folder / "register"
        register.mkdir(exist_ok=True)
        (register / "index.txt").touch()
        settings = register / "ca.cnf"
        settings.write_text(
            "[ca]\ndefault_ca=this\n[this]\n"
            f"database={register}/index.txt\nnew_certs_dir={register}\nrand_serial=yes\ndefault_md=sha256\n"
            "policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        )
        _openssl(
            "ca", "-batch", "-notext", "-config", str(settings), "-cert", str(self.file),
            "-keyfile", str(self._key), "-in", str(request), "-extfile", str(extensions),
            "-startdate", days[0], "-enddate", days[1],
            "-out", str(out),
        )  # fmt: skip


def self_signed(folder: Path, *names: str) -> Certificate:
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "self.pem", folder / "self.key")
    _openssl(
        "req", "-x509", *_new_key(made.key_file), "-subj", "/CN=self", "-days", "30",
        "-addext", f"subjectAltName={','.join(names)}", "-out", str(made.certificate_file),
    )  # fmt: skip
    return made


def _new_key(file: Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(file))


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"openssl {' '.join(arguments)}\n{done.stderr}"


def _spelt(digits: str) -> str:
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()
