"""The composition root of `portero`: turns a configuration and a board into running objects, and back into nothing.

The only place that names concrete drivers. Starting order is what a visitor needs first: events, the lock
process, SIP (which registers), buttons; the media engine opens its devices with the first call.
"""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import board
from drivers.audio.base import AudioDevice, AudioError
from drivers.camera.base import Camera, CameraError
from firmware import __version__, last_good
from firmware.api.control import ControlServer
from firmware.config import Account as AccountSection
from firmware.config import Config, Loaded, NatSection, Problem
from firmware.config import Sip as SipSection
from firmware.config.forms import minutes, split_listen_address
from firmware.event_json import fields_of, kind_of
from firmware.media.codec import usable
from firmware.media.engine import Engine
from firmware.media.events import MediaFault
from firmware.media.ice_servers import IceServers
from firmware.media.sounds import Sounds
from firmware.net.door_client import DoorClient
from firmware.net.instance_id import instance_urn
from firmware.net.nat_discovery import split as split_server
from firmware.net.network_watch import NetworkWatch
from firmware.net.sip_connections import AccountTransport
from firmware.net.sip_endpoint import SipEndpoint
from firmware.net.sip_tls import ServerIdentity, TlsError, TlsSettings
from firmware.net.source_address import is_wildcard
from firmware.service import Service
from firmware.sip.configuration import STATION_NAMES, Account, Configuration, House, User
from firmware.sip.trace import Trace, TracedCore
from firmware.sip.types import SECURE, Transport
from firmware.sip.uri import Uri
from firmware.station import events
from firmware.station.events import EventStream, Record
from firmware.station.station import Station
from firmware.station.status import ControlError
from firmware.store import Store
from firmware.wiring import Wiring

if TYPE_CHECKING:
    from firmware.media.handsfree import HandsFree
    from firmware.station.sound_check import SoundCheck

log = logging.getLogger("portero")
EARLY_IMPORTS_S = 0.2  # after registration was begun
HANDSHAKES_S = 2.0  # the same: 37 MB, most of them pages of libraries, and half a second of CPU on a PC
_JOURNAL_FIELDS = {"PRESS": "press", "LEG": "leg", "CALL": "call", "DOOR": "door", "WHERE": "where"}
POWER_UP_S = 300.0  # from the machine's boot; a start later than that is a restart, and nobody else's
WARM_AFTER_S = 2.0  # registering comes first
STOP_S = 4.0  # un-registration and BYEs on a clean stop; systemd kills long after that


class StartError(Exception):
    """The station cannot start; the text names the place and the remedy."""


async def run(loaded: Loaded, copy: Path | None = None) -> None:
    """Runs the station until SIGTERM or SIGINT. StartError where something it cannot do without is missing.

    Once it is ready, its configuration is kept as the last good one at `copy`, or said to be spoilt."""
    config = loaded.config
    hardware = load_board(config)
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[str] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _resolve, stopping, signal.Signals(number).name)
    async with AsyncExitStack() as stack:
        run_dir, state_dir = _folders(config)
        store = Store(state_dir / "events.sqlite", max_events=config.store.max_events)
        stack.callback(store.close)
        stream = EventStream(store.first_seq)
        stream.subscribe(store.append)
        stream.subscribe(_to_journal)
        loop.set_exception_handler(lambda _, context: _unexpected(stream, context))

        station: Station
        camera = hardware.camera if config.media.video else None
        hands_free = make_hands_free(config, hardware.audio, state_dir)
        announcements = config.announcements
        sounds = Sounds(
            config.station.country,
            Path(announcements.folder) if announcements.folder else None,
            announcements.languages,
            announcements.how,
            on_fault=lambda what: station.media_fault(MediaFault("announcements", what)),
        )
        engine = Engine(
            audio=lambda: make_audio(hardware.audio),
            camera=(lambda: make_camera(camera)) if camera is not None else None,
            standby_camera=(lambda: make_standby_camera(camera)) if camera is not None else None,
            sounds=sounds,
            ports=config.media.ports,
            ice_servers=ice_servers(config.nat),
            hands_free=hands_free,
            call_soon=loop.call_soon_threadsafe,
            on_fault=lambda fault: station.media_fault(fault),
            keys_by=config.access.keys_by,
        )
        stack.callback(engine.close)
        trace = Trace()
        phone = SipEndpoint(
            TracedCore(sip_configuration(config, instance_urn(state_dir)), random=os.urandom, trace=trace),
            listen=config.sip.listen_addresses,
            on_event=lambda event: station.sip_event(event),
            listen_also=listeners(config.sip),
            identity=server_identity(config.sip, state_dir),
            origins=config.sip.ws_origins,
            accounts={account.name: account_transport(account) for account in config.accounts},
            name_servers=config.sip.name_server_addresses,
        )
        door = DoorClient(run_dir / "door.sock", on_event=lambda event: station.doors.take(event))
        station = Station(config, stream, phone, engine, door, first_press=store.first_press, loop=loop)

        wall_s = time.time()
        refused = store.of_kind(
            events.AccessRefused.kind, wall_s - config.access.window_s - 3 * config.access.max_lockout_s
        )
        station.remember_refusals(refused, wall_s)
        stream.publish(events.StationStarted(version=__version__, board=hardware.name))
        if loaded.spoilt is not None:
            station.faults.set(*spoilt(loaded.spoilt, loaded.since))
        store.start(partial(_hand_over, loop, stream.publish), loop.call_later)
        station.house.start()
        door.start()
        stack.push_async_callback(door.stop)
        try:
            await phone.start()
        except OSError as error:
            listen = ", ".join((*config.sip.listen, *(f"{host}:{port}" for _, host, port in listeners(config.sip))))
            raise StartError(f"sip.listen: {listen}: {error}; is another program there?") from error
        except TlsError as error:
            raise StartError(f"sip.tls_certificate_file: {error}") from error
        stack.push_async_callback(phone.stop, STOP_S)
        watch = NetworkWatch(phone.network_changed)
        try:
            watch.start()
        except OSError as error:  # a container's seccomp filter: registrations notice later, by themselves
            log.warning("changes of the network cannot be watched: %s", error)
        stack.callback(watch.stop)
        station.overview.listen = (
            *(f"{host}:{port}" for host, port in phone.addresses),  # by UDP and TCP
            *(f"{kind}:{host}:{port}" for kind, host, port in phone.listeners if kind not in ("udp", "tcp")),
        )
        wiring = Wiring(hardware.gpio, run_dir, station.faults, loop)
        stack.callback(wiring.close)
        wire(config, hardware, wiring, station)
        control = ControlServer(
            run_dir / "portero.sock",
            station,
            stream,
            store,
            trace,
            stun_server=config.nat.stun_server or "",
            sound_check=make_sound_check(engine, hands_free, state_dir, stream),
            camera=engine,
        )
        try:
            await control.start()
        except ControlError as error:
            raise StartError(str(error)) from error
        stack.push_async_callback(control.stop)
        sounds.check()
        gc.collect()
        gc.freeze()  # what is here stays: the collector need not walk it during calls
        if camera is not None and camera.warm:
            loop.call_later(WARM_AFTER_S, engine.warm_camera)
        loop.call_later(EARLY_IMPORTS_S, import_early, hardware, config)
        if shakes_hands(config):
            loop.call_later(HANDSHAKES_S, loop.run_in_executor, None, prepare_handshakes)
        service = Service(engine.progresses, station.overview, loop)
        stack.callback(service.close)
        stream.subscribe(service.take)
        service.ready()
        log.info("ready")
        if copy is not None and loaded.spoilt is None:
            # On a thread that nobody waits for: a disk may take its time.
            threading.Thread(target=keep, args=(copy, loaded.data), name="last good", daemon=True).start()
        reason = await stopping
        log.info("stopping: %s", reason)
        service.stopping(reason)
        await door.stop()  # nothing opens any more; and a lock that stops at the same time is no fault
        station.stop(reason)


def ice_servers(nat: NatSection) -> IceServers:
    return IceServers(
        stun=split_server(nat.stun_server) if nat.stun_server else None,
        turn=split_server(nat.turn_server) if nat.turn_server else None,
        turn_username=nat.turn_username or "",
        turn_password=nat.turn_password.reveal() if nat.turn_password is not None else "",
        turn_transport=nat.turn_transport,
    )


def sip_configuration(config: Config, instance: str = "") -> Configuration:
    return Configuration(
        accounts=tuple(_account(account) for account in config.accounts),
        user_agent=config.sip.user_agent or f"Portero/{__version__}",
        instance=instance,
        spread_s=config.sip.fleet_spread_s if powered_up() else 0.0,
        redirect_to=tuple(Uri.parse(text) for text in config.calls.redirect_to),
        transfers=config.calls.transfer == "accept",
        house=_house(config) if config.users else None,
    )


def listeners(sip: SipSection) -> tuple[tuple[Transport, str, int], ...]:
    """(transport, host, port) of what is listened on beside UDP and TCP."""
    kinds: tuple[tuple[Transport, tuple[str, ...]], ...] = (
        ("tls", sip.tls_listen),
        ("ws", sip.ws_listen),
        ("wss", sip.wss_listen),
    )
    return tuple((transport, *split_listen_address(text)) for transport, texts in kinds for text in texts)


def server_identity(sip: SipSection, state_dir: Path) -> ServerIdentity | None:
    """What TLS and WSS listeners show; None where there are none."""
    if sip.tls_certificate_file is not None:
        certificate = Path(sip.tls_certificate_file)
        return ServerIdentity(certificate, Path(sip.tls_key_file) if sip.tls_key_file else certificate)
    hosts = [host for transport, host, _ in listeners(sip) if transport in SECURE]
    if not hosts:
        return None
    from firmware.net.own_certificate import own_certificate

    try:
        return own_certificate(state_dir, [host for host in hosts if not is_wildcard(host)])
    except TlsError as error:
        raise StartError(f"sip.tls_certificate_file: {error}") from error


def account_transport(section: AccountSection) -> AccountTransport:
    tls = section.tls
    return AccountTransport(
        TlsSettings(
            domain=Uri.parse(section.address).host,
            ca_file=Path(tls.ca_file) if tls.ca_file else None,
            fingerprint=tls.fingerprint or "",
            certificate_file=Path(tls.certificate_file) if tls.certificate_file else None,
            key_file=Path(tls.key_file) if tls.key_file else None,
        ),
        section.websocket_path,
    )


def _house(config: Config) -> House:
    accounts = (Uri.parse(account.address).user or "" for account in config.accounts)
    return House(
        users=tuple(User(user.name, user.password.reveal()) for user in config.users if user.password is not None),
        domain=config.house.domain or "",
        own_names=(*STATION_NAMES, *accounts),
        max_bindings=config.house.max_bindings,
        min_expires_s=config.house.min_expires_s,
        max_expires_s=config.house.max_expires_s,
    )


def _account(section: AccountSection) -> Account:
    address = Uri.parse(section.address)
    return Account(
        name=section.name,
        address=address,
        display_name=section.display_name or "",
        registrar=Uri.parse(section.registrar) if section.registrar else None,
        outbound_proxy=Uri.parse(section.outbound_proxy) if section.outbound_proxy else None,
        username=section.username or address.user or "",
        password=section.password.reveal() if section.password else "",
        expires_s=section.expires_s,
        session_expires_s=section.session_timer_s,
        register=section.register,
        backups=tuple(Uri.parse(text) for text in section.backups),
        outbound=section.outbound,
        gruu=section.gruu,
    )


# --- the board -----------------------------------------------------------------------------------------------


def load_board(config: Config) -> board.Board:
    """The board of the configuration, which was judged by it: every line that it names is there."""
    try:
        return board.load(config.station.board)
    except board.BoardError as error:
        raise StartError(str(error)) from error


def import_early(hardware: board.Board, config: Config) -> None:
    """The drivers' own modules and the codecs' libraries, a few MB: else the first press waits for them."""
    names = ["encodings.idna", f"drivers.audio.{hardware.audio.driver}"]  # Python wants the first at a host's name
    if hardware.camera is not None:
        names.append(f"drivers.camera.{hardware.camera.driver}")
    for name in names:
        with contextlib.suppress(ImportError):  # told where it is needed
            importlib.import_module(name)
    usable({*config.media.audio_codecs, *(name for account in config.accounts for name in account.audio_codecs)})
    gc.freeze()


def shakes_hands(config: Config) -> bool:
    """Whether DTLS or ICE is to be expected. Where it is not, the first call that wants it after all waits for its
    libraries."""
    browsers = bool(config.users) and bool(config.sip.ws_listen or config.sip.wss_listen)
    accounts = any(account.srtp == "dtls" or account.ice for account in config.accounts)
    return browsers or accounts or config.media.srtp == "dtls" or config.media.ice


def prepare_handshakes() -> None:
    """Load what DTLS and ICE take, on a thread."""
    from firmware.media.transport import prepare

    try:
        prepare()
    except ImportError as error:  # told again, with its call
        log.warning("no DTLS and no ICE: %s", error)
        return
    gc.collect()
    gc.freeze()  # as at the start: a hundred thousand objects that stay


def make_audio(spec: board.AudioSpec) -> AudioDevice:
    if spec.driver == "alsa":
        from drivers.audio.alsa import AlsaAudio

        return AlsaAudio(spec.card, spec.rate_hz, capture_pcm=spec.capture_pcm, playback_pcm=spec.playback_pcm)
    if spec.driver != "simulated":
        raise AudioError(f'there is no audio driver "{spec.driver}"; write "alsa" or "simulated"')
    from drivers.audio.simulated import SimulatedAudio

    return SimulatedAudio(
        spec.microphone,
        spec.speaker,
        spec.rate_hz,
        echo_gain=spec.echo_gain,
        echo_delay_ms=spec.echo_delay_ms,
    )


def make_hands_free(config: Config, spec: board.AudioSpec, state_dir: Path) -> "HandsFree | None":
    """None where the board has no canceller and the configuration names none."""
    section = config.audio
    canceller = section.canceller or spec.canceller
    if not canceller:
        return None
    from firmware.media import calibration
    from firmware.media.handsfree import HandsFree, HandsFreeSettings

    settings = HandsFreeSettings(
        canceller=canceller,
        suppression=section.noise_suppression,
        speaker_db=section.speaker_db,
        boost_db=section.noise_boost_db,
        night=(minutes(section.night_from), minutes(section.night_until)),
        night_most_db=section.night_most_db,
        microphone_db=section.microphone_db,
        half_duplex=section.half_duplex,
    )
    return HandsFree(settings, calibration.load(state_dir / calibration.FILE_NAME), Engine.HANDS_FREE_HZ)


def make_sound_check(
    engine: Engine, hands_free: "HandsFree | None", state_dir: Path, stream: EventStream
) -> Callable[[str], Awaitable[dict[str, object]]]:
    """Its modules come with its first use, which is rare."""

    @cache
    def check() -> "SoundCheck":
        from firmware.media import calibration
        from firmware.station.sound_check import SoundCheck

        return SoundCheck(engine, hands_free, state_dir / calibration.FILE_NAME, stream)

    async def run(action: str) -> dict[str, object]:
        return await check().run(action)

    return run


def make_camera(spec: board.CameraSpec) -> Camera:
    match spec.driver:
        case "simulated":
            from drivers.camera.simulated import SimulatedCamera

            return SimulatedCamera(spec.width, spec.height, spec.fps, spec.bitrate_kbps)
        case "picamera2":
            from drivers.camera import picamera2

            return picamera2.open_camera(spec.device, spec.width, spec.height, spec.fps, spec.bitrate_kbps)
        case "v4l2":
            from drivers.camera.v4l2 import V4l2Camera

            return V4l2Camera(spec.device, spec.width, spec.height, spec.fps, spec.bitrate_kbps, spec.form)
    raise CameraError(f'there is no camera driver "{spec.driver}"; write "picamera2", "v4l2" or "simulated"')


def make_standby_camera(spec: board.CameraSpec) -> Camera:
    """What legs see while the camera does not work, in the camera's own size."""
    from drivers.camera.placeholder import PlaceholderCamera

    return PlaceholderCamera(spec.width, spec.height)


def wire(config: Config, hardware: board.Board, wiring: Wiring, station: Station) -> None:
    """Everything of the configuration that hangs on one of the board's lines, relays apart."""
    buttons = station.buttons
    for button in config.buttons:
        wiring.contact(
            f"input {button.input}",
            hardware.inputs[button.input],
            partial(buttons.found, button.name),
            partial(buttons.changed, button.name),
        )
    for door in config.doors:
        if door.contact is not None:
            wiring.contact(
                f"input {door.contact}",
                hardware.inputs[door.contact],
                partial(station.contacts.found, door.name),
                partial(station.contacts.changed, door.name),
            )
    for light in config.lights:
        where = f"light {light.output}"
        wiring.light(where, hardware.lights[light.output], partial(station.lights.opened, light.output))


def spoilt(problem: Problem, since: str) -> tuple[str, str, str]:
    """(where, what, remedy) of the fault that the last good copy is in use."""
    what = f"the last good copy of {since} is in use: {problem}"
    remedy = f"mend {problem.file} (portero check-config {problem.file} shows all that is wrong), then restart"
    return "configuration", what, remedy


def keep(copy: Path, data: bytes) -> None:
    try:
        last_good.keep(copy, data)
    except OSError as error:
        log.warning("the configuration cannot be kept as the last good one: %s: %s", copy, error.strerror)


# --- small things --------------------------------------------------------------------------------------------


def _folders(config: Config) -> tuple[Path, Path]:
    paths = (Path(config.station.run_dir), Path(config.station.state_dir))
    for key, path in zip(("run_dir", "state_dir"), paths, strict=True):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"station.{key}: {path}: {error.strerror}; make it, or write another") from error
    return paths


def _to_journal(record: Record) -> None:
    level = logging.WARNING if isinstance(record.event, events.Fault) else logging.INFO
    if log.isEnabledFor(level):
        kind, fields = kind_of(record.event), fields_of(record.event)
        text = " ".join(f"{key}={value}" for key, value in fields.items() if value)
        named = {name: str(fields[key]) for name, key in _JOURNAL_FIELDS.items() if fields.get(key)}
        log.log(level, "%d %s %s", record.seq, kind, text, extra={"fields": {"EVENT": kind, **named}})


def _unexpected(stream: EventStream, context: dict[str, Any]) -> None:
    """A bug in a callback: told, and the station goes on ringing."""
    error = context.get("exception")
    log.error("%s", context.get("message"), exc_info=error)
    what = f"{type(error).__name__}: {error}" if error is not None else str(context.get("message"))
    stream.publish(events.Fault(where="program", what=what, remedy="see the journal; restart if calls fail"))


def _hand_over(loop: asyncio.AbstractEventLoop, receive: Callable[[Any], object], what: object) -> None:
    """From another thread to the loop's; nothing once the loop has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(receive, what)


def powered_up(uptime: Path = Path("/proc/uptime")) -> bool:
    """Whether the machine has just been switched on: then so have its neighbours."""
    try:
        return float(uptime.read_text().split()[0]) < POWER_UP_S
    except (OSError, ValueError, IndexError):
        return False


def _resolve(future: "asyncio.Future[str]", value: str) -> None:
    if not future.done():
        future.set_result(value)
