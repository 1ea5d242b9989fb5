"""Memory of the station's process in a call, each call the first after a start: without picture and with it, plain,
with SRTP, and keyed by DTLS.

What is counted is what is resident (VmRSS), shared pages too, as the marks mean it; beside it stands what is this
process's alone, which a kernel short of memory cannot drop. The camera is the simulated one, 640x480 at 15 pictures
a second, encoded by libx264; the peer is baresip, which decodes the picture. The lock process is not in it.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench.programs import BARESIP_MODULES, Station, resident_mb, scratch_folder
from tests.bench.report import Row, Skipped, at_most
from tests.support.baresip import Baresip
from tests.support.ports import free_port

CALL_S = 8.0
PLAIN_MB, DTLS_MB = 60.0, 110.0


def run() -> list[Row]:
    if not (BARESIP_MODULES / "avcodec.so").exists():
        raise Skipped("baresip with its module avcodec is not installed")
    return [
        *in_a_call("plain RTP", PLAIN_MB, video=False),
        *in_a_call("plain RTP, with picture", PLAIN_MB),
        *in_a_call("SRTP, with picture", None, srtp="mandatory", encryption="srtp-mand"),
        *in_a_call("DTLS, with picture", DTLS_MB, srtp="dtls", encryption="dtls_srtp"),
    ]


def in_a_call(
    name: str, mark: float | None, *, video: bool = True, srtp: str = "off", encryption: str = ""
) -> list[Row]:
    with ExitStack() as stack:
        monitor = Baresip(
            stack.enter_context(scratch_folder()),
            "monitor",
            (free_port(2), free_port()),
            answer_mode="auto",
            video=video,
            encryption=encryption,
        )
        stack.callback(monitor.stop)
        monitor.start()
        station = Station(stack.enter_context(scratch_folder()), monitor.uri, video=video, srtp=srtp)
        stack.callback(station.stop)
        station.start()
        station.press()
        time.sleep(CALL_S)
        resident, own = resident_mb(station.pid), _own_mb(station.pid)
        station.ask("hangup")
        sent = station.wait_event("leg-ended")["statistics"]
    if not sent.get("audio_sent") or bool(sent.get("video_sent")) is not video:
        raise AssertionError(f"{name}: that is no call to measure: {sent}")
    title = f"memory in a call, {name}"
    row = Row(title, resident, unit="MB") if mark is None else at_most(title, resident, mark, "MB")
    return [row, Row(f"{title}: this process's alone", own, unit="MB")]


def _own_mb(pid: int) -> float:
    """What has been written to, and so is in no file."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"process {pid} has no memory")
