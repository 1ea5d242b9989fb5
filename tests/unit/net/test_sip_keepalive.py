"""Keep-alive of datagram flows under a virtual clock, row by row of its table."""

import random

import pytest

from firmware.net import stun
from firmware.net.sip_keepalive import ROUND_S, DatagramKeepalive
from firmware.sip.types import Flow

SERVER = ("192.0.2.1", 5060)
FLOW = Flow("udp", ("192.0.2.9", 5060), SERVER, ("192.0.2.9", 5060), 1)


class Server:
    """What the keep-alive talks to: `speaks` STUN, is `dead`, or neither; sees us at `sees`."""

    def __init__(self, *, speaks: bool = True) -> None:
        self.speaks = speaks
        self.dead = False
        self.sees = ("203.0.113.5", 40000)
        self.got: list[tuple[float, bytes]] = []
        self.failed: list[tuple[float, str]] = []
        self.moved: list[float] = []
        self.now = 0.0
        self.lose = 0
        self.keepalive = DatagramKeepalive(
            send=self._take,
            failed=lambda flow, why: self.failed.append((self.now, why)),
            moved=lambda flow: self.moved.append(self.now),
            random=random.Random(3).randbytes,
        )
        self._answers: list[bytes] = []

    def _take(self, flow: Flow, data: bytes) -> None:
        self.got.append((self.now, data))
        if self.lose:
            self.lose -= 1
        elif self.speaks and not self.dead and stun.is_stun(data):
            self._answers.append(stun.binding_response(data[8:20], self.sees))

    def run(self, until_s: float) -> None:
        while (deadline := self.keepalive.next_deadline()) is not None and deadline <= until_s:
            self.now = max(self.now, deadline)
            self.keepalive.handle_timer(self.now)
            answers, self._answers = self._answers, []
            for answer in answers:
                self.keepalive.received(answer, FLOW, self.now)
        self.now = until_s

    def requests(self) -> list[float]:
        return [at for at, data in self.got if stun.is_stun(data)]


def kept(**options: bool) -> Server:
    server = Server(**options)
    server.keepalive.keep([FLOW], 0.0)
    return server


def test_server_that_answers_is_asked_once_a_round():
    server = kept()
    server.run(20.0)
    assert server.requests() == [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]
    assert (server.failed, server.moved) == ([], [])


@pytest.mark.parametrize("dies_s", [0.1, 3.0, 3.9, 4.1])
def test_server_that_stops_answering_is_noticed_within_ten_seconds(dies_s):
    server = kept()
    server.run(dies_s)
    server.dead = True
    server.run(60.0)
    ((noticed_s, why),) = server.failed
    assert noticed_s - dies_s < 10
    assert why == "keep-alive unanswered"


def test_lost_datagrams_are_repeated_and_forgiven():
    server = kept()
    server.run(1.0)
    server.lose = 3
    server.run(30.0)
    assert server.failed == []
    assert server.requests()[1:5] == [4.0, 4.5, 5.5, 7.5]


def test_server_without_stun_gets_crlf_and_is_never_judged_by_it():
    server = kept(speaks=False)
    server.run(60.0)
    assert server.failed == []
    assert len(server.requests()) == 8  # two rounds
    assert server.got[-1][1] == b"\r\n\r\n"
    again = [at for at, data in server.got if data == b"\r\n\r\n"]
    assert again[0] == pytest.approx(2 * ROUND_S)


def test_server_without_stun_is_not_asked_again_with_each_new_flow():
    server = kept(speaks=False)
    server.run(20.0)
    server.keepalive.keep([], 20.0)
    asked = len(server.requests())
    server.keepalive.keep([FLOW], 20.0)
    server.run(30.0)
    assert len(server.requests()) == asked


def test_icmp_fails_the_flow_at_once_and_only_once():
    server = kept(speaks=False)
    server.run(20.0)
    server.keepalive.refused(FLOW, "Connection refused")
    server.keepalive.refused(FLOW, "Connection refused")
    assert server.failed == [(20.0, "Connection refused")]
    assert server.keepalive.next_deadline() is None


def test_server_that_was_failed_may_come_back_as_one_without_stun():
    server = kept()
    server.run(5.0)
    server.speaks = False
    server.run(30.0)
    assert len(server.failed) == 1
    server.keepalive.keep([], 30.0)
    server.keepalive.keep([FLOW], 30.0)
    server.run(80.0)
    assert len(server.failed) == 1


def test_address_that_changed_on_the_way_is_told_once():
    server = kept()
    server.run(10.0)
    server.sees = ("203.0.113.5", 40001)
    server.run(30.0)
    assert server.moved == [12.0]
    assert server.failed == []


def test_answers_to_nothing_and_to_others_change_nothing():
    server = kept()
    server.dead = True
    server.run(0.1)
    other = Flow("udp", FLOW.local, ("198.51.100.1", 5060), FLOW.advertised, 1)
    asked = server.got[0][1][8:20]
    server.keepalive.received(stun.binding_response(bytes(12), ("192.0.2.3", 1)), FLOW, 0.1)
    server.keepalive.received(stun.binding_response(asked, ("192.0.2.3", 1)), other, 0.1)
    server.run(30.0)
    assert server.got[-1][1] == b"\r\n\r\n"  # silence, as far as the flow knows


def test_phones_own_request_is_answered_with_where_it_came_from():
    server = Server()
    server.keepalive.received(stun.binding_request(bytes(12)), FLOW, 0.0)
    ((_, answer),) = server.got
    assert stun.parse(answer).mapped == SERVER
    server.keepalive.received(b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"torn", FLOW, 0.0)
    assert len(server.got) == 1
