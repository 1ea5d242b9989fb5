"""Programs of the host, and the one error of an image build: a line that says what, where and what to do."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


class ImageError(Exception):
    """The image cannot be built; the text is one line for whoever typed the command."""


def run(
    *command: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str | None = None
) -> str:
    """What the program wrote. ImageError with the last line of its complaint where it fails."""
    words = [str(word) for word in command]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}
    try:
        done = subprocess.run(  # noqa: S603  # our own words
            words,
            env=environment,
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise ImageError(f"{words[0]} is missing; run tools/setup image") from error
    if done.returncode:
        if "PORTERO_TALK" in os.environ:
            sys.stderr.write(done.stdout + done.stderr)
        raise ImageError(f"{words[0]} failed ({done.returncode}): {_last_words(done.stderr or done.stdout)}")
    return done.stdout


def _last_words(text: str) -> str:
    """The complaint among the output: the last line that names an error, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling: Sequence[str] = [line for line in lines if line.lower().startswith(("e:", "error", "fatal"))]
    return (telling[:1] or lines or ["it said nothing"])[-1]
