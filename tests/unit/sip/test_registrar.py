"""The registrar of the house, step by step of RFC 3261 10.3, with Path, outbound and the guard against guessing."""

from dataclasses import replace

import pytest

from firmware.sip.events import TextDelivered, UserRefused, UserRegistered, UserUnregistered
from firmware.sip.message import Response
from tests.support.house import DOMAIN, PASSWORDS, Phone, connection, contacts_of, house
from tests.support.sip_link import Bench, reply

INSTANCE = '+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'


def bench(**settings: object) -> Bench:
    return Bench(house(**settings))


def told(door: Bench, kind: type) -> list[object]:
    return door.of(kind)


def reachable(door: Bench, user: str = "anna") -> list[str]:
    return [str(binding.uri) for binding in door.core.bindings(user, door.now)]


# --- the plain case ----------------------------------------------------------------------------------------


def test_first_register_is_challenged_with_sha_256_before_md5():
    door = bench()
    phone = Phone(door)
    answer = phone.ask(phone.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:anna@{DOMAIN}"))
    challenges = answer.headers.get_all("WWW-Authenticate")
    assert answer.status == 401
    assert answer.to.tag
    assert ["SHA-256" in challenges[0], "MD5" in challenges[1]] == [True, True]
    assert reachable(door) == []


def test_a_phone_that_never_answers_two_challenges_is_asked_for_md5_alone():
    door = bench()
    phone = Phone(door)
    request = phone.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:anna@{DOMAIN}")
    phone.ask(request)
    (challenge,) = phone.ask(phone.again(request)).headers.get_all("WWW-Authenticate")
    assert "MD5" in challenge
    other = Phone(door, host="10.0.0.3")
    assert len(other.ask(other.again(request)).headers.get_all("WWW-Authenticate")) == 2


def test_libre_before_2_that_fails_on_any_other_challenge_is_asked_for_md5_at_once():
    door = bench()
    phone = Phone(door)
    headers = [("User-Agent", "baresip v1.0.0 (x86_64/linux)")]
    request = phone.request("REGISTER", f"sip:{DOMAIN}", headers, to=f"sip:anna@{DOMAIN}")
    (challenge,) = phone.ask(request).headers.get_all("WWW-Authenticate")
    assert "MD5" in challenge


def test_a_phone_that_answers_is_asked_for_both_each_time():
    door = bench()
    phone = Phone(door)
    for _ in range(3):
        request = phone.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:anna@{DOMAIN}")
        challenge = phone.ask(request)
        assert len(challenge.headers.get_all("WWW-Authenticate")) == 2
        assert phone.ask(phone.proven(request, challenge)).status == 200


def test_right_password_makes_a_binding_that_is_listed_and_told():
    door = bench()
    answer = Phone(door).register(expires=600)
    assert answer.status == 200
    assert contacts_of(answer) == ["anna@10.0.0.2:5060"]
    assert answer.contacts[0].parameter("expires") == "600"
    assert reachable(door) == ["sip:anna@10.0.0.2:5060"]
    (event,) = told(door, UserRegistered)
    assert (event.binding.user, event.binding.source, event.again) == ("anna", ("10.0.0.2", 5060), False)


def test_refresh_is_told_as_such_and_lengthens():
    door = bench()
    phone = Phone(door)
    phone.register(expires=100)
    door.advance(90)
    door.events()
    phone.register(expires=100)
    door.advance(50)
    (event,) = told(door, UserRegistered)
    assert event.again
    assert len(reachable(door)) == 1


def test_register_without_contact_only_asks():
    door = bench()
    phone = Phone(door)
    phone.register()
    answer = phone.register("", expires=None)
    assert contacts_of(answer) == ["anna@10.0.0.2:5060"]


def test_expires_zero_and_star_take_bindings_out():
    door = bench()
    one, two = Phone(door), Phone(door, host="10.0.0.3")
    one.register()
    two.register()
    assert contacts_of(one.register(expires=0)) == ["anna@10.0.0.3:5060"]
    assert two.register("*", expires=0).status == 200
    assert reachable(door) == []
    assert [event.reason for event in told(door, UserUnregistered)] == ["unregistered"] * 2


@pytest.mark.parametrize("expires", [600, None])
def test_star_with_time_to_live_is_400_and_changes_nothing(expires: int | None):
    door = bench()
    phone = Phone(door)
    phone.register()
    assert phone.register("*", expires=expires).status == 400
    assert len(reachable(door)) == 1


def test_star_beside_another_contact_is_400_and_changes_nothing():
    door = bench()
    phone = Phone(door)
    phone.register()
    assert phone.register("*", "<sip:anna@10.0.0.9>", expires=0).status == 400
    assert len(reachable(door)) == 1


def test_binding_expires_by_itself():
    door = bench()
    Phone(door).register(expires=60)
    door.advance(59)
    assert len(reachable(door)) == 1
    door.advance(2)
    assert reachable(door) == []
    assert [event.reason for event in told(door, UserUnregistered)] == ["expired"]


# --- expiry ------------------------------------------------------------------------------------------------


def test_contacts_own_expires_counts_before_the_header_and_both_are_bounded():
    door = bench(max_expires_s=3600)
    phone = Phone(door)
    assert phone.register(phone.contact + ";expires=120", expires=900).contacts[0].parameter("expires") == "120"
    assert phone.register(phone.contact + ";expires=99999").contacts[0].parameter("expires") == "3600"
    assert phone.register(expires=None).contacts[0].parameter("expires") == "3600"
    assert phone.register(phone.contact + ";expires=soon").contacts[0].parameter("expires") == "3600"


def test_too_short_is_423_with_min_expires_and_no_event():
    door = bench()
    answer = Phone(door).register(expires=10)
    assert (answer.status, answer.min_expires) == (423, 60)
    assert told(door, UserRefused) == []


# --- who may -----------------------------------------------------------------------------------------------


def test_wrong_password_and_unknown_user_get_the_same_answers():
    door = bench()
    known, unknown = Phone(door, password="guess"), Phone(door, "nobody", host="10.0.0.3")
    answers = [phone.register() for phone in (known, unknown)]
    names = [[name for name, _ in answer.headers] for answer in answers]
    assert [answer.status for answer in answers] == [401, 401]
    assert names[0] == names[1]
    assert [(event.user, event.reason) for event in told(door, UserRefused)] == [
        ("anna", "wrong password"),
        ("nobody", "no such user"),
    ]


def test_nobody_registers_for_somebody_else():
    door = bench()
    assert Phone(door, "bob").register(to=f"sip:anna@{DOMAIN}").status == 403
    assert reachable(door) == []
    assert "bob" in told(door, UserRefused)[0].reason


def test_user_name_may_carry_the_domain():
    door = bench()
    assert Phone(door, login=f"anna@{DOMAIN}").register().status == 200
    assert Phone(door, login="anna@elsewhere.test", host="10.0.0.3").register().status == 401


def test_another_domain_is_not_served_but_our_address_is():
    door = bench()
    assert Phone(door).register(to="sip:anna@elsewhere.test").status == 404
    assert Phone(door, host="10.0.0.3").register(to="sip:anna@10.0.0.1").status == 200


def test_replayed_credentials_are_stale():
    door = bench()
    phone = Phone(door)
    request = phone.request("REGISTER", f"sip:{DOMAIN}", [("Contact", phone.contact)], to=f"sip:anna@{DOMAIN}")
    proven = phone.proven(request, phone.ask(request))
    assert phone.ask(proven).status == 200
    replay = phone.ask(phone.again(proven))
    assert replay.status == 401
    assert "stale=true" in replay.headers.get_all("WWW-Authenticate")[0]
    assert told(door, UserRefused) == []


def test_old_nonce_is_stale_and_answered_anew_without_a_count():
    door = bench()
    phone = Phone(door)
    request = phone.request("REGISTER", f"sip:{DOMAIN}", [("Contact", phone.contact)], to=f"sip:anna@{DOMAIN}")
    proven = phone.proven(request, phone.ask(request))
    door.advance(400)
    stale = phone.ask(proven)
    assert "stale=true" in stale.headers.get_all("WWW-Authenticate")[0]
    assert phone.ask(phone.proven(request, stale)).status == 200
    assert told(door, UserRefused) == []


def test_requirements_that_nobody_can_meet_are_420():
    door = bench()
    answer = Phone(door).register(headers=[("Require", "gruu, path")])
    assert (answer.status, answer.headers.get("Unsupported")) == (420, "gruu")


# --- guessing ----------------------------------------------------------------------------------------------


def guess(door: Bench, times: int, first_port: int = 6000) -> list[int]:
    ports = range(first_port, first_port + times)
    return [Phone(door, password="guess", host="10.0.0.66", port=port).register().status for port in ports]


def test_a_source_that_guesses_is_locked_and_nobody_else():
    door = bench()
    assert guess(door, 5) == [401] * 5
    locked = told(door, UserRefused)[-1]
    assert (locked.locked_s, locked.source.remote[0]) == (30, "10.0.0.66")
    blocked = Phone(door, host="10.0.0.66").register()
    assert (blocked.status, blocked.retry_after) == (503, 31)
    assert Phone(door, host="10.0.0.2").register().status == 200


def test_nobody_can_have_the_address_of_another_locked():
    door = bench()
    forger = Phone(door, password="guess", host="10.0.0.66")
    request = forger.request("REGISTER", f"sip:{DOMAIN}", [("Contact", forger.contact)], to=f"sip:anna@{DOMAIN}")
    challenge = forger.ask(request)  # the answers to forged addresses never reach the forger
    victim = door.flow_to("10.0.0.2")
    for _ in range(20):
        door.receive(forger.proven(request, challenge), victim)
    assert door.statuses() == [401] * 20
    assert told(door, UserRefused) == []
    assert Phone(door).register().status == 200


def test_the_lock_ends_and_comes_back_longer():
    door = bench()
    guess(door, 5)
    door.advance(31)
    assert guess(door, 5, 7000) == [401] * 5
    assert [event.locked_s for event in told(door, UserRefused) if event.locked_s] == [30, 60]


def test_a_phone_that_is_registered_from_a_locked_address_stays_heard():
    door = bench()
    phone = Phone(door, host="10.0.0.66")
    phone.register()
    guess(door, 5)
    assert phone.register().status == 200
    assert Phone(door, "bob", host="10.0.0.66").register().status == 503  # it may not guess for others from there


def test_a_registered_phone_cannot_try_the_passwords_of_others_while_it_is_locked():
    door = bench()
    phone = Phone(door, host="10.0.0.66")
    phone.register()

    def attempt(password: str) -> int:
        guesser = Phone(door, login="bob", password=password, host="10.0.0.66")
        guesser.cseq, phone.cseq = phone.cseq, phone.cseq + 2
        return guesser.register().status

    assert [attempt(f"guess {n}") for n in range(5)] == [401] * 5
    assert attempt(PASSWORDS["bob"]) == 401  # 403 would tell that the password was right
    assert phone.register().status == 200


def test_a_flood_of_strangers_does_not_keep_a_phone_from_staying_registered():
    door = bench()
    phone = Phone(door)
    phone.register(expires=60)
    stranger = Phone(door, "nobody", host="10.0.0.66")
    for _ in range(3000):
        door.receive(stranger.request("OPTIONS", "sip:10.0.0.1"), stranger.flow)
    door.sent()
    assert Phone(door, host="10.0.0.66").register().status == 503
    assert phone.register(expires=60).status == 200
    assert door.core.counts()["transactions"] < 1010


def test_refusals_told_are_bounded_whatever_addresses_they_come_from():
    door = bench()
    for n in range(200):
        Phone(door, password="guess", host=f"10.1.{n // 100}.{n % 100}").register()
    assert len(told(door, UserRefused)) <= 30


def test_ipv6_neighbours_of_one_network_are_one_source():
    door = bench()
    for n in range(5):
        Phone(door, password="guess", host="10.0.0.2", flow=door.flow_to(f"2001:db8::{n + 1}")).register()
    assert Phone(door, flow=door.flow_to("2001:db8::99")).register().status == 503
    assert Phone(door, flow=door.flow_to("2001:db8:0:1::99")).register().status == 200


# --- order -------------------------------------------------------------------------------------------------


def test_a_request_that_was_overtaken_is_refused_whole():
    door = bench()
    phone = Phone(door)
    phone.register()
    phone.cseq = 0  # so the proven attempt has the number of the first one again
    answer = phone.register(expires=0)
    assert answer.status == 500
    assert len(reachable(door)) == 1


def test_a_phone_that_started_again_has_another_call_id_and_is_taken():
    door = bench()
    phone = Phone(door)
    phone.register()
    phone.cseq, phone.call_id = 0, "after-power-cut"
    assert phone.register().status == 200
    assert len(reachable(door)) == 1


def test_nothing_is_changed_where_one_contact_is_wrong():
    door = bench()
    phone = Phone(door)
    assert phone.register(phone.contact, "<sip:anna@10.0.0.3>;expires=5").status == 423
    assert phone.register(phone.contact, "<mailto:anna@house.test>").status == 400
    assert phone.register(phone.contact + ";q=2").status == 400
    assert reachable(door) == []


def test_malformed_contact_is_400():
    door = bench()
    phone = Phone(door)
    request = phone.request("REGISTER", f"sip:{DOMAIN}", [("Contact", "<sip:anna@")], to=f"sip:anna@{DOMAIN}")
    assert phone.ask(request).status == 400


# --- several phones ----------------------------------------------------------------------------------------


def test_q_orders_the_phones():
    door = bench()
    phone = Phone(door)
    phone.register("<sip:anna@10.0.0.2:5060>;q=0.1", "<sip:anna@10.0.0.3:5060>;q=0.9")
    assert reachable(door) == ["sip:anna@10.0.0.3:5060", "sip:anna@10.0.0.2:5060"]


def test_beyond_the_bound_the_longest_unheard_phone_goes():
    door = bench(max_bindings=2)
    for n in range(3):
        Phone(door, host=f"10.0.0.{n + 2}").register()
        door.advance(1)
    assert reachable(door) == ["sip:anna@10.0.0.3:5060", "sip:anna@10.0.0.4:5060"]
    assert [event.reason for event in told(door, UserUnregistered)] == ["too many phones"]
    assert Phone(door).register(*(f"<sip:anna@10.0.0.{n}>" for n in range(3))).status == 403


def test_one_phone_with_another_address_is_one_phone_still():
    door = bench()
    Phone(door).register(f"<sip:anna@10.0.0.2:5060>;{INSTANCE}")
    Phone(door, host="10.0.0.7").register(f"<sip:anna@10.0.0.7:5060>;{INSTANCE}")
    assert reachable(door) == ["sip:anna@10.0.0.7:5060"]
    assert [event.reason for event in told(door, UserUnregistered)] == ["moved"]


# --- flows -------------------------------------------------------------------------------------------------


def test_outbound_flows_of_one_phone_stand_side_by_side_and_are_required_in_the_answer():
    door = bench()
    extra = [("Supported", "path, outbound")]
    one, two = Phone(door, flow=connection(1)), Phone(door, flow=connection(2))
    one.register(f"<sip:anna@10.0.0.2;transport=tcp>;reg-id=1;{INSTANCE}", headers=extra)
    answer = two.register(f"<sip:anna@10.0.0.2;transport=tcp>;reg-id=2;{INSTANCE}", headers=extra)
    assert [contact.parameter("reg-id") for contact in answer.contacts] == ["1", "2"]
    assert "outbound" in answer.require


def test_a_connection_that_closes_takes_its_bindings_along():
    door = bench()
    Phone(door).register()
    flow = connection(1)
    Phone(door, flow=flow, port=40001).register()
    assert len(reachable(door)) == 2
    door.core.flow_closed(flow, "reset", door.now)
    assert reachable(door) == ["sip:anna@10.0.0.2:5060"]
    assert [event.reason for event in told(door, UserUnregistered)] == ["connection closed"]


def test_reg_id_through_a_proxy_without_outbound_is_439_where_it_was_required():
    door = bench()
    phone = Phone(door)
    contact = f"<sip:anna@10.0.0.2>;reg-id=1;{INSTANCE}"
    headers = [("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKbehind")]
    assert phone.register(contact, headers=[*headers, ("Require", "outbound")]).status == 439
    assert phone.register(contact, headers=[*headers, ("Supported", "outbound")]).status == 200
    assert "outbound" not in phone.register("", expires=None).require


def test_path_is_kept_echoed_and_where_requests_go_first():
    door = bench()
    answer = Phone(door).register(headers=[("Path", "<sip:edge.test;lr>"), ("Supported", "path")])
    (binding,) = door.core.bindings("anna", door.now)
    assert answer.headers.get("Path") == "<sip:edge.test;lr>"
    assert str(binding.next_hop) == "sip:edge.test;lr"


def test_a_phone_behind_nat_is_reached_at_the_address_that_was_seen():
    door = bench()
    phone = Phone(door, flow=door.flow_to("203.0.113.9", 31000))
    phone.register("<sip:anna@192.168.1.20:5060>")
    (binding,) = door.core.bindings("anna", door.now)
    assert str(binding.next_hop) == "sip:203.0.113.9:31000"
    door.core.invite(binding.uri, b"v=0\r\n", door.now, binding=binding)
    ((flow, invite),) = door.sent_on()
    assert flow.remote == ("203.0.113.9", 31000)
    assert str(invite.uri) == "sip:anna@192.168.1.20:5060"


def test_a_text_goes_over_the_connection_and_through_the_proxies_of_a_binding():
    door = bench()
    flow = connection(7)
    Phone(door, flow=flow).register(headers=[("Path", "<sip:edge.test;lr>"), ("Supported", "path")])
    (binding,) = door.core.bindings("anna", door.now)
    number = door.core.message(binding.uri, "Parcel", door.now, binding=binding)
    ((used, text),) = door.sent_on()
    assert used == flow
    assert (str(text.uri), text.body) == (str(binding.uri), b"Parcel")
    assert [str(route) for route in text.routes] == ["<sip:edge.test;lr>"]
    door.receive(reply(text, 200), flow)
    assert TextDelivered(number, 200, "OK") in door.events()


def test_a_phone_behind_nat_gets_what_follows_its_answer_where_it_was_seen_too():
    door = bench()
    Phone(door, flow=door.flow_to("203.0.113.9", 31000)).register("<sip:anna@192.168.1.20:5060>")
    (binding,) = door.core.bindings("anna", door.now)
    call = door.core.invite(binding.uri, b"v=0\r\n", door.now, binding=binding)
    ((flow, invite),) = door.sent_on()
    door.receive(reply(invite, 200, contact="<sip:anna@192.168.1.20:5060>", sdp=b"v=0\r\n"), flow)
    door.core.hangup(call, door.now)
    sent = [(request.method, to.remote) for to, request in door.sent_on()]
    assert sent == [("ACK", ("203.0.113.9", 31000)), ("BYE", ("203.0.113.9", 31000))]


@pytest.mark.parametrize("transport", ["tcp", "tls", "ws", "wss"])
def test_a_connected_phone_is_rung_over_its_connection(transport: str):
    door = bench()
    flow = replace(connection(7), transport=transport)
    Phone(door, flow=flow).register(f"<sip:anna@k3j4.invalid;transport={transport}>")
    (binding,) = door.core.bindings("anna", door.now)
    door.core.invite(binding.uri, b"v=0\r\n", door.now, binding=binding)
    ((used, invite),) = door.sent_on()
    assert used == flow
    assert str(invite.uri) == f"sip:anna@k3j4.invalid;transport={transport}"
    answer = reply(invite, 200, contact=f"<sip:anna@k3j4.invalid;transport={transport}>", sdp=b"v=0\r\n")
    door.receive(answer, flow)
    assert [(request.method, to) for to, request in door.sent_on()] == [("ACK", flow)]


# --- restart -----------------------------------------------------------------------------------------------


def test_datagram_bindings_outlive_a_restart_and_connections_do_not():
    before = bench()
    Phone(before).register()
    Phone(before, "bob", flow=connection(3)).register()
    kept = [*before.core.bindings("anna", 0), *before.core.bindings("bob", 0)]
    after = bench()
    after.core.restore_bindings(kept, after.now)
    assert reachable(after) == ["sip:anna@10.0.0.2:5060"]
    assert reachable(after, "bob") == []
    (binding,) = after.core.bindings("anna", after.now)
    after.core.invite(binding.uri, b"v=0\r\n", after.now, binding=binding)
    assert after.sent_on()[0][0].remote == ("10.0.0.2", 5060)
    after.advance(601)
    assert reachable(after) == []


def test_a_user_who_was_taken_out_of_the_configuration_is_not_restored():
    before = bench()
    phone = Phone(before)
    phone.register()
    (binding,) = before.core.bindings("anna", 0)
    after = bench()
    after.core.restore_bindings([replace(binding, user="dora")], 0)
    assert after.core.bindings("dora", 0) == ()


# --- off ---------------------------------------------------------------------------------------------------


def test_without_users_register_is_refused_as_before():
    door = Bench()
    phone = Phone(door)
    answer = phone.ask(phone.request("REGISTER", f"sip:{DOMAIN}", to=f"sip:anna@{DOMAIN}"))
    assert isinstance(answer, Response)
    assert answer.status == 405


def test_passwords_are_in_no_repr():
    shown = repr(house())
    assert not [password for password in PASSWORDS.values() if password in shown]
