#!/usr/bin/env python3
"""`make image` and `make image-lock`: the command line of the image build. docs/image.md says how to use it."""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from imaging import building, locking, pool, resolving, wanting
from imaging.shell import ImageError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
EXIT_POOL = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="image-build/build.py", description="Builds the OS image of a board.")
    parser.add_argument("--board", metavar="NAME", help="a folder of board/")
    parser.add_argument("--lock", action="store_true", help="write the lock anew from today's archive")
    parser.add_argument("--pool", type=Path, default=pool.default(), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build/image", metavar="DIR")
    parser.add_argument(
        "--check-reproducible", action="store_true", help="build root and boot images twice, and compare"
    )
    parser.add_argument(
        "--from-pool", action="store_true", help="with what the pool has, or status 3: fetch and emulate nothing"
    )
    arguments = parser.parse_args()
    if not arguments.board and not arguments.lock:
        parser.error("--board NAME, or --lock")
    try:
        folder = REPOSITORY / "board" / arguments.board if arguments.board else None
        wanted = wanting.read(HERE / "packages.toml", folder)
        lock_file = HERE / "lock" / f"{wanted['name']}.json"
        if arguments.lock:
            relock(wanted, lock_file, arguments.pool)
            return 0
        building.build(
            building.Order(
                repository=REPOSITORY,
                board=arguments.board,
                pool=arguments.pool,
                out=arguments.out,
                wanted=wanted,
                lock_file=lock_file,
                twice=arguments.check_reproducible,
                from_pool=arguments.from_pool,
            ),
            say,
        )
    except pool.PoolLacks as lacks:
        print(f"image: {lacks}", file=sys.stderr)
        return EXIT_POOL
    except ImageError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("image: interrupted", file=sys.stderr)
        return 130
    return 0


def relock(wanted: dict[str, Any], file: Path, into: Path) -> None:
    """The lock of today, written when its files are all in the pool."""
    with tempfile.TemporaryDirectory() as folder:
        lock = resolving.resolve(wanted, REPOSITORY / "pyproject.toml", Path(folder), into)
    with contextlib.suppress(ImageError):
        before = locking.read(file)
        if before.packages == lock.packages:
            lock = dataclasses.replace(lock, epoch=before.epoch)  # Debian's part stays what it is
    pool.fill(lock, into, say)
    locking.write(lock, file)
    say(f"{file}: {len(lock.packages)} packages, {len(lock.wheels)} Python packages")


def say(text: str) -> None:
    print(f"image: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
