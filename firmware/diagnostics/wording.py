"""Events in the words of a technician: the lines of `doorctl events` and of a press's timeline."""

from firmware.event_json import fields_of, kind_of
from firmware.station import events
from firmware.station.events import Event

_KEY_WAYS = {"rtp": "RFC 4733", "info": "SIP INFO", "inband": "in-band"}


def describe(event: Event) -> str:
    """One event in the words of a technician, without its leg: the timeline's and `doorctl events`' line."""
    match event:
        case events.ButtonPressed():
            return f"button {event.button} pressed ({event.source})" + (
                "" if event.action == "ring" else f": {event.action}"
            )
        case events.StageStarted():
            return f"stage {event.stage} rings {', '.join(event.targets)}"
        case events.StageEnded():
            return f"stage {event.stage} ends: {event.reason}"
        case events.PressEnded():
            return f"visit {event.outcome}" + _because(event.reason) + _left_out(event.left_out)
        case events.DoorSound():
            return f"visitor hears {event.sound}"
        case events.InviteSent():
            if event.phone:
                return f"INVITE sent to the phone at {event.phone}"
            return "INVITE sent" + (f" by account {event.account}" if event.account else ", no server")
        case events.TransferAsked():
            whom = f"handed on to {event.target} by {event.by}"
            return whom if event.successor else f"{whom}: refused (calls.transfer)"
        case events.LegTrying():
            return "100 Trying"
        case events.LegRinging():
            return f"{event.status} ringing" + (", early media" if event.early_media else "")
        case events.LegAnswered():
            return "answered"
        case events.LegCancelled():
            why = _because(event.reason if event.reason != "given up" else "")
            return f"given up{why}{_left_out(event.left_out)}"
        case events.LegFailed():
            return f"failed: {status(event)}{_left_out(event.left_out)}"
        case events.LegEnded():
            by = {"us": "BYE sent", "peer": "BYE received", "network": "cut off"}[event.by]
            return f"{by} after {event.duration_s:.1f} s" + _because(event.reason) + _left_out(event.left_out)
        case events.RtpStarted():
            return f"first {sound_or_picture(event.media)} {event.direction}"
        case events.MediaLost():
            return f"no {sound_or_picture(event.media)} for {event.silent_s:.1f} s"
        case events.MediaFailed():
            return f"no {sound_or_picture(event.media)}: {event.why}"
        case events.IncomingCall():
            return f"call from {event.caller} ({event.source}; {event.proven or 'unproven'})"
        case events.IncomingRefused():
            return f"call from {event.caller} ({event.source}) refused: {event.status} {event.reason}"
        case events.DigitReceived():
            return f"key received ({_KEY_WAYS[event.source]})"
        case events.DigitRefused():
            return f"key refused ({_KEY_WAYS[event.source]}): it had gone out from the door's own microphone"
        case events.KeysSent():
            return f"{event.keys} keys pressed at the far end"
        case events.AccessGranted():
            return f"granted: {event.door}, {_evidence(event.evidence)}"
        case events.AccessRefused():
            return refusal(event)
        case events.AccessLocked():
            whose = f"codes of {event.source}" if event.source else "all codes"
            return f"{whose} locked for {event.lockout_s:.0f} s after {event.wrong_codes} wrong ones"
        case events.EventsLeftOut():
            if event.count:
                return f"{event.count} more {event.of}, not shown"
            return f"more {event.of} is only counted from now on"
        case events.RelayOn():
            return f"relay of {event.door} on for {event.pulse_ms} ms"
        case events.RelayReadBack():
            level = "on" if event.active else "off"
            wrong = "" if event.active == event.expected else f", should be {'on' if event.expected else 'off'}"
            return f"relay of {event.door} reads {level}{wrong}"
        case events.DoorOpened():
            return f"{event.door} is opened" + ("" if event.unlocked else ", and not by the station")
        case events.DoorClosed():
            return f"{event.door} is shut after {event.open_s:.1f} s"
        case events.RelayOff():
            return f"relay of {event.door} off after {event.on_ms} ms" + _because(event.reason)
        case events.DoorRefused():
            return f"relay of {event.door or 'the door'} refused: {event.reason}"
        case _:
            return _describe_station(event)


def _describe_station(event: Event) -> str:
    match event:
        case events.StationStarted():
            return f"Portero {event.version} started on {event.board}"
        case events.StationStopping():
            return f"stopping: {event.reason}"
        case events.DoorProcess():
            return "portero-door connected" if event.connected else f"portero-door away{_because(event.reason)}"
        case events.RegistrationChanged():
            answer = f": {event.status} {event.reason}".rstrip() if event.status or event.reason else ""
            retry = f", next attempt in {event.retry_s:.0f} s" if event.retry_s else ""
            at = f" at {event.server}" if event.server else ""
            return f"account {event.account} {event.state}{at}{answer}{retry}"
        case events.UserRegistered():
            return f"user {event.user} registered from {event.source}" + (
                f" ({event.agent})" if event.agent else ""
            )
        case events.UserUnregistered():
            return f"user {event.user} no longer at {event.contact}{_because(event.reason)}"
        case events.UserRefused():
            locked = f"; {event.source} is locked for {event.locked_s:.0f} s" if event.locked_s else ""
            return f"{event.request} as {event.user} from {event.source} refused: {event.reason}{locked}"
        case events.TextReceived():
            return f"text from {event.sender} ({event.source}): {event.text}"
        case events.TextDelivered():
            return f"text to {event.target}: {event.status} {event.reason}".rstrip()
        case events.CheckSync():
            return f"asked by {event.source} to fetch its configuration" + (
                f" (account {event.account})" if event.account else ""
            )
        case events.WatcherChanged(active=True):
            return f"{event.watcher} watches the state of the door ({event.proven})"
        case events.WatcherChanged():
            return f"{event.watcher} watches the door no longer: {event.reason}"
        case events.SoundChecked():
            what = "sound calibrated" if event.action == "calibrate" else "sound checked"
            margin = f", margin {event.margin_db:.0f} dB" if event.margin_db else ""
            return f"{what}: {'works' if event.works else event.wrong}{margin}"
        case events.Fault():
            return f"fault: {event.where}: {event.what}; {event.remedy}"
        case events.FaultCleared():
            return f"fault over: {event.where}"
        case _:
            shown = ", ".join(f"{key}={value}" for key, value in fields_of(event).items() if key != "press")
            return f"{kind_of(event)} {shown}".strip()


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _left_out(counts: dict[str, int]) -> str:
    return "".join(f"; {count} more {kind}, not shown" for kind, count in counts.items())


def sound_or_picture(media: str) -> str:
    return "sound" if media == "audio" else "picture"


def status(event: events.LegFailed) -> str:
    if not event.status:
        return event.reason or "no answer at all"
    return f"{event.status} {event.reason}".strip()


def refusal(event: events.AccessRefused) -> str:
    what = "code" if event.evidence.by == "code" else event.evidence.by
    door = f" for {event.door}" if event.door else ""
    return f"{what} refused{door} ({event.reason})"


def _evidence(evidence: events.Evidence) -> str:
    if evidence.by == "code":
        return f"code {evidence.code_name} from {evidence.party}"
    return f"by {evidence.by}" + (f" of {evidence.user}" if evidence.user else "")
