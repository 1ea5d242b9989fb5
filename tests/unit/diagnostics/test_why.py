"""`explain`: every step of a press in milliseconds, and the failed one by name."""

import json
from collections.abc import Sequence

import pytest

from firmware.diagnostics.why import Timeline, explain, render
from firmware.event_json import UnknownEvent
from firmware.station.events import (
    AccessGranted,
    AccessRefused,
    ButtonPressed,
    DigitReceived,
    DigitRefused,
    DoorRefused,
    DoorSound,
    Event,
    Evidence,
    IncomingCall,
    InviteSent,
    LegAnswered,
    LegCancelled,
    LegEnded,
    LegFailed,
    LegRinging,
    LegTrying,
    MediaLost,
    PressEnded,
    Record,
    RelayOff,
    RelayOn,
    RelayReadBack,
    RtpStarted,
    StageEnded,
    StageStarted,
)

EDGE_S = 1000.0
CODE = Evidence(by="code", press=12, leg="12.1", party="101", direction="outgoing", code_name="family")

PRESSED = ButtonPressed(press=12, button="flat-1a", source="gpio", edge_s=EDGE_S)
STAGE = StageStarted(press=12, stage=1, targets=("101", "102"))
INVITES = [
    InviteSent(press=12, leg="12.1", target="101", account="pbx"),
    InviteSent(press=12, leg="12.2", target="102", account="pbx"),
]
TRYING = [LegTrying(press=12, leg="12.1"), LegTrying(press=12, leg="12.2")]
RINGING = [
    LegRinging(press=12, leg="12.1", status=183, early_media=True),
    LegRinging(press=12, leg="12.2", status=180, early_media=False),
]
ANSWER = [
    LegAnswered(press=12, leg="12.1"),
    LegCancelled(press=12, leg="12.2", reason="Call completed elsewhere"),
]
SOUND = [
    RtpStarted(press=12, leg="12.1", media="audio", direction="sent"),
    RtpStarted(press=12, leg="12.1", media="audio", direction="received"),
]
DIGITS = [DigitReceived(press=12, leg="12.1", source="rtp")] * 4
GRANT = AccessGranted(press=12, door="street", evidence=CODE)
WRONG = AccessRefused(press=12, door="", reason="wrong code, 1 of 5", evidence=CODE)
ON = RelayOn(press=12, door="street", pulse_ms=3000)
READS_ON = RelayReadBack(press=12, door="street", active=True, expected=True)
OFF = RelayOff(press=12, door="street", on_ms=3001, reason="pulse ended")
READS_OFF = RelayReadBack(press=12, door="street", active=False, expected=False)
PULSE = [ON, READS_ON, OFF, READS_OFF]
END = PressEnded(press=12, outcome="answered", reason="unlocked")
BYE = LegEnded(press=12, leg="12.1", by="us", reason="", duration_s=8.0)
RANG = [PRESSED, STAGE, *INVITES, *TRYING, *RINGING]
TALKED = [*RANG, *ANSWER, *SOUND]
CALL: list[Event] = [*TALKED, *DIGITS, GRANT, *PULSE, END, BYE]


def unanswered(outcome: str = "unanswered", reason: str = "nobody answered in time") -> PressEnded:
    return PressEnded(press=12, outcome=outcome, reason=reason)  # type: ignore[arg-type]


def why(happened: Sequence[Event], *, running: bool = False) -> Timeline:
    """The explanation of events that came 10 ms apart, the first 10 ms after the edge."""
    return explain(
        [Record(seq, EDGE_S + seq / 100, 1.7e9 + seq / 100, event) for seq, event in enumerate(happened, 1)],
        running=running,
    )


def without(*left_out: Event) -> list[Event]:
    return [event for event in CALL if event not in left_out]


def test_a_whole_call_has_every_step_and_no_failure() -> None:
    timeline = why(CALL)
    assert timeline.failed == ""
    assert timeline.failures == ()
    assert timeline.verdict == "All steps seen: the relay of street was switched 0.2 s after the press."
    assert [step.kind for step in timeline.steps] == [event.kind for event in CALL]
    assert (timeline.press, timeline.button, timeline.source) == (12, "flat-1a", "gpio")


def test_milliseconds_count_from_the_edge_and_not_from_its_report() -> None:
    timeline = why(CALL)
    assert [step.ms for step in timeline.steps[:4]] == [0.0, 20.0, 30.0, 40.0]
    assert timeline.time == pytest.approx(1.7e9)


def test_an_edge_stamped_by_another_clock_is_not_believed() -> None:
    edge = ButtonPressed(press=12, button="flat-1a", source="gpio", edge_s=17.0)
    assert [step.ms for step in why([edge, *CALL[1:]]).steps[:3]] == [0.0, 10.0, 20.0]


def test_each_leg_is_named_by_whom_it_calls() -> None:
    steps = {(step.kind, step.leg): step for step in why(CALL).steps}
    assert steps["leg-cancelled", "12.2"].party == "102"
    assert steps["leg-ringing", "12.1"].text == "183 ringing, early media"
    assert steps["invite-sent", "12.1"].text == "INVITE sent by account pbx"


FAILURES: list[tuple[str, Sequence[Event], str, str]] = [
    (
        "nothing rang",
        [PRESSED, unanswered("failed", "no ring plan")],
        "invite",
        "Nothing rang: no INVITE was sent (no ring plan).",
    ),
    (
        "nothing rang, the target could not be resolved",
        [
            PRESSED,
            STAGE,
            LegFailed(press=12, leg="12.1", status=0, reason="no such host pbx.local"),
            unanswered("failed", ""),
        ],
        "invite",
        "Nothing rang: no INVITE was sent (12.1: no such host pbx.local).",
    ),
    ("nothing at all after the edge", [PRESSED], "invite", "Nothing rang: no INVITE was sent."),
    (
        "all legs failed at once",
        [
            *[PRESSED, STAGE, *INVITES, *TRYING],
            LegFailed(press=12, leg="12.1", status=486, reason="Busy Here"),
            LegFailed(press=12, leg="12.2", status=0, reason="connection refused"),
            StageEnded(press=12, stage=1, reason="all legs failed"),
            unanswered("failed", "all legs failed"),
        ],
        "ringing",
        "No phone rang: 101: 486 Busy Here; 102: connection refused.",
    ),
    (
        "declined after ringing",
        [
            *RANG,
            LegFailed(press=12, leg="12.1", status=603, reason="Decline"),
            LegFailed(press=12, leg="12.2", status=480, reason=""),
            unanswered("failed", "all legs failed"),
        ],
        "answer",
        "Nobody answered: 101: 603 Decline after ringing; 102: 480 after ringing.",
    ),
    (
        "no phone got further than trying",
        [PRESSED, STAGE, *INVITES, TRYING[0], unanswered()],
        "ringing",
        "No phone rang: 101: 100 Trying, then nothing; 102 answered nothing.",
    ),
    ("no answer", [*RANG, unanswered()], "answer", "Nobody answered within 0 s: 101 rang; 102 rang."),
    (
        "cancelled at the door",
        [*RANG, unanswered("cancelled", "pressed again")],
        "answer",
        "Nobody had answered when the ringing was ended: pressed again (101 rang; 102 rang).",
    ),
    ("killed while ringing", RANG, "answer", "The station stopped while it rang (101 rang; 102 rang)."),
    (
        "no sound received",
        without(SOUND[1]),
        "media",
        "101 answered, but no sound came from there: a firewall or NAT keeps its RTP from the station, "
        "or its microphone is off.",
    ),
    ("no sound sent", without(SOUND[0]), "media", "101 answered, but no sound was sent there."),
    (
        "sound lost",
        [*CALL[:-1], MediaLost(press=12, leg="12.1", media="audio", silent_s=5.0), BYE],
        "media",
        "The sound from 101 stopped for 5.0 s.",
    ),
    (
        "no code",
        [*TALKED, END, BYE],
        "digits",
        "The relay was not switched: no key came from 101. If a code was typed, set the phone's DTMF to RFC 4733 "
        "(also called RFC 2833) or SIP INFO.",
    ),
    (
        "an incomplete code",
        [*TALKED, *DIGITS[:2], END, BYE],
        "code",
        "The relay was not switched: 2 keys came from 101, but no complete code.",
    ),
    (
        "a code played at the microphone",
        [*TALKED, *[DigitRefused(press=12, leg="12.1", source="rtp")] * 4, END, BYE],
        "code",
        "The relay was not switched: 4 keys came back that had gone out from the door. Somebody may have played a "
        "code at its microphone.",
    ),
    (
        "wrong code",
        [*TALKED, *DIGITS, WRONG, END, BYE],
        "code",
        "The relay was not switched: code refused (wrong code, 1 of 5).",
    ),
    (
        "code before the answer",
        [
            *RANG,
            *DIGITS,
            AccessRefused(press=12, door="street", reason="code before the answer", evidence=CODE),
            *ANSWER,
            *SOUND,
            END,
            BYE,
        ],
        "code",
        "The relay was not switched: code refused for street (code before the answer).",
    ),
    (
        "door process away",
        [
            *TALKED,
            *DIGITS,
            GRANT,
            DoorRefused(press=12, door="street", reason="portero-door is not running"),
            END,
            BYE,
        ],
        "relay-on",
        "The relay was not switched: portero-door is not running.",
    ),
    (
        "door process went away and knows no door",
        [*TALKED, *DIGITS, GRANT, DoorRefused(press=12, door="", reason="portero-door went away"), END, BYE],
        "relay-on",
        "The relay was not switched: portero-door went away.",
    ),
    (
        "door process silent",
        without(*PULSE),
        "relay-on",
        "The relay was not switched: portero-door did not answer; see its journal.",
    ),
    (
        "relay does not follow",
        [
            RelayReadBack(press=12, door="street", active=False, expected=True) if event is READS_ON else event
            for event in CALL
        ],
        "relay-read-back",
        "The relay of street was switched, but its line reads off: check relay and wiring.",
    ),
    (
        "relay not read back",
        without(READS_ON),
        "relay-read-back",
        "The relay of street was switched, but its line was not read back.",
    ),
    (
        "relay stuck",
        [
            RelayReadBack(press=12, door="street", active=True, expected=False) if event is READS_OFF else event
            for event in CALL
        ],
        "relay-off",
        "The relay of street is stuck: its line still reads on after the release. Check it now.",
    ),
    (
        "relay released early",
        [
            RelayOff(press=12, door="street", on_ms=700, reason="client lost") if event is OFF else event
            for event in CALL
        ],
        "relay-off",
        "The relay of street was released after 700 of 3000 ms: client lost.",
    ),
    (
        "no release recorded",
        without(OFF, READS_OFF),
        "relay-off",
        "No release of the relay of street is recorded; see portero-door's journal.",
    ),
    (
        "killed during the call",
        without(END, BYE),
        "bye",
        "No BYE is recorded: the station was stopped or cut off during the call.",
    ),
    (
        "cut by the network",
        [*CALL[:-1], LegEnded(press=12, leg="12.1", by="network", reason="408 Request Timeout", duration_s=8.0)],
        "bye",
        "The call was cut after 8.0 s: 408 Request Timeout.",
    ),
]


@pytest.mark.parametrize(
    ("happened", "step", "verdict"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES]
)
def test_the_failed_step_is_named(happened: Sequence[Event], step: str, verdict: str) -> None:
    timeline = why(happened)
    assert (timeline.failed, timeline.verdict) == (step, verdict)
    assert verdict in render(timeline)


@pytest.mark.parametrize("length", range(1, len(CALL)))
def test_a_visit_that_goes_on_has_not_failed_yet(length: int) -> None:
    timeline = why(CALL[:length], running=True)
    assert timeline.ongoing
    assert timeline.failed == ""
    assert timeline.verdict.startswith("Still going on: ")


def test_a_wrong_code_is_told_while_the_call_goes_on() -> None:
    assert why([*TALKED, *DIGITS, WRONG], running=True).failed == "code"


def test_the_right_code_after_a_wrong_one_is_no_failure_but_a_note() -> None:
    timeline = why([*TALKED, *DIGITS, WRONG, *DIGITS, GRANT, *PULSE, END, BYE])
    assert timeline.failed == ""
    assert timeline.notes == ("code refused (wrong code, 1 of 5)",)


def test_a_second_grant_that_works_makes_up_for_a_first_that_did_not() -> None:
    refused = DoorRefused(press=12, door="street", reason="portero-door is not running")
    assert why([*TALKED, *DIGITS, GRANT, refused, *DIGITS, GRANT, *PULSE, END, BYE]).failed == ""


def test_one_phone_out_of_reach_is_a_note_when_another_answers() -> None:
    failed = LegFailed(press=12, leg="12.2", status=404, reason="Not Found")
    timeline = why([*RANG[:-1], failed, ANSWER[0], *SOUND, *DIGITS, GRANT, *PULSE, END, BYE])
    assert timeline.failed == ""
    assert timeline.notes == ("102 could not be reached: 404 Not Found",)


def test_an_invite_that_left_late_is_a_note() -> None:
    records = [Record(seq, EDGE_S + seq, 1.7e9 + seq, event) for seq, event in enumerate(CALL, 1)]
    assert explain(records, running=False).notes == ("the first INVITE left 3000 ms after the edge",)


def test_several_failures_are_all_told_the_first_step_first() -> None:
    timeline = why([*RANG, *ANSWER, SOUND[0], *DIGITS, WRONG, END, BYE])
    assert [failure.step for failure in timeline.failures] == ["media", "code"]
    assert "Also: The relay was not switched: code refused (wrong code, 1 of 5)." in render(timeline)


def test_a_call_that_came_in_needs_no_invite() -> None:
    came = IncomingCall(press=12, leg="12.1", caller="sip:101@pbx", source="udp 10.0.0.2:5060", proven="pbx")
    timeline = why([came, ANSWER[0], *SOUND, *DIGITS, GRANT, *PULSE, END, BYE])
    assert timeline.failed == ""
    assert timeline.steps[0].party == "sip:101@pbx"


def test_a_door_opened_by_doorctl_outside_a_visit_needs_no_call() -> None:
    grant = AccessGranted(press=12, door="street", evidence=Evidence(by="doorctl", user="maria"))
    timeline = why([grant, *PULSE])
    assert timeline.failed == ""
    assert timeline.steps[0].text == "granted: street, by doorctl of maria"


def test_a_second_press_is_shown_and_does_not_move_the_edge() -> None:
    again = ButtonPressed(press=12, button="flat-1a", source="gpio", edge_s=EDGE_S + 5, action="extend")
    timeline = why([*RANG, again, *CALL[len(RANG) :]])
    assert timeline.steps[len(RANG)].text == "pressed again: extend"
    assert timeline.failed == ""


def test_no_records_are_an_error() -> None:
    with pytest.raises(ValueError, match="no records"):
        explain([])


def test_an_unknown_event_is_shown_as_it_is() -> None:
    owl = UnknownEvent(name="owl-seen", press=12, fields={"press": 12, "colour": "grey"})
    assert why([*CALL, owl]).steps[-1].text == "owl-seen colour=grey"


def test_the_json_form_comes_back_the_same() -> None:
    timeline = why([*TALKED, *DIGITS, WRONG, END, BYE])
    assert Timeline.from_dict(json.loads(json.dumps(timeline.as_dict()))) == timeline


def test_the_text_is_one_aligned_line_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = render(why([*CALL, DoorSound(press=12, sound="silence")])).splitlines()
    assert lines[0].startswith("Press 12, button flat-1a (gpio), 20")
    assert lines[2] == "       0.0 ms             button flat-1a pressed (gpio)"
    assert lines[4] == "      30.0 ms  12.1  101  INVITE sent by account pbx"
    assert lines[-3] == f"{(len(CALL) + 1) * 10:10.1f} ms             visitor hears silence"
    assert lines[-1].startswith("All steps seen")
