"""Chromium without a screen, with JsSIP as the user agent in its page: what a resident's browser is to the door.

The test drives the page over Chrome's DevTools protocol; the page notes what happens in `seen`, oldest first. It
trusts one key by its hash, so the certificate of the station is judged like any other.
"""

import base64
import hashlib
import json
import re
import subprocess
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.support.certificates import Certificate
from tests.support.kamailio import DOMAIN
from tests.support.processes import Program
from tests.support.waiting import PATIENCE_S, wait_until

JSSIP = Path(__file__).parents[2] / "build" / "browser" / "jssip.min.js"  # tools/setup puts it there

_PAGE = """\
const seen = [];
const note = (what, more) => seen.push({what, ...more});
const phone = new JsSIP.UA({
  sockets: [new JsSIP.WebSocketInterface(URL)], uri: `sip:${USER}@${DOMAIN}`, password: PASSWORD,
  register_expires: 120, connection_recovery_min_interval: 1, connection_recovery_max_interval: 2,
  session_timers: false,
});
phone.on('connected', () => note('connected'));
phone.on('disconnected', (event) => note('disconnected', {code: event.code || 0}));
phone.on('registered', () => note('registered'));
phone.on('registrationFailed', (event) => note('registration-failed', {cause: event.cause}));
phone.on('newMessage', (event) => note('message', {
  by: event.originator, text: event.request.body, from: event.request.from.uri.toString(),
}));
let ringing = null;
phone.on('newRTCSession', (event) => {
  if (event.originator === 'local') return;
  ringing = event.session;
  note('invite', {from: event.request.from.display_name || '', sdp: event.request.body || ''});
  ringing.on('failed', (end) => note('ended', {by: end.originator, cause: end.cause}));
  ringing.on('confirmed', () => note('talking'));
  ringing.on('peerconnection', ({peerconnection}) => {
    peerconnection.ontrack = ({streams}) => {
      const speaker = new Audio();
      speaker.srcObject = streams[0];
      speaker.play();
    };
  });
  ringing.on('ended', (end) => note('over', {by: end.originator, cause: end.cause}));
});
const answer = (hz) => {
  const context = new AudioContext(), tone = context.createOscillator();
  const microphone = context.createMediaStreamDestination();
  tone.frequency.value = hz;
  tone.connect(microphone);
  tone.start();
  ringing.answer({mediaStream: microphone.stream, pcConfig: {iceServers: []}, rtcAnswerConstraints: {}});
};
const counts = async () => {
  const found = {};
  for (const each of (await ringing.connection.getStats()).values()) {
    if (each.type === 'inbound-rtp') found[each.kind] = {
      packets: each.packetsReceived, energy: each.totalAudioEnergy || 0, frames: each.framesDecoded || 0,
    };
    if (each.type === 'transport') found.dtls = each.dtlsState;
  }
  return found;
};
const names = () => ['localDescription', 'remoteDescription'].map(
  (side) => /a=ice-ufrag:(\\S+)/.exec(ringing.connection[side].sdp)[1]);
const restart = () => ringing.renegotiate({rtcOfferConstraints: {iceRestart: true}}, () => note('restarted'));
const say = (target, text) => phone.sendMessage(target, text, {eventHandlers: {
  succeeded: (event) => note('delivered', {status: event.response.status_code}),
  failed: (event) => note('not-delivered', {cause: event.cause}),
}});
phone.start();
"""


class Browser:
    """`user` at `url` (ws://… or wss://…). Of TLS it trusts `certificate` alone."""

    def __init__(
        self, folder: Path, user: str, url: str, password: str, *, certificate: Certificate | None = None
    ) -> None:
        self.user = user
        self._settings = {"URL": url, "USER": user, "DOMAIN": DOMAIN, "PASSWORD": password}
        command = [
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--disable-component-update", "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}"),
            *("--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required"),
            "--disable-features=WebRtcHideLocalIpsWithMdns",
        ]
        if certificate is not None:
            command.append(f"--ignore-certificate-errors-spki-list={_key_hash(certificate)}")
        self.program = Program(
            f"chromium-{user}", [*command, "about:blank"], folder, environment={"HOME": str(folder)}
        )
        self._page: ClientConnection | None = None
        self._open = ExitStack()
        self._asked = 0

    def start(self) -> None:
        """Open the page and start the phone in it."""
        self.program.start()
        found = wait_until(self._devtools, "chromium is ready", poll_s=0.1)
        with urllib.request.urlopen(f"http://{found}/json/list", timeout=PATIENCE_S) as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        self._page = self._open.enter_context(connect(pages[0]["webSocketDebuggerUrl"], max_size=None))
        settings = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in self._settings.items())
        # As one script: what it declares is then there for every later question.
        self.evaluate(JSSIP.read_text() + ";\n" + settings + _PAGE + ";0")

    def _devtools(self) -> str:
        assert self.program.alive, f"chromium ended at once:\n{self.program.log_text()[-2000:]}"
        found = re.findall(r"DevTools listening on ws://([^/]+)/", self.program.log_text())
        return found[-1] if found else ""

    def stop(self) -> None:
        self._open.close()
        self.program.kill()  # its helpers are of the same session

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; AssertionError where it throws."""
        assert self._page is not None
        self._asked += 1
        question = {"expression": script, "returnByValue": True, "awaitPromise": True}
        self._page.send(json.dumps({"id": self._asked, "method": "Runtime.evaluate", "params": question}))
        while (answer := json.loads(self._page.recv(timeout=PATIENCE_S))).get("id") != self._asked:
            pass
        assert "exceptionDetails" not in answer["result"], answer["result"]
        return answer["result"]["result"].get("value")

    # --- the phone ------------------------------------------------------------------------------------------

    def seen(self, what: str, **fields: object) -> list[dict[str, Any]]:
        """What happened of this kind, with these values, oldest first."""
        told: list[dict[str, Any]] = self.evaluate("seen")
        return [
            each
            for each in told
            if each["what"] == what and all(each[name] == value for name, value in fields.items())
        ]

    def wait_seen(self, what: str, count: int = 1, **fields: object) -> dict[str, Any]:
        """The `count`th of this kind."""

        def enough() -> list[dict[str, Any]]:
            found = self.seen(what, **fields)
            return found if len(found) >= count else []

        try:
            return wait_until(enough, f"{self.user}'s browser: {what} {fields or ''}", poll_s=0.1)[count - 1]
        except AssertionError as error:
            raise AssertionError(f"{error}; it saw {self.evaluate('seen')}") from None

    def say(self, target: str, text: str) -> None:
        """Send a MESSAGE."""
        self.evaluate(f"say({json.dumps(target)}, {json.dumps(text)}); 0")

    def answer(self, tone_hz: float) -> None:
        """Answer what rings; a tone is what the microphone hears."""
        self.evaluate(f"answer({tone_hz}); 0")

    def counts(self) -> dict[str, Any]:
        """What of the call arrived, by kind: packets, energy of sound, frames of pictures."""
        found: dict[str, Any] = self.evaluate("counts()")
        return found

    def press_keys(self, keys: str) -> None:
        self.evaluate(f"ringing.sendDTMF({json.dumps(keys)}, {{transportType: 'RFC2833'}}); 0")

    def ice_names(self) -> list[str]:
        """The browser's ICE user name, and the door's."""
        found: list[str] = self.evaluate("names()")
        return found

    def restart_ice(self) -> None:
        """Offer the call anew under other names; `restarted` is seen with the answer."""
        self.evaluate("restart(); 0")

    def hang_up(self) -> None:
        self.evaluate("ringing.terminate(); 0")

    def refuse(self, status: int) -> None:
        """Answer the INVITE that rings with this."""
        self.evaluate(f"ringing.terminate({{status_code: {status}}}); 0")


def _key_hash(certificate: Certificate) -> str:
    """Base64 of the SHA-256 of the public key, as the switch wants it."""
    key = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout", "-in", str(certificate.certificate_file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    body = "".join(line for line in key.splitlines() if not line.startswith("-----"))
    return base64.b64encode(hashlib.sha256(base64.b64decode(body)).digest()).decode()
