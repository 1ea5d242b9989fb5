"""What Debian's part of the root is made from."""

import os
from pathlib import Path

from imaging import debian, locking
from imaging.shell import run

WANTED = {"architecture": "arm64", "root": {"leave_out_modules": []}}


def test_times_of_a_checkout_do_not_get_into_the_initramfs(tmp_path: Path) -> None:
    overlay, root = tmp_path / "overlay", tmp_path / "root"
    for path in debian.INITRAMFS:
        file = overlay / path / "hooks/portero"
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
        for old in (file, file.parent):
            os.utime(old, (1e9, 1e9))
    command = debian.make_command(locking.Lock(0, (), ()), WANTED, overlay)
    for hook in command:
        if hook.startswith("--essential-hook="):
            run("sh", "-c", hook.removeprefix("--essential-hook="), "hook", root)
    for path in debian.INITRAMFS:
        laid = root / path / "hooks/portero"
        assert laid.stat().st_mode & 0o777 == 0o755
        assert min(laid.stat().st_mtime, laid.parent.stat().st_mtime) > 1e9
