"""The file of the users' bindings: whole or not at all, seldom, and no obstacle to the start."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware.sip.location import Binding
from firmware.sip.uri import NameAddr
from firmware.station import bindings as module
from firmware.station.bindings import SELDOM_S, SOON_S, BindingsFile


class Loop:
    """The loop as far as the file knows it; what it would do on a thread is done at once."""

    def __init__(self) -> None:
        self.now = 500.0
        self.timer: tuple[float, Callable[[], None]] | None = None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, what: Callable[[], None]) -> "Loop":
        self.timer = (when, what)
        return self

    def cancel(self) -> None:
        self.timer = None

    def run_in_executor(self, _: None, work: Callable[..., str], *arguments: object) -> "Done":
        return Done(work(*arguments))

    def turn_to(self, now: float) -> None:
        while self.timer is not None and self.timer[0] <= now:
            self.now, what = self.timer
            self.timer = None
            what()
        self.now = now


class Done:
    def __init__(self, result: str) -> None:
        self._result = result

    def add_done_callback(self, call: Callable[["Done"], None]) -> None:
        call(self)

    def cancelled(self) -> bool:
        return False

    def result(self) -> str:
        return self._result


class Kept:
    def __init__(self, folder: Path, wall_s: float = 1_000_000.0) -> None:
        self.loop, self.wall_s = Loop(), wall_s
        self.path = folder / "bindings.json"
        self.bindings: list[Binding] = []
        self.results: list[str] = []
        self.file = BindingsFile(
            self.path,
            lambda: self.bindings,
            self.results.append,
            loop=self.loop,  # type: ignore[arg-type]
            wall=lambda: self.wall_s + self.loop.now - 500.0,
        )


CONTACT = NameAddr.parse('<sip:anna@192.0.2.7:5060;ob>;+sip.instance="<urn:uuid:1>"')


def a_binding(left_s: float = 300.0, now: float = 500.0) -> Binding:
    return Binding(
        "anna", CONTACT, now + left_s, 600, "call", 7, "udp", ("192.0.2.7", 5060), None, 0.5,
        (NameAddr.parse("<sip:edge;lr>"),), "<urn:uuid:1>", 1, "monitor",
    )  # fmt: skip


def test_what_was_written_is_read_back_with_the_time_that_passed(tmp_path: Path) -> None:
    before = Kept(tmp_path)
    before.bindings = [a_binding()]
    before.file.changed(soon=True)
    before.loop.turn_to(500.0 + SOON_S)
    after = Kept(tmp_path, wall_s=1_000_000.0 + SOON_S + SELDOM_S + 100)
    (binding,) = after.file.load()
    # 298 s were left, 700 passed, and a refresh of the last 600 may not have been written.
    assert binding == Binding(**{**_fields(a_binding()), "expires_at": pytest.approx(500.0 + 198.0)})
    assert before.results == [""]
    assert [path.name for path in tmp_path.iterdir()] == ["bindings.json"]


def _fields(binding: Binding) -> dict[str, object]:
    return {name: getattr(binding, name) for name in binding.__slots__}


def test_a_clock_that_was_not_set_yet_keeps_what_was_left(tmp_path: Path) -> None:
    before = Kept(tmp_path)
    before.bindings = [a_binding()]
    before.file.changed(soon=True)
    before.file.close()
    (binding,) = Kept(tmp_path, wall_s=0.0).file.load()
    assert binding.expires_at == 500.0 + 600


def test_refreshes_are_written_seldom_and_changes_soon(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for second in range(0, 600, 10):
        kept.loop.turn_to(500.0 + second)
        kept.file.changed(soon=False)
    assert kept.results == []
    kept.loop.turn_to(500.0 + SELDOM_S)
    assert kept.results == [""]
    kept.file.changed(soon=False)
    kept.file.changed(soon=True)
    kept.loop.turn_to(kept.loop.now + SOON_S)
    assert kept.results == ["", ""]


def test_nothing_is_written_at_the_end_where_nothing_changed(tmp_path: Path) -> None:
    Kept(tmp_path).file.close()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_leaves_the_old_file_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    kept.file.changed(soon=True)
    kept.loop.turn_to(510.0)
    old = kept.path.read_bytes()
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(module.os, "fsync", full)
        kept.bindings = [a_binding()]
        kept.file.changed(soon=True)
        kept.loop.turn_to(520.0)
    assert kept.results[-1] == "No space left on device"
    assert kept.path.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["bindings.json"]
    kept.loop.turn_to(520.0 + SELDOM_S)
    assert kept.results[-1] == ""
    assert len(kept.file.load()) == 1


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"written": 1}', '{"written": "x", "bindings": []}', '{"written": 1, "bindings": 5}',
     '{"written": 1, "bindings": [1, {}, null, {"user": "anna"}]}', "\0" * 2_000_000],
)  # fmt: skip
def test_a_damaged_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    kept = Kept(tmp_path)
    kept.path.write_text(text)
    assert kept.file.load() == []


def test_one_damaged_binding_does_not_take_the_others_along(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.bindings = [a_binding(), a_binding()]
    kept.file.changed(soon=True)
    kept.file.close()
    data = json.loads(kept.path.read_text())
    data["bindings"][0]["contact"] = "<sip:"
    kept.path.write_text(json.dumps(data))
    assert len(kept.file.load()) == 1


def test_it_writes_on_a_thread_of_a_real_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOON_S", 0.0)

    async def run() -> str:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[str] = loop.create_future()
        file = BindingsFile(
            tmp_path / "bindings.json", lambda: [a_binding(now=loop.time())], written.set_result, loop=loop
        )
        file.changed(soon=True)
        result = await asyncio.wait_for(written, 10)
        assert len(file.load()) == 1
        return result

    assert asyncio.run(run()) == ""
