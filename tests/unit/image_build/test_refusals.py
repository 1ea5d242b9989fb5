"""What cannot be built is refused in one line, and leaves nothing behind."""

import dataclasses
import hashlib
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from imaging import boards, building, debian, locking, pool
from imaging.locking import Lock, Package, Wheel
from imaging.shell import ImageError, run

REPOSITORY = Path(__file__).parents[3]


def package(name: str, content: bytes, url: str = "http://127.0.0.1:9/pool/{}.deb") -> Package:
    return Package(
        name, "1.0", len(content), hashlib.sha256(content).hexdigest(), url.format(name), ("root", "boot", "build")
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A board's folder that has all an image needs."""
    made = tmp_path / "boards/door"
    made.mkdir(parents=True)
    (made / "board.toml").write_text("[gpio]\n")
    (made / "image.toml").write_text('loader = "qemu"\n')
    (made / "cmdline.txt").write_text("console=ttyS0\n panic=10\n")
    return made


def test_a_whole_board_folder_is_read(folder: Path) -> None:
    board = boards.read(folder.parent, "door")
    assert (board.loader, board.cmdline, board.hybrid) == ("qemu", "console=ttyS0 panic=10", False)


@pytest.mark.parametrize("missing", ["board.toml", "image.toml", "cmdline.txt"])
def test_an_incomplete_board_folder_is_refused_with_what_it_lacks(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ImageError, match=rf"{missing}: missing; an image needs"):
        boards.read(folder.parent, "door")


def test_a_board_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ImageError, match=r"no such board; there are door"):
        boards.read(folder.parent, "gate")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('loader = "grub"', r"loader is 'grub'; write one of qemu, rpi"),
        ("loader = ", r"image\.toml: "),
        ('loader = "rpi"', r"config\.txt: missing; a Raspberry Pi's loader"),
        ('loader = "qemu"\ndisk_mb = "big"', r"disk_mb is 'big'; write whole megabytes"),
    ],
)
def test_a_wrong_image_toml_is_refused_with_the_place(folder: Path, text: str, complaint: str) -> None:
    (folder / "image.toml").write_text(text)
    with pytest.raises(ImageError, match=complaint):
        boards.read(folder.parent, "door")


def test_every_board_of_this_repository_with_an_image_is_whole() -> None:
    names = [file.parent.name for file in (REPOSITORY / "board").glob("*/image.toml")]
    assert {"qemu-virt", "rpi-debian", "rpi-raspios"} <= set(names)
    for name in names:
        boards.read(REPOSITORY / "board", name)


def test_a_lock_survives_being_written_and_read(tmp_path: Path) -> None:
    lock = Lock(5, (package("a", b"a"),), (Wheel("w", "2", "w-2-py3-none-any.whl", "00", "root"),))
    locking.write(lock, tmp_path / "x.json")
    assert dataclasses.replace(locking.read(tmp_path / "x.json"), digest="") == lock


@pytest.mark.parametrize("text", [None, "", "[]", '{"epoch": 1}', '{"epoch": 1, "packages": [], "wheels": []}'])
def test_a_lock_that_is_none_is_refused_with_the_remedy(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(ImageError, match=r"x\.json: .*make image-lock"):
        locking.read(tmp_path / "x.json")


def test_the_lock_of_this_repository_covers_what_packages_toml_asks_for() -> None:
    import tomllib

    wanted = tomllib.loads((REPOSITORY / "image-build/packages.toml").read_text())
    lock = locking.read(REPOSITORY / "image-build/lock/trixie-arm64.json")
    for group in ("root", "boot", "build"):
        locked = {one.name for one in lock.of_group(group)}
        assert set(wanted[group]["packages"]) <= locked, f"make image-lock: group {group}"
    assert len({one.file for one in lock.packages}) == len(lock.packages)


def test_an_altered_package_in_the_pool_is_refused_by_name(tmp_path: Path) -> None:
    lock = Lock(0, (package("a", b"good"), package("b", b"good too")), ())
    (tmp_path / "a.deb").write_bytes(b"good")
    (tmp_path / "b.deb").write_bytes(b"evil")
    with pytest.raises(ImageError, match=r"b\.deb: altered: .* delete it and build again"):
        pool.fill(lock, tmp_path, lambda text: None)


def test_a_missing_package_is_refused_by_name_when_there_is_no_network(tmp_path: Path) -> None:
    lock = Lock(0, (package("a", b"good"),), ())
    with pytest.raises(ImageError, match=r"a\.deb: .* is there a network\?"):
        pool.fill(lock, tmp_path, lambda text: None)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_that_is_whole_needs_no_network(tmp_path: Path) -> None:
    lock = Lock(0, (package("a", b"good"),), ())
    (tmp_path / "a.deb").write_bytes(b"good")
    pool.fill(lock, tmp_path, lambda text: pytest.fail(text))


WANTED = {"architecture": "arm64", "root": {"leave_out_modules": []}}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[str]:
    """A web server of one folder, as an archive is."""
    served = tmp_path / "served"
    served.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **more: object) -> None:
            super().__init__(*arguments, directory=str(served), **more)  # type: ignore[arg-type]

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{}}.deb"
    server.shutdown()
    server.server_close()


def test_a_version_that_the_archive_dropped_is_named_with_how_to_relock(tmp_path: Path, archive: str) -> None:
    lock = Lock(0, (package("a", b"good", archive),), ())
    with pytest.raises(ImageError, match=r"a 1\.0: the archive no longer has it; relock with make image-lock"):
        pool.fill(lock, tmp_path / "pool", lambda text: None)
    assert list((tmp_path / "pool").iterdir()) == []


def test_a_package_that_the_archive_altered_does_not_get_into_the_pool(tmp_path: Path, archive: str) -> None:
    (tmp_path / "served/a.deb").write_bytes(b"other")
    lock = Lock(0, (package("a", b"good", archive),), ())
    with pytest.raises(ImageError, match=r"a 1\.0: .* is not the file that was locked"):
        pool.fill(lock, tmp_path / "pool", lambda text: None)
    assert list((tmp_path / "pool").iterdir()) == []


def test_a_package_is_fetched_once_and_checked(tmp_path: Path, archive: str) -> None:
    (tmp_path / "served/a.deb").write_bytes(b"good")
    lock = Lock(0, (package("a", b"good", archive),), ())
    said: list[str] = []
    for _ in range(2):
        pool.fill(lock, tmp_path / "pool", said.append)
    assert (tmp_path / "pool/a.deb").read_bytes() == b"good"
    assert len(said) == 1


@pytest.fixture
def order(tmp_path: Path, folder: Path) -> building.Order:
    """A build of the board above, whose lock is good and whose pool is empty."""
    repository = tmp_path / "repository"
    (repository / "board").mkdir(parents=True)
    shutil.copytree(folder, repository / "board/door")
    lock_file = repository / "lock.json"
    locking.write(Lock(0, (package("a", b"good"),), ()), lock_file)
    return building.Order(repository, "door", tmp_path / "pool", tmp_path / "out", {}, lock_file)


@pytest.fixture
def good_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_runs_arm64", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_who_is_not_root_is_told_so_before_anything_is_fetched(
    order: building.Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ImageError, match="needs root"):
        building.build(order, lambda text: None)
    assert not order.out.exists() or list(order.out.iterdir()) == []


@pytest.mark.usefixtures("good_host")
def test_too_little_disk_is_said_with_how_much_is_needed(
    order: building.Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "NEED_BYTES", 1 << 60)
    with pytest.raises(ImageError, match=r"GB free, 1152921504\.6 GB needed; make room"):
        building.build(order, lambda text: None)
    assert not order.out.exists() or list(order.out.iterdir()) == []


@pytest.mark.usefixtures("good_host")
def test_a_pool_that_lacks_something_is_not_filled_where_that_is_not_wanted(
    order: building.Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "fill", lambda *arguments: pytest.fail("it fetches"))
    order = dataclasses.replace(order, from_pool=True, wanted=WANTED)
    with pytest.raises(pool.PoolLacks, match=r"lacks 1 files, a\.deb the first: make image BOARD=door fills it"):
        building.build(order, lambda text: None)
    order.pool.mkdir()
    (order.pool / "a.deb").write_bytes(b"good")
    with pytest.raises(pool.PoolLacks, match=r"lacks Debian's part \(base-\w{16}\.tar\): make image"):
        building.build(order, lambda text: None)


@pytest.mark.usefixtures("good_host")
def test_a_build_that_fails_leaves_the_image_of_before(order: building.Order) -> None:
    (order.out / "door").mkdir(parents=True)
    (order.out / "door/disk.img").write_text("the last one")
    with pytest.raises(ImageError, match=r"a\.deb"):
        building.build(order, lambda text: None)
    assert [path.name for path in order.out.iterdir() if path.name != ".lock"] == ["door"]
    assert (order.out / "door/disk.img").read_text() == "the last one"


@pytest.mark.usefixtures("good_host")
def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    order: building.Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    order.pool.mkdir()
    (order.pool / "a.deb").write_bytes(b"good")

    def fail(
        order: building.Order, lock: Lock, epoch: int, scratch: Path, *more: object, **options: object
    ) -> None:
        (scratch / "half").write_text("made")
        run("sh", "-c", "echo 'E: No space left on device' >&2; exit 1")

    monkeypatch.setattr(building, "_make_root", fail)
    monkeypatch.setattr(debian, "unpack", lambda package, to: None)
    monkeypatch.setattr(building, "_commit_time", lambda repository: 0)
    with pytest.raises(ImageError, match=r"sh failed \(1\): E: No space left on device"):
        building.build(order, lambda text: None)
    assert [path.name for path in order.out.iterdir()] == [".lock"]


@pytest.mark.usefixtures("good_host")
def test_two_builds_in_one_place_do_not_meet(order: building.Order, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*arguments: object, **more: object) -> None:
        with pytest.raises(ImageError, match="another image is being built there"):
            building.build(order, lambda text: None)
        raise ImageError("seen")

    monkeypatch.setattr(pool, "fill", again)
    with pytest.raises(ImageError, match="seen"):
        building.build(order, lambda text: None)


def test_the_command_ends_with_one_line_and_a_status(tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, REPOSITORY / "image-build/build.py", "--board", "no-such", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("image: ")
    assert done.stderr.count("\n") == 1
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == "[]"


def test_an_overlay_that_nobody_has_is_refused_with_its_place(tmp_path: Path) -> None:
    """Raspberry Pi's kernel brings overlays, Debian's none."""
    for name in ("broadcom/bcm2710-rpi-3-b.dtb", "broadcom/bcm2835.dtb", "overlays/cma.dtbo", "overlays/README"):
        file = tmp_path / "kernel/usr/lib/linux-image-6.12.1+rpt-rpi-v8" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    files = building._device_trees(tmp_path / "kernel")
    assert list(files) == ["bcm2710-rpi-3-b.dtb", "overlays/cma.dtbo"]

    building._check_overlays(REPOSITORY / "board/rpi-raspios/config.txt", files)
    config = tmp_path / "config.txt"
    config.write_text("#dtoverlay=imx708\ndtoverlay=cma,cma-128\ndtoverlay=\ndtparam=audio=on\ndtoverlay=imx219\n")
    with pytest.raises(ImageError, match=r"config\.txt: line 5: no overlay imx219"):
        building._check_overlays(config, files)

    shutil.rmtree(tmp_path / "kernel/usr/lib/linux-image-6.12.1+rpt-rpi-v8/overlays")
    files = building._device_trees(tmp_path / "kernel")
    assert list(files) == ["bcm2710-rpi-3-b.dtb"]
    building._check_overlays(REPOSITORY / "board/rpi-debian/config.txt", files)
