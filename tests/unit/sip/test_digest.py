"""Digest: the RFCs' vectors, the client's choices and its limits, the server's checks."""

import hashlib
import itertools

import pytest

from firmware.sip.digest import (
    ALGORITHMS,
    Challenge,
    Credentials,
    DigestClient,
    DigestServer,
    digest_response,
)
from firmware.sip.errors import RemoteProtocolError
from firmware.sip.message import Headers, Request, Response, parse_message
from firmware.sip.uri import Uri

needs_sha512_256 = pytest.mark.skipif(
    "SHA-512-256" not in ALGORITHMS, reason="this Python's OpenSSL has no SHA-512/256"
)


def random_source():
    counter = itertools.count(1)
    return lambda size: next(counter).to_bytes(size, "big")


def register(body: bytes = b"") -> Request:
    return Request("REGISTER", Uri.parse("sip:example.org"), Headers([("CSeq", "1 REGISTER")]), body)


def challenged_with(*challenges: str, status: int = 401) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, headers=Headers((name, challenge) for challenge in challenges))


def digest(
    nonce: str = "n1", algorithm: str = "", *, stale: bool = False, realm: str = "r", qop: str = "auth"
) -> str:
    return str(Challenge(realm, nonce, algorithm, (qop,) if qop else (), None, stale))


def sent(request: Request, name: str = "Authorization") -> list[Credentials]:
    found = [Credentials.parse(line) for line in request.headers.get_all(name)]
    return [credentials for credentials in found if credentials is not None]


def client() -> DigestClient:
    return DigestClient("door", "secret", random_source())


# --- vectors -----------------------------------------------------------------------------------------------


def test_vector_of_rfc_2617():
    response = digest_response(
        "Circle Of Life", "GET", b"", username="Mufasa", realm="testrealm@host.com",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop="auth", nc=1, cnonce="0a4f113b",
    )  # fmt: skip
    assert response == "6629fae49393a05397450978507c4ef1"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_vectors_of_rfc_7616(algorithm, expected):
    response = digest_response(
        "Circle of Life", "GET", b"", username="Mufasa", realm="http-auth@example.org",
        nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", algorithm=algorithm,
        qop="auth", nc=1, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    )  # fmt: skip
    assert response == expected


@needs_sha512_256
def test_sha_512_256_is_the_hash_of_fips_180_and_not_a_sha_512_cut_short():
    # RFC 7616's own example is wrong in this point (erratum 4897); the formula of its section 3.4.1 is not.
    response = digest_response(
        "p", "GET", b"", username="u", realm="r", nonce="n", uri="/", algorithm="SHA-512-256"
    )

    def fips(text: str) -> str:
        return hashlib.new("sha512_256", text.encode()).hexdigest()

    assert fips("abc") == "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
    assert response == fips(f"{fips('u:r:p')}:n:{fips('GET:/')}")


def test_vector_of_rfc_2069_without_qop():
    response = digest_response(
        "CircleOfLife", "GET", b"", username="Mufasa", realm="testrealm@host.com",
        nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html",
    )  # fmt: skip
    assert response == "1949323746fe6a43ef61f9606e7febea"  # of the RFC's erratum 749


# --- challenges and credentials ----------------------------------------------------------------------------


def test_challenge_is_read_with_its_folds_and_odd_spelling():
    response = parse_message(
        b"SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: DIGEST Realm=\"a \\\"b\\\", c\",\r\n"
        b" QOP=\"auth, auth-int\" , nonce=\"x,y\", opaque=\"\", stale=TRUE, algorithm=md5\r\n\r\n"
    )  # fmt: skip
    challenge = Challenge.parse(response.headers.get("WWW-Authenticate"))
    assert challenge == Challenge('a "b", c', "x,y", "md5", ("auth", "auth-int"), "", True)
    assert Challenge.parse(str(challenge)) == challenge


def test_credentials_quote_what_must_be_and_nothing_else():
    request = register()
    exchange = client().exchange()
    assert exchange.challenged(
        challenged_with('Digest realm="r", nonce="n", algorithm=MD5, qop="auth", opaque="o"')
    )
    exchange.authorize(request)
    line = request.headers.get("Authorization")
    assert 'cnonce="' in line
    assert "qop=auth, nc=00000001" in line
    assert "algorithm=MD5" in line
    assert 'uri="sip:example.org"' in line
    assert 'opaque="o"' in line


@pytest.mark.parametrize(
    "text", ["Digest", 'Digest realm="r"', 'Digest username="u", realm="r", nonce="n", uri="u"', ""]
)
def test_broken_digest_field_is_the_peers_fault(text):
    with pytest.raises(RemoteProtocolError):
        Credentials.parse(text)


def test_other_schemes_are_passed_over():
    assert Challenge.parse('Bearer realm="r"') is None
    assert Credentials.parse("NoOneKnowsThisScheme opaque-data=here") is None


# --- the client --------------------------------------------------------------------------------------------


def test_strongest_challenge_is_answered_whatever_the_order():
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(digest("a", "MD5"), digest("b", "SHA-256"), digest("c", "NEW-HASH")))
    request = register()
    exchange.authorize(request)
    assert [(c.algorithm, c.nonce) for c in sent(request)] == [("SHA-256", "b")]


def test_weaker_challenge_is_the_next_try_and_then_it_is_over():
    exchange = client().exchange()
    algorithms = []
    nonces = itertools.count()
    while exchange.challenged(
        challenged_with(digest(f"a{next(nonces)}", "SHA-256"), digest(f"b{next(nonces)}", "MD5"))
    ):
        request = register()
        exchange.authorize(request)
        algorithms.append(sent(request)[0].algorithm)
    assert algorithms == ["SHA-256", "MD5"]
    assert exchange.failure == "credentials refused"


def test_wrong_password_is_not_tried_twice():
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(digest("n1")))
    exchange.authorize(register())
    assert not exchange.challenged(challenged_with(digest("n2")))


def test_stale_nonce_is_replaced_silently():
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(digest("n1")))
    exchange.authorize(register())
    assert exchange.challenged(challenged_with(digest("n2", stale=True)))
    request = register()
    exchange.authorize(request)
    assert [(c.nonce, c.nc) for c in sent(request)] == [("n2", 1)]


def test_remembered_nonce_that_expired_without_stale_gets_one_silent_retry():
    own = client()
    first = own.exchange()
    first.challenged(challenged_with(digest("n1")))
    second = own.exchange()
    second.authorize(register())
    assert second.challenged(challenged_with(digest("n2")))
    second.authorize(register())
    assert not second.challenged(challenged_with(digest("n3")))


def test_credentials_written_again_for_another_way_there_count_as_one_attempt():
    own = client()
    own.exchange().challenged(challenged_with(digest("n1")))
    exchange = own.exchange()
    exchange.authorize(register())  # too large for a datagram with them
    exchange.authorize(register())  # by TCP
    assert exchange.challenged(challenged_with(digest("n2")))


def test_peer_that_always_calls_the_nonce_stale_is_given_up():
    exchange = client().exchange()
    tries = 0
    while exchange.challenged(challenged_with(digest(f"n{tries}", stale=True))):
        exchange.authorize(register())
        tries += 1
        assert tries < 20
    assert tries == exchange.MAX_ATTEMPTS


def test_nonce_is_never_tried_a_third_time():
    exchange = client().exchange()
    attempts = 0
    while exchange.challenged(
        challenged_with(digest("same", "SHA-512-256"), digest("same", "SHA-256"), digest("same", "MD5"))
    ):
        exchange.authorize(register())
        attempts += 1
    assert attempts == 2


def test_count_rises_with_each_use_of_a_nonce_over_all_requests():
    own = client()
    own.exchange().challenged(challenged_with(digest("n1")))
    counts = []
    for _ in range(3):
        request = register()
        own.exchange().authorize(request)
        counts.append(sent(request)[0].nc)
    again = own.exchange()
    again.challenged(challenged_with(digest("n1")))
    request = register()
    again.authorize(request)
    assert [*counts, sent(request)[0].nc] == [1, 2, 3, 4]


def test_cnonce_is_new_each_time():
    own = client()
    exchange = own.exchange()
    exchange.challenged(challenged_with(digest("n1")))
    seen = set()
    for _ in range(3):
        request = register()
        exchange.authorize(request)
        seen.add(sent(request)[0].cnonce)
    assert len(seen) == 3


def test_proxy_and_server_of_one_realm_are_answered_apart():
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(digest("proxy"), status=407))
    exchange.authorize(register())
    assert exchange.challenged(challenged_with(digest("server"), status=401))
    request = register()
    exchange.authorize(request)
    assert [c.nonce for c in sent(request, "Proxy-Authorization")] == ["proxy"]
    assert [c.nonce for c in sent(request, "Authorization")] == ["server"]


def test_challenges_of_several_realms_are_all_answered():
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(digest("a", realm="one"), digest("b", realm="two"), status=407))
    request = register()
    exchange.authorize(request)
    assert {(c.realm, c.nonce) for c in sent(request, "Proxy-Authorization")} == {("one", "a"), ("two", "b")}


def test_two_challenges_on_one_line_are_two():
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(f"{digest('a', 'MD5')}, {digest('b', 'SHA-256')}"))
    request = register()
    exchange.authorize(request)
    assert sent(request)[0].algorithm == "SHA-256"


@pytest.mark.parametrize(
    ("challenge", "failure"),
    [
        ('Bearer realm="r"', "no Digest challenge"),
        ('Digest realm="r", nonce="n", algorithm=NEW', "algorithm NEW not supported"),
        ('Digest realm="r", nonce="n", qop="token"', "algorithm qop not supported"),
        ('Digest realm="r"', "no Digest challenge"),
    ],
)
def test_challenge_that_cannot_be_met_is_named(challenge, failure):
    exchange = client().exchange()
    assert not exchange.challenged(challenged_with(challenge))
    assert exchange.failure == failure


def test_without_a_user_name_there_is_no_answer():
    exchange = DigestClient("", "", random_source()).exchange()
    assert not exchange.challenged(challenged_with(digest()))
    assert "none configured" in exchange.failure


def test_password_shows_nowhere():
    own = client()
    exchange = own.exchange()
    exchange.challenged(challenged_with(digest()))
    request = register()
    exchange.authorize(request)
    for shown in (repr(own), repr(exchange), str(request.serialize()), repr(request)):
        assert "secret" not in shown


def test_flood_of_realms_is_not_remembered():
    own = client()
    own.exchange().challenged(challenged_with(*[digest(realm=f"r{number}") for number in range(150)]))
    request = register()
    own.exchange().authorize(request)
    assert len(sent(request)) <= 16


# --- client and server together ----------------------------------------------------------------------------


def server(**settings) -> DigestServer:
    return DigestServer("portero", random_source(), **settings)


def passwords(user: str) -> str | None:
    return {"door": "secret"}.get(user)


def challenge_of(own: DigestServer, now: float = 0.0, *, stale: bool = False) -> Response:
    response = Response(own.status)
    own.challenge(response, now, stale=stale)
    return response


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("qop", ["auth", "auth-int", ""])
def test_every_algorithm_and_qop_proves_the_user(algorithm, qop):
    own = server(algorithms=(algorithm.removesuffix("-sess"),))
    nonce = Challenge.parse(challenge_of(own).headers.get("WWW-Authenticate")).nonce
    exchange = client().exchange()
    assert exchange.challenged(challenged_with(digest(nonce, algorithm, realm="portero", qop=qop)))
    request = register(b"body")
    exchange.authorize(request)
    assert own.verify(request, passwords, 1.0).user == "door"
    if qop == "auth-int":
        exchange.authorize(request)
        request.body = b"altered"
        assert own.verify(request, passwords, 1.0).user == ""


@pytest.mark.parametrize("proxy", [False, True])
def test_server_and_client_agree(proxy):
    own = server(proxy=proxy)
    exchange = client().exchange()
    assert exchange.challenged(challenge_of(own))
    request = register()
    exchange.authorize(request)
    assert own.verify(request, passwords, 1.0).user == "door"


def authorized(own: DigestServer, who: DigestClient | None = None) -> Request:
    exchange = (who or client()).exchange()
    exchange.challenged(challenge_of(own))
    request = register()
    exchange.authorize(request)
    return request


def test_request_without_credentials_is_nobodys():
    assert server().verify(register(), passwords, 0.0).user == ""


@pytest.mark.parametrize("who", [("door", "wrong"), ("stranger", "secret"), ("stranger", "")])
def test_wrong_name_or_password_is_refused_alike(who):
    own = server()
    verdict = own.verify(authorized(own, DigestClient(*who, random_source())), passwords, 1.0)
    assert (verdict.user, verdict.stale, verdict.reason) == ("", False, "wrong user name or password")


def test_replayed_request_is_refused_as_stale():
    own = server()
    request = authorized(own)
    assert own.verify(request, passwords, 1.0).user == "door"
    replayed = own.verify(request, passwords, 2.0)
    assert (replayed.user, replayed.stale) == ("", True)


def test_old_nonce_is_stale_and_the_next_one_is_good():
    own = server(nonce_life_s=60)
    own_client = client()
    exchange = own_client.exchange()
    exchange.challenged(challenge_of(own, 0.0))
    request = register()
    exchange.authorize(request)
    assert own.verify(request, passwords, 61.0).stale
    assert exchange.challenged(challenge_of(own, 61.0, stale=True))
    exchange.authorize(request)
    assert own.verify(request, passwords, 62.0).user == "door"


def test_nonce_of_another_server_is_stale():
    other = DigestServer("portero", lambda size: b"\x07" * size)
    assert server().verify(authorized(other), passwords, 1.0).stale


def test_credentials_for_another_uri_are_refused():
    own = server()
    request = authorized(own)
    request.uri = Uri.parse("sip:other.example.org")
    assert own.verify(request, passwords, 1.0).reason == "credentials for another URI"


def test_credentials_of_another_method_are_refused():
    own = server()
    request = authorized(own)
    request.method = "INVITE"
    assert own.verify(request, passwords, 1.0).user == ""


def test_memory_for_replays_is_bounded_and_forgets_on_the_safe_side():
    own = server()
    first = authorized(own)
    assert own.verify(first, passwords, 1.0).user == "door"
    for number in range(DigestServer.MAX_NONCES):
        exchange = client().exchange()
        exchange.challenged(challenge_of(own, 1.0 + number / 1000))
        request = register()
        exchange.authorize(request)
        assert own.verify(request, passwords, 3.0).user == "door"
    assert own.verify(first, passwords, 4.0).stale


@pytest.mark.parametrize("nonce", ["", "-", "x-y-z", "0-0-0", "é"])
def test_made_up_nonce_is_no_error(nonce):
    own = server()
    exchange = client().exchange()
    exchange.challenged(challenged_with(digest(nonce, "MD5", realm="portero")))
    request = register()
    exchange.authorize(request)
    verdict = own.verify(request, passwords, 1.0)
    assert (verdict.user, verdict.stale) == ("", True)
