"""Servers, and who registers where: [sip], [[accounts]], [house], [[users]], [nat]."""

from typing import Annotated, Literal

from msgspec import Meta

from firmware.config import forms
from firmware.config.secret import Secret
from firmware.config.sections.base import Section, SoundCodec, says


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
