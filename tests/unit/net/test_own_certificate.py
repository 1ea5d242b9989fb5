"""The certificate that a station makes for itself."""

import ssl
import stat

import pytest

from firmware.net import own_certificate as module
from firmware.net.own_certificate import own_certificate
from firmware.net.sip_tls import TlsError, server_context


def test_it_is_made_once_and_kept(tmp_path):
    first = own_certificate(tmp_path, ["192.0.2.1", "2001:db8::1"])
    made = first.certificate_file.read_bytes()
    assert own_certificate(tmp_path) == first
    assert first.certificate_file.read_bytes() == made
    server_context(first)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(first.certificate_file)
    (certificate,) = [ssl._ssl._test_decode_cert(str(first.certificate_file))]
    assert ("IP Address", "192.0.2.1") in certificate["subjectAltName"]
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sip-certificate.pem", "sip-key.pem"]


def test_half_a_pair_is_made_anew(tmp_path):
    own_certificate(tmp_path).key_file.unlink()
    server_context(own_certificate(tmp_path))


def test_without_openssl_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(TlsError, match=r"install it, or write sip\.tls_certificate_file"):
        own_certificate(tmp_path)


def test_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(TlsError, match="gone"):
        own_certificate(tmp_path / "gone")
