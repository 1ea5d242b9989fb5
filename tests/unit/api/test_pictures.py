"""The camera's pictures over the control socket and by `doorctl snapshot`."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware.api import pictures as pictures_module
from firmware.media.stills import Jpeg

JPEGS = [b"\xff\xd8" + bytes([number]) * 100_000 + b"\xff\xd9" for number in range(3)]


class StrawCamera:
    def __init__(self) -> None:
        self.camera_fault = ""
        self.watchers: list[Callable[[Jpeg], None]] = []
        self.there = True
        self.missing = False

    def watch_camera(self, on_picture: Callable[[Jpeg], None], every_s: float) -> Callable[[], None]:
        if self.missing:
            raise LookupError("there is no camera in board.toml")
        self.watchers.append(on_picture)
        if self.there:
            asyncio.get_running_loop().call_soon(self.take, 0)
        return lambda: self.watchers.remove(on_picture)

    def take(self, number: int) -> None:
        for watcher in self.watchers:
            watcher(Jpeg(JPEGS[number], 640, 480, 0.0))


@pytest.fixture
def camera() -> StrawCamera:
    return StrawCamera()


async def doorctl(h: Any, *arguments: str) -> Any:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firmware.api.doorctl", "--run-dir", str(h.path.parent), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=h.path.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )


def test_a_snapshot_is_one_picture_and_nobody_watches_on(house: Any, camera: StrawCamera) -> None:
    async def scene() -> None:
        async with house() as h:
            h.server._camera = camera
            client = await h.client()
            answer = await client.ask(verb="snapshot", id=7)
            assert answer["id"] == 7
            result = answer["result"]
            assert (result["width"], result["height"]) == (640, 480)
            assert base64.b64decode(result["jpeg"]) == JPEGS[0]
            assert camera.watchers == []

    asyncio.run(scene())


def test_no_camera_and_a_broken_one_are_told_apart(
    house: Any, camera: StrawCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "WAIT_S", 0.05)

    async def scene() -> None:
        async with house() as h:
            client = await h.client()
            assert "no media" in (await client.ask(verb="snapshot"))["error"]
            h.server._camera = camera
            camera.missing = True
            for follow in (False, True):
                client = await h.client()
                answer = await client.ask(verb="snapshot", follow=follow)
                assert answer["error"] == "there is no camera in board.toml"
            client = await h.client()
            camera.missing, camera.there, camera.camera_fault = False, False, "unplugged"
            answer = await client.ask(verb="snapshot")
            assert answer["error"] == "the camera gives no picture: unplugged"
            assert camera.watchers == []

    asyncio.run(scene())


def test_a_follower_gets_the_newest_picture_each_time_and_is_forgotten_when_it_hangs_up(
    house: Any, camera: StrawCamera, until: Any
) -> None:
    async def scene() -> None:
        async with house() as h:
            h.server._camera = camera
            client = await h.client()
            assert (await client.ask(verb="snapshot", follow=True))["ok"]
            await until(lambda: bool(camera.watchers))
            camera.take(1)
            camera.take(2)
            assert base64.b64decode((await client.read())["picture"]["jpeg"]) == JPEGS[2]
            client.writer.close()
            await until(lambda: (camera.take(0), not camera.watchers)[1])

    asyncio.run(scene())


def test_a_follower_is_told_when_pictures_end(
    house: Any, camera: StrawCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "WAIT_S", 0.2)

    async def scene() -> None:
        async with house() as h:
            h.server._camera = camera
            client = await h.client()
            assert (await client.ask(verb="snapshot", follow=True))["ok"]
            camera.camera_fault = "unplugged"
            assert (await client.read())["end"] == "the camera gives no picture: unplugged"

    asyncio.run(scene())


def test_doorctl_writes_a_file_and_says_so(house: Any, camera: StrawCamera) -> None:
    async def scene() -> None:
        async with house() as h:
            h.server._camera = camera
            folder = h.path.parent
            process = await doorctl(h, "snapshot")
            out, _ = await process.communicate()
            assert (process.returncode, out.decode()) == (0, "snapshot.jpg: 640x480, 100 kB\n")
            assert (folder / "snapshot.jpg").read_bytes() == JPEGS[0]
            process = await doorctl(h, "snapshot", "other.jpg", "--json")
            out, _ = await process.communicate()
            said = json.loads(out)
            assert said.pop("taken") > 0
            assert said == {"file": "other.jpg", "bytes": len(JPEGS[0]), "width": 640, "height": 480}
            process = await doorctl(h, "snapshot", "-")
            out, _ = await process.communicate()
            assert out == JPEGS[0]
            process = await doorctl(h, "snapshot", "/nowhere/x.jpg")
            _, error = await process.communicate()
            assert (process.returncode, error) == (1, b"doorctl: /nowhere/x.jpg: No such file or directory\n")
            assert sorted(path.name for path in folder.glob("*.jpg*")) == ["other.jpg", "snapshot.jpg"]

    asyncio.run(scene())


def test_doorctl_follows_as_motion_jpeg_until_ctrl_c(house: Any, camera: StrawCamera, until: Any) -> None:
    async def scene() -> None:
        async with house() as h:
            h.server._camera = camera
            process = await doorctl(h, "snapshot", "--follow", "-")
            async with asyncio.timeout(20):
                for number in range(3):
                    if number:
                        camera.take(number)
                    assert await process.stdout.readexactly(len(JPEGS[number])) == JPEGS[number]
                process.send_signal(signal.SIGINT)
                out, error = await process.communicate()
            assert (process.returncode, out, error) == (0, b"", b"")

    asyncio.run(scene())
