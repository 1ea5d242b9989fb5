"""Dialogs: route sets, targets, CSeq (RFC 3261 section 12)."""

from dataclasses import replace

from firmware.sip.dialog import Dialog
from firmware.sip.message import Request
from tests.support.sip_link import invite, reply, request_of

LOOSE = (("Record-Route", "<sip:p1.example;lr>"), ("Record-Route", "<sip:p2.example;lr>, <sip:p3.example;lr>"))


def client_dialog(*record_routes: tuple[str, str], status: int = 200) -> Dialog:
    request = invite(tag="us", uri="sip:mon@peer.example")
    return Dialog.as_client(
        request, reply(request, status, "them", contact="<sip:mon@10.0.0.2:5070>", headers=record_routes)
    )


def routes(request: Request) -> list[str]:
    return [str(route.uri) for route in request.routes]


def test_the_client_reverses_the_record_route_and_sends_to_its_first() -> None:
    dialog = client_dialog(*LOOSE)
    bye = dialog.request("BYE")
    assert routes(bye) == ["sip:p3.example;lr", "sip:p2.example;lr", "sip:p1.example;lr"]
    assert str(bye.uri) == "sip:mon@10.0.0.2:5070"
    assert str(dialog.next_hop) == "sip:p3.example;lr"


def test_the_server_keeps_the_record_route_in_its_order() -> None:
    dialog = Dialog.as_server(invite(headers=LOOSE), "us")
    assert routes(dialog.request("BYE")) == ["sip:p1.example;lr", "sip:p2.example;lr", "sip:p3.example;lr"]
    assert str(dialog.next_hop) == "sip:p1.example;lr"


def test_without_routes_a_request_goes_to_the_remote_target() -> None:
    dialog = client_dialog()
    assert routes(dialog.request("BYE")) == []
    assert str(dialog.next_hop) == "sip:mon@10.0.0.2:5070"


def test_a_strict_router_gets_its_own_uri_and_the_target_as_last_route() -> None:
    dialog = client_dialog(("Record-Route", "<sip:p1.example;lr>"), ("Record-Route", "<sip:strict.example>"))
    bye = dialog.request("BYE")
    assert str(bye.uri) == "sip:strict.example"
    assert routes(bye) == ["sip:p1.example;lr", "sip:mon@10.0.0.2:5070"]
    assert str(dialog.next_hop) == "sip:strict.example"


def test_a_target_refresh_changes_the_target_and_not_the_routes() -> None:
    dialog = client_dialog(*LOOSE)
    moved = request_of(
        "INVITE",
        branch="z9hG4bK9",
        headers=(("Contact", "<sip:mon@10.0.0.9>"), ("Record-Route", "<sip:other.example;lr>")),
    )
    dialog.refresh(moved)
    bye = dialog.request("BYE")
    assert str(bye.uri) == "sip:mon@10.0.0.9"
    assert len(routes(bye)) == 3


def test_a_message_without_contact_leaves_the_target_alone() -> None:
    dialog = client_dialog()
    dialog.refresh(request_of("INVITE", branch="z9hG4bK9"))
    assert str(dialog.remote_target) == "sip:mon@10.0.0.2:5070"


def test_a_2xx_computes_the_route_set_of_its_early_dialog_anew() -> None:
    dialog = client_dialog(*LOOSE, status=180)
    assert dialog.early
    request = invite(tag="us")
    dialog.confirm(reply(request, 200, "them", contact="<sip:new@10.0.0.3>"))
    assert not dialog.early
    assert (routes(dialog.request("BYE")), str(dialog.remote_target)) == ([], "sip:new@10.0.0.3")


def test_our_cseq_rises_by_one_from_the_invites() -> None:
    dialog = client_dialog()
    assert [dialog.request("INFO").cseq.number for _ in range(3)] == [2, 3, 4]
    assert dialog.request("ACK", 1).cseq.number == 1
    assert dialog.request("BYE").cseq.number == 5


def test_the_peers_cseq_may_jump_and_repeat_but_not_fall() -> None:
    dialog = Dialog.as_server(invite(cseq=5), "us")
    in_order = [dialog.in_order(request_of("INFO", branch="b", cseq=number)) for number in (6, 900, 900, 899, 901)]
    assert in_order == [True, True, True, False, True]


def test_the_peers_first_request_may_have_any_number() -> None:
    dialog = client_dialog()
    assert dialog.in_order(request_of("BYE", branch="b", cseq=0))


def test_a_missing_tag_of_the_peer_is_an_empty_one() -> None:
    dialog = Dialog.as_server(invite(tag=""), "us")
    assert dialog.key == ("call@peer", "us", "")
    assert dialog.request("BYE").to.tag is None


def test_headers_of_a_contact_uri_do_not_reach_the_request_uri() -> None:
    dialog = client_dialog()
    dialog.remote_target = replace(dialog.remote_target, headers=(("Subject", "evil"),))
    assert str(dialog.request("BYE").uri) == "sip:mon@10.0.0.2:5070"
