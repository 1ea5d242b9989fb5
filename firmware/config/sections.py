"""The configuration's types: one Struct for each table of the TOML file, each key with its meaning beside it.

docs/configuration.md is generated from what stands here (docs/generate.py). Reading a file into these types is
`reading.py`; what must hold between keys is `checks.py`. Paths and hardware names are checked by who opens them.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from firmware.config import forms
from firmware.config.secret import Secret

SoundCodec = Literal["opus", "G722", "PCMA", "PCMU", "L16"]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all tables."""


def says(description: str, *examples: object) -> Meta:
    """What a key means, and an example for the documentation."""
    return Meta(description=description, examples=list(examples))


class Station(Section, frozen=True, kw_only=True):
    """The station itself."""

    name: Annotated[str, forms.SOME_TEXT, says("Name of this door, as shown to people.", "Calle Mayor 5")] = (
        "Portero"
    )
    board: Annotated[
        str,
        forms.SOME_TEXT,
        says("Board the station runs on: a folder of board/, or a path of a board.toml.", "simulated"),
    ] = "simulated"
    country: Annotated[
        str,
        forms.COUNTRY,
        says("Country whose tones (ringback, busy) the visitor hears, ISO 3166 in small letters.", "es"),
    ] = "es"
    state_dir: Annotated[
        str, forms.ABSOLUTE_PATH, says("Folder of what outlives a restart: the event store and the lock's journal.")
    ] = "/var/lib/portero"
    run_dir: Annotated[str, forms.ABSOLUTE_PATH, says("Folder of the sockets of `doorctl` and `portero-door`.")] = (
        "/run/portero"
    )


class Sip(Section, frozen=True, kw_only=True):
    """SIP, for all accounts."""

    listen: Annotated[
        tuple[Annotated[str, forms.LISTEN], ...],
        says(
            "Addresses and ports of SIP, each by UDP and TCP. Port 0: any free one.", ["0.0.0.0:5060", "[::]:5060"]
        ),
    ] = ("0.0.0.0:5060",)
    tls_listen: Annotated[
        tuple[Annotated[str, forms.LISTEN], ...],
        says(
            "Addresses and ports of SIP over TLS, for phones that connect to the station. The station's own "
            "connections to servers need none.",
            ["0.0.0.0:5061"],
        ),
    ] = ()
    ws_listen: Annotated[
        tuple[Annotated[str, forms.LISTEN], ...],
        says("Addresses and ports of SIP over WebSockets without TLS, as behind a proxy.", ["127.0.0.1:8088"]),
    ] = ()
    wss_listen: Annotated[
        tuple[Annotated[str, forms.LISTEN], ...],
        says("Addresses and ports of SIP over secure WebSockets, for browsers and apps.", ["0.0.0.0:8089"]),
    ] = ()
    ws_origins: Annotated[
        tuple[Annotated[str, forms.ORIGIN], ...],
        says(
            "Web pages whose scripts may connect by WebSocket; empty: any page, and programs that name none.",
            ["https://door.example.org"],
        ),
    ] = ()
    tls_certificate_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says(
            "Certificate (PEM, with those between it and the root) that TLS and WSS listeners show; looked up like "
            "`password_file`. Left out: one that the station makes for itself at its first start.",
            "door.pem",
        ),
    ] = None
    tls_key_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("Its key (PEM, not encrypted); left out: in the same file.", "door.key"),
    ] = None
    name_servers: Annotated[
        tuple[Annotated[str, forms.NAME_SERVER], ...],
        says(
            "Name servers to ask, each an address with or without a port; left out: those of /etc/resolv.conf.",
            ["192.168.1.1"],
        ),
    ] = ()
    fleet_spread_s: Annotated[
        float,
        Meta(ge=0, le=3600),
        says(
            "Seconds over which stations that get power back together spread their first registration, each at a "
            "moment of its own. For a fleet at one server: twice their number, divided by the registrations that "
            "the server takes in a second.",
            100,
        ),
    ] = 1
    user_agent: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("Text of the User-Agent header; left out: Portero and its version.", "Portero"),
    ] = None

    @property
    def name_server_addresses(self) -> tuple[tuple[str, int], ...]:
        """(address without brackets, port) of each entry of `name_servers`."""
        return tuple(forms.split_name_server(text) for text in self.name_servers)

    @property
    def listen_addresses(self) -> tuple[tuple[str, int], ...]:
        """(host without brackets, port) of each entry of `listen`."""
        return tuple(forms.split_listen_address(text) for text in self.listen)


class Tls(Section, frozen=True, kw_only=True):
    """How an account's server proves itself over TLS and WSS, and how the station does. Left out: the server's
    certificate has to be for the domain that was typed, by an authority that the system knows. The check cannot be
    switched off."""

    ca_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says(
            "Authority (PEM) that has to have signed the server's certificate, in place of those of the system; "
            "looked up like `password_file`.",
            "pbx-ca.pem",
        ),
    ] = None
    fingerprint: Annotated[
        str | None,
        forms.FINGERPRINT,
        says(
            "SHA-256 fingerprint of the server's certificate: that one is good, self-signed or not, and no other. "
            "`openssl x509 -noout -fingerprint -sha256 -in pbx.pem` prints it.",
            ":".join(["6F"] * 32),
        ),
    ] = None
    certificate_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("The station's own certificate (PEM), for servers that ask for one.", "door.pem"),
    ] = None
    key_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("Its key (PEM, not encrypted); left out: in the same file.", "door.key"),
    ] = None


class Account(Section, frozen=True, kw_only=True):
    """A registration at a PBX or provider. Without any, buttons ring SIP URIs directly."""

    name: Annotated[str, forms.NAME, says("Name by which buttons and `doorctl status` mean this account.", "pbx")]
    address: Annotated[str, forms.SIP_ADDRESS, says("Our own address at the server.", "sip:door@pbx.example.org")]
    profile: Annotated[
        str | None,
        forms.NAME,
        says(
            "What kind of server it is: takes the settings of [pbx.md](pbx.md), as far as the account says nothing "
            "else.",
            "fritzbox",
        ),
    ] = None
    registrar: Annotated[
        str | None,
        forms.SIP_URI,
        says("Server to register at; left out: the domain of `address`.", "sip:192.168.1.2"),
    ] = None
    outbound_proxy: Annotated[
        str | None,
        forms.SIP_URI,
        says("Server that every request of this account goes to first.", "sip:proxy.example.org;transport=tcp"),
    ] = None
    backups: Annotated[
        tuple[Annotated[str, forms.SIP_URI], ...],
        says(
            "Servers that stand in for `outbound_proxy`, or for `registrar` where there is none, in this order. "
            "Servers that a domain's SRV records name need not be written here.",
            ["sip:192.168.1.3"],
        ),
    ] = ()
    username: Annotated[
        str | None, forms.SOME_TEXT, says("Name for the password; left out: the user of `address`.", "door")
    ] = None
    password: Annotated[Secret | None, says("Password. Better kept in a file: see `password_file`.")] = None
    password_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says(
            "File whose first line is the password. A relative path is looked up in $CREDENTIALS_DIRECTORY "
            "(systemd's LoadCredential=), else beside the configuration file.",
            "pbx-password",
        ),
    ] = None
    display_name: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("Name shown on the called phones, unless the button has its own.", "Front door"),
    ] = None
    expires_s: Annotated[
        int,
        Meta(ge=30, le=86400),
        says("Seconds that a registration is asked for; it is refreshed at 85 % of what is granted."),
    ] = 600
    video: Annotated[bool, says("Offer the camera's picture to phones called over this account.")] = True
    audio_codecs: Annotated[
        tuple[SoundCodec, ...],
        says(
            "Sound codecs offered over this account, the preferred one first; left out: those of `[media]`.",
            ["PCMA", "PCMU"],
        ),
    ] = ()
    opus_kbps: Annotated[
        int | None,
        Meta(ge=6, le=128),
        says(
            "Most kilobits a second of Opus over this account, in either direction; left out: what the coder takes "
            "for speech, 32. 16 is still clear speech.",
            24,
        ),
    ] = None
    session_timer_s: Annotated[
        int,
        Meta(ge=0, le=86400),
        says("Seconds after which a call must be refreshed or ends (RFC 4028, at least 90); 0: none is asked for."),
    ] = 1800
    register: Annotated[
        bool, says("Register there; false: only send calls (a PBX that knows the station by its address).")
    ] = True
    websocket_path: Annotated[
        str, forms.HTTP_PATH, says("Path that a WebSocket (`;transport=ws` or `wss`) is asked for at.", "/ws")
    ] = "/ws"
    tls: Annotated[Tls, says("Whom to trust over TLS and WSS.")] = Tls()
    keys_out: Annotated[
        Literal["auto", "rtp", "info", "info-dtmf", "inband"],
        says(
            "How `doorctl keys` presses keys at a phone called over this account: telephone-events (RFC 4733), SIP "
            "INFO with application/dtmf-relay or with application/dtmf, or as sound. auto: telephone-events, or "
            "sound where the phone takes none."
        ),
    ] = "auto"
    srtp: Annotated[
        Literal["off", "optional", "mandatory", "dtls"] | None,
        says("Encryption of sound and picture in calls over this account; left out: as in `[media]`.", "mandatory"),
    ] = None
    ice: Annotated[
        bool | None,
        says("Look for a way through NATs in calls over this account; left out: as in `[media]`."),
    ] = None
    trusted: Annotated[
        bool,
        says(
            "The server believes what we say of ourselves: calls carry P-Asserted-Identity with the button's name "
            "(RFC 3325), which many PBXs show where they overwrite From."
        ),
    ] = False
    outbound: Annotated[
        bool,
        says(
            "Say which flow a registration is (RFC 5626): the server calls back the same way, and there is a flow "
            "to `outbound_proxy` and to its backup at once. false: for a server that stumbles over `reg-id`."
        ),
    ] = True
    gruu: Annotated[
        bool,
        says(
            "Ask for an address of this very station (GRUU, RFC 5627) and use it in calls. Only for servers that "
            "route what comes back to it; many give one and do not."
        ),
    ] = False


class House(Section, frozen=True, kw_only=True):
    """The station's own registrar, for houses without a PBX. It is there when there are `[[users]]`."""

    domain: Annotated[
        str | None,
        forms.HOST,
        says(
            "What people type as server or domain into their phones. Left out: whatever name or address they reach "
            "the station by.",
            "house.lan",
        ),
    ] = None
    max_bindings: Annotated[
        int, Meta(ge=1, le=16), says("Phones that one user may have; beyond, the one heard longest ago goes.")
    ] = 5
    min_expires_s: Annotated[
        int, Meta(ge=10, le=3600), says("Shortest time a phone may register for, in seconds.")
    ] = 60
    max_expires_s: Annotated[
        int, Meta(ge=60, le=86400), says("Longest time, in seconds; who asks for more gets this.")
    ] = 3600


class User(Section, frozen=True, kw_only=True):
    """Somebody of the house whose monitors, apps and browsers register at the station itself, at most 32. Wherever
    a target is named, this name means this user and not a number at an account."""

    name: Annotated[
        str, forms.NAME, says("User name in the phone, and the name that ring plans and other users call.", "anna")
    ]
    password: Annotated[Secret | None, says("Password. Better kept in a file: see `password_file`.")] = None
    password_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("File whose first line is the password; looked up like that of an account.", "anna-password"),
    ] = None
    display_name: Annotated[
        str | None, forms.SOME_TEXT, says("Name shown to people beside the user name.", "Anna, 1A")
    ] = None


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
    codes: Annotated[tuple[Code, ...], says("Codes that open it.")] = ()


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
    min_code_digits: Annotated[
        int,
        Meta(ge=1, le=32),
        says("Fewest digits that a code may have; lower it only for an installation that has to."),
    ] = 4


class MediaSection(Section, frozen=True, kw_only=True):
    """Sound and picture."""

    ports: Annotated[
        tuple[int, int] | None,
        says(
            "First and last UDP port of RTP, where a firewall wants a range; left out: any free ones.",
            [16384, 16583],
        ),
    ] = None
    audio_codecs: Annotated[
        tuple[SoundCodec, ...],
        says(
            "Sound codecs offered, the preferred one first. opus and G722 carry twice the band of a telephone; "
            "opus copes best with a bad network and costs the most CPU. L16 is for laboratories.",
            ["opus", "G722", "PCMA", "PCMU"],
        ),
    ] = ("opus", "G722", "PCMA", "PCMU")
    video: Annotated[bool, says("Offer the camera's picture.")] = True
    srtp: Annotated[
        Literal["off", "optional", "mandatory", "dtls"],
        says(
            "Encryption of sound and picture (SRTP with keys in the signalling). `optional` takes it wherever it "
            "is offered, and offers it where the signalling is encrypted (TLS, WSS): a key that can be read on "
            "the way protects nothing. `mandatory` has no call without it, `off` none with it. `dtls` is mandatory "
            "too, with keys that the two ends make between themselves, as browsers do: calls to browsers that are "
            "users of the house have that anyway."
        ),
    ] = "optional"
    ice: Annotated[
        bool,
        says(
            "Look for a way to the phone through NATs (RFC 8445), with the servers of `[nat]`: for apps outside of "
            "the house's network. Calls to browsers do that anyway."
        ),
    ] = False


class NatSection(Section, frozen=True, kw_only=True):
    """The way out of the house's network. Nothing is asked of servers that are not named here."""

    stun_server: Annotated[
        str | None,
        forms.SERVER,
        says(
            "STUN server for calls with ICE, and for `doorctl nat`, which likes one with two addresses.",
            "stun.example.org:3478",
        ),
    ] = None
    turn_server: Annotated[
        str | None,
        forms.SERVER,
        says(
            "TURN server, which relays calls with ICE where there is no other way; `doorctl nat` says whether "
            "calls need one.",
            "turn.example.org:3478",
        ),
    ] = None
    turn_username: Annotated[str | None, forms.SOME_TEXT, says("Who we are at the TURN server.", "door")] = None
    turn_password: Annotated[
        Secret | None, says("Password at the TURN server. Better kept in a file: see `turn_password_file`.")
    ] = None
    turn_password_file: Annotated[
        str | None,
        forms.SOME_TEXT,
        says("File whose first line is the password at the TURN server.", "turn-password"),
    ] = None
    turn_transport: Annotated[
        Literal["udp", "tcp", "tls"],
        says("How to reach the TURN server; `tls` where a firewall lets nothing else out (port 5349, as a rule)."),
    ] = "udp"


class Audio(Section, frozen=True, kw_only=True):
    """Loudness and hands-free talk at the door, for boards whose sound card hears its own speaker."""

    canceller: Annotated[
        Literal["webrtc", "speex", "none"] | None,
        says("Echo canceller; left out: the board's. `speex` costs half.", "speex"),
    ] = None
    noise_suppression: Annotated[
        int, Meta(ge=0, le=3), says("The street's noise is taken out by 6, 12, 18 or 21 dB.")
    ] = 1
    speaker_db: Annotated[float, Meta(ge=-40, le=20), says("The speaker louder or quieter, in dB.", -6)] = 0
    noise_boost_db: Annotated[
        float, Meta(ge=0, le=20), says("By so many dB at most the speaker grows louder in street noise.")
    ] = 6
    night_from: Annotated[str, forms.TIME_OF_DAY, says("When the night begins, by the station's clock.")] = "22:00"
    night_until: Annotated[
        str, forms.TIME_OF_DAY, says("When it ends; the same time as `night_from`: never night.")
    ] = "07:00"
    night_most_db: Annotated[
        float,
        Meta(ge=-40, le=20),
        says("At night the speaker is never louder, whatever the street's noise."),
    ] = 0
    microphone_db: Annotated[float, Meta(ge=-20, le=30), says("The microphone louder or quieter, in dB.", 6)] = 0
    half_duplex: Annotated[
        Literal["auto", "always", "never"],
        says(
            "Shut the microphone while the other side talks. `auto`: where the echo is measured to be too strong "
            "for anything else."
        ),
    ] = "auto"


How = Literal["spoken", "tone", "off"]


class Announcements(Section, frozen=True, kw_only=True):
    """What the door says, to the visitor and to who talks with him. `tools/announcements` makes recordings; without
    one, a tone of `station.country` sounds. Of each: "spoken" (a tone where nothing is recorded), "tone", "off"."""

    folder: Annotated[
        str | None,
        forms.ABSOLUTE_PATH,
        says(
            "Folder of the recordings, WAV files such as `es/no-answer.wav`. Left out: tones only.",
            "/var/lib/portero/announcements",
        ),
    ] = None
    languages: Annotated[
        tuple[Annotated[str, forms.NAME], ...],
        says(
            "Languages, the preferred one first: what is not recorded in one is taken from the next, at last from "
            "the folder itself.",
            ["es", "en"],
        ),
    ] = ("en",)
    no_answer: Annotated[How, says("To the visitor: nobody answered.")] = "spoken"
    busy: Annotated[How, says("To the visitor: who was called is busy, or declined.")] = "spoken"
    unreachable: Annotated[How, says("To the visitor: no phone could be reached.")] = "spoken"
    out_of_order: Annotated[
        How,
        says("To the visitor: the button rings nobody, or the call was cut off. To who opens: the lock failed."),
    ] = "spoken"
    door_opened: Annotated[How, says("To both: the door is open.")] = "spoken"
    wrong_code: Annotated[How, says("To who typed it: the code opens nothing.")] = "spoken"
    call_ended: Annotated[How, says("To the visitor: the call is over. Only spoken, there is no tone.")] = "spoken"
    please_wait: Annotated[How, says("To the visitor: he is being handed on; then it rings on.")] = "spoken"
    in_use: Annotated[
        How,
        says(
            "To a caller who may call, while the door is in use: as sound before the refusal. Only spoken; without "
            "a recording he is refused at once and his own phone gives the busy tone."
        ),
    ] = "spoken"

    @property
    def how(self) -> dict[str, How]:
        """By the names of the recordings."""
        keys = (name for name in self.__struct_fields__ if name not in ("folder", "languages"))
        return {name.replace("_", "-"): getattr(self, name) for name in keys}


class StoreSection(Section, frozen=True, kw_only=True):
    """The store of events behind `doorctl events` and `doorctl why`."""

    max_events: Annotated[int, Meta(ge=1000, le=10_000_000), says("Events kept; the oldest go first.")] = 50_000


class Config(Section, frozen=True, kw_only=True):
    """The whole file."""

    station: Station = Station()
    sip: Sip = Sip()
    accounts: tuple[Account, ...] = ()
    house: House = House()
    users: tuple[User, ...] = ()
    buttons: tuple[Button, ...] = ()
    doors: tuple[Door, ...] = ()
    calls: Calls = Calls()
    access: Access = Access()
    media: MediaSection = MediaSection()
    nat: NatSection = NatSection()

    audio: Audio = Audio()
    announcements: Announcements = Announcements()
    store: StoreSection = StoreSection()

    def account(self, name: str | None) -> Account | None:
        """The account of this name; the first of the file for None; None where there is none."""
        return _first(self.accounts, name)

    def user(self, name: str) -> User | None:
        return next((user for user in self.users if user.name == name), None)

    def button(self, name: str) -> Button | None:
        return next((button for button in self.buttons if button.name == name), None)

    def door(self, name: str) -> Door | None:
        return next((door for door in self.doors if door.name == name), None)


def _first(accounts: Sequence[Account], name: str | None) -> Account | None:
    return next((account for account in accounts if name is None or account.name == name), None)
