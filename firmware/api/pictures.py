"""What the camera sees, for the control socket: one JPEG, or one after the other."""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

from firmware.media.stills import Jpeg
from firmware.station.status import ControlError

WAIT_S = 6.0  # a camera that has to be opened first takes a second or two
EVERY_S = 0.2


class Watched(Protocol):
    """The media engine. LookupError says why there is no camera."""

    @property
    def camera_fault(self) -> str: ...

    def watch_camera(self, on_picture: Callable[[Jpeg], None], every_s: float) -> Callable[[], None]: ...


async def pictures(camera: Watched) -> AsyncGenerator[dict[str, Any], None]:
    """The newest picture, whenever the reader is ready for one. ControlError where none comes."""
    newest: Jpeg | None = None
    arrived = asyncio.Event()

    def keep(picture: Jpeg) -> None:
        nonlocal newest
        newest = picture
        arrived.set()

    try:
        stop = camera.watch_camera(keep, EVERY_S)
    except LookupError as error:
        raise ControlError(str(error)) from None
    try:
        while True:
            try:
                async with asyncio.timeout(WAIT_S):
                    await arrived.wait()
            except TimeoutError:
                why = camera.camera_fault or "see the station's journal"
                raise ControlError(f"the camera gives no picture: {why}") from None
            arrived.clear()
            assert newest is not None
            yield _as_dict(newest)
    finally:
        stop()


def _as_dict(picture: Jpeg) -> dict[str, Any]:
    taken = picture.taken_s + time.time() - time.monotonic()
    return {
        "width": picture.width,
        "height": picture.height,
        "taken": round(taken, 3),
        "jpeg": base64.b64encode(picture.data).decode(),
    }
