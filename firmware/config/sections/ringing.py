"""Who rings, who may open, what lights up: [[buttons]], [[doors]], [[lights]], [incoming], [calls], [access]."""

from typing import Annotated, Literal

from msgspec import Meta, field

from firmware.config import forms
from firmware.config.secret import Secret
from firmware.config.sections.base import Section, says


class Stage(Section, frozen=True, kw_only=True):
    """One stage of a button's ring plan: who rings at once, and for how long before the next stage."""

    ring: Annotated[
        tuple[Annotated[str, forms.TARGET], ...],
        says(
            "Who rings, all at once: users of the house, numbers at the account's domain, or SIP URIs (no server "
            "needed). A name of `[[users]]` is that user, whose phones all ring.",
            ["101", "102"],
        ),
    ]
    seconds: Annotated[float, Meta(gt=0, le=600), says("Seconds until the next stage, if nobody answers.")] = 30
    auto_answer: Annotated[
        bool,
        says(
            "Ask the phones to answer by themselves (Answer-Mode: Auto, and Call-Info: answer-after=0 for older "
            "ones): a guard's desk, a concierge. They do it only where they are set up to obey."
        ),
    ] = False


class Button(Section, frozen=True, kw_only=True):
    """A bell button, the flat behind it, and its ring plan."""

    name: Annotated[str, forms.NAME, says("Name by which events and `doorctl press` mean this button.", "flat-1a")]
    input: Annotated[str, forms.NAME, says("The board's input that it is wired to.", "button1")]
    label: Annotated[str, says("Text beside the button, for people.", "1A Garcia")] = ""
    display_name: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("Name shown on the phones that ring; left out: the account's.", "Door, 1A"),
    ] = None
    subject: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("Text of the Subject header, shown by some phones below the name.", "Calle Mayor 5, street door"),
    ] = None
    alert_info: Annotated[
        str | None,
        forms.SOME_TEXT,
        says(
            "Value of the Alert-Info header, by which phones choose a ring tone of their own for the door.",
            "<http://127.0.0.1/Bellcore-dr3>;info=door",
        ),
    ] = None
    account: Annotated[
        str | None, forms.NAME, says("Account that its calls go out on; left out: the first of the file.", "pbx")
    ] = None
    second_press: Annotated[
        Literal["ignore", "extend", "cancel"],
        says("What another press does while it rings: nothing, start the ring plan anew, or end the ringing."),
    ] = "ignore"
    ring_limit_s: Annotated[
        float, Meta(gt=0, le=600), says("Seconds after which ringing ends, whatever the stages say.")
    ] = 60
    stuck_s: Annotated[
        float,
        Meta(ge=1, le=3600),
        says("Seconds after which a button that stays down counts as stuck: a fault, until it is let go."),
    ] = 30
    doors: Annotated[
        tuple[Annotated[str, forms.NAME], ...], says("Doors that the called flat may open.", ["street"])
    ] = ()
    stages: Annotated[tuple[Stage, ...], says("The ring plan.")] = ()


class Code(Section, frozen=True, kw_only=True):
    """A code that opens the door when it is typed in a call."""

    name: Annotated[str, forms.NAME, says("Name that the log shows in place of the digits.", "family")]
    digits: Annotated[
        Secret | None,
        forms.CODE,
        says("The code: 0-9, * and #. Better kept in a file: see `digits_file`.", "58231"),
    ] = None
    digits_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("File whose first line is the code; looked up like `password_file`.", "street-family"),
    ] = None


class Door(Section, frozen=True, kw_only=True):
    """A door and the relay that opens it."""

    name: Annotated[str, forms.NAME, says("Name by which buttons and `doorctl unlock` mean this door.", "street")]
    relay: Annotated[str, forms.NAME, says("The board's output that switches the strike.", "relay1")]
    pulse_ms: Annotated[int, Meta(ge=50, le=60_000), says("Milliseconds that the relay is on.")] = 3000
    max_pulse_ms: Annotated[
        int, Meta(ge=50, le=60_000), says("Longest time the lock process ever leaves the relay on, whoever asks.")
    ] = 10_000
    contact: Annotated[
        str | None,
        forms.NAME,
        says("The board's input that is active while the door is open; left out: there is no contact.", "door"),
    ] = None
    held_open_s: Annotated[
        float,
        Meta(ge=0, le=86_400),
        says("Seconds after which a door that stands open is a fault, until it is shut; 0: never."),
    ] = 60
    codes: Annotated[tuple[Code, ...], says("Codes that open it.")] = ()


class LightSection(Section, frozen=True, kw_only=True):
    """A light at a button. It blinks while the door rings, shines while somebody talks, and blinks fast while the
    strike is released."""

    output: Annotated[str, forms.NAME, says("The board's light.", "light1")]
    button: Annotated[
        str | None,
        forms.NAME,
        says("Button whose visits it shows; left out: those of all.", "flat-1a"),
    ] = None
    idle: Annotated[Literal["off", "on"], says("What it does otherwise; on: the button is found in the dark.")] = (
        "off"
    )


class Incoming(Section, frozen=True, kw_only=True):
    """Calls to the station."""

    policy: Annotated[
        Literal["refuse", "auto-answer"],
        says("Refuse every call to the station, or answer those of `from` that can prove who they are."),
    ] = "refuse"
    from_: Annotated[
        tuple[Annotated[str, forms.CALLER], ...],
        says(
            "Who may call: users of the house by name, others by SIP URI. A From header alone proves nothing: a "
            "user gives his password, others come over the very flow that the account is registered on or from "
            "their own address. No sound or picture leaves before the caller's ACK.",
            ["anna", "sip:101@pbx.example.org"],
        ),
    ] = field(name="from", default=())


class Calls(Section, frozen=True, kw_only=True):
    """Limits and habits of calls."""

    talk_limit_s: Annotated[float, Meta(gt=0, le=3600), says("Seconds after which a call is ended.")] = 180
    warning_s: Annotated[
        float, Meta(ge=0), says("Seconds before that end at which both sides hear a warning tone; 0: none.")
    ] = 10
    hangup_after_unlock_s: Annotated[
        float,
        Meta(ge=0, le=600),
        says("Seconds from opening the door to the end of the call; 0: the call goes on."),
    ] = 5
    unlock_while_ringing: Annotated[
        bool, says("Accept a code before the call is answered, from a phone whose picture already runs.")
    ] = False
    dtmf_timeout_s: Annotated[
        float, Meta(gt=0, le=60), says("Seconds without a key after which what was typed is the whole code.")
    ] = 3
    redirect_to: Annotated[
        tuple[Annotated[str, forms.SIP_URI], ...],
        says(
            "Where a phone that diverts its calls (302) may send us, besides to its own host: SIP URIs; one "
            "without a user means everybody at that host. Any other diversion ends the call there.",
            ["sip:102@pbx.example.org", "sip:192.168.1.40"],
        ),
    ] = ()
    transfer: Annotated[
        Literal["refuse", "accept"],
        says("What happens when who talks with the door hands it on to somebody else (REFER, Replaces)."),
    ] = "refuse"
    transfer_to: Annotated[
        tuple[Annotated[str, forms.TARGET], ...],
        says(
            'Whom the door may be handed on to, where transfer is "accept".', ["102", "sip:guard@pbx.example.org"]
        ),
    ] = ()
    incoming: Annotated[Incoming, says("Calls to the station.")] = Incoming()


class Access(Section, frozen=True, kw_only=True):
    """What keeps people from guessing codes.

    Wrong codes are counted by the target that was rung, whichever of its phones answered, and over
    restarts. A locked target opens nothing, the right code included; all others go on. When three targets
    are locked at once, the whole station accepts no code for `lockout_s`, which is never doubled. Calls
    that came in open nothing and count for nothing; a right code for a door that the button does not open
    counts as a wrong one."""

    wrong_codes: Annotated[
        int,
        Meta(ge=1, le=100),
        says("Wrong codes from one target within `window_s` after which none of it is accepted."),
    ] = 5
    window_s: Annotated[float, Meta(gt=0), says("Seconds in which wrong codes are counted together.")] = 60
    lockout_s: Annotated[
        float, Meta(gt=0), says("Seconds without codes after the first time; doubled with each further.")
    ] = 30
    max_lockout_s: Annotated[float, Meta(gt=0), says("Longest such time, in seconds.")] = 3600
    keys_by: Annotated[
        tuple[Literal["rtp", "info", "inband"], ...],
        says(
            "The ways in which a key counts: telephone-events (RFC 4733), SIP INFO, and as sound in G.711 where a "
            "phone takes no telephone-events. A key that the door's own microphone heard before never counts."
        ),
    ] = ("rtp", "info", "inband")
    tamper: Annotated[
        str | None,
        forms.NAME,
        says(
            "The board's input that is active while the station's cover is off: no door opens then. The lock "
            "process watches it by itself. Left out: there is none.",
            "tamper",
        ),
    ] = None
    min_code_digits: Annotated[
        int,
        Meta(ge=1, le=32),
        says("Fewest digits that a code may have; lower it only for an installation that has to."),
    ] = 4
