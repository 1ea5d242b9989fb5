"""The report's own parts: the table of times, and the evidence that a failed test leaves."""

import base64
import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LONGEST = 200_000  # characters of one log that go into the page; the file beside it has all


@dataclass(frozen=True, slots=True)
class Timing:
    """`what` took `seconds`, in the test `where`."""

    what: str
    seconds: float
    where: str


def timings_table(timings: Iterable[Timing]) -> str:
    """HTML; empty where nothing was measured."""
    rows = "".join(
        f"<tr><td>{html.escape(one.what)}</td><td>{one.seconds:.2f}</td><td>{html.escape(one.where)}</td></tr>"
        for one in timings
    )
    return f"<h2>Times</h2><table><tr><th>what</th><th>s</th><th>test</th></tr>{rows}</table>" if rows else ""


def timings_text(timings: Iterable[Timing]) -> list[str]:
    """Lines of the same for the terminal."""
    return [f"{one.seconds:8.2f} s  {one.what}" for one in timings]


def write_evidence(folder: Path, name: str, text: str) -> str:
    """Keep `text` as a file of the failed test; the part that the page shows, its end."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return text if len(text) <= _LONGEST else f"... the beginning is in {folder / name}\n" + text[-_LONGEST:]


def text_part(name: str, text: str) -> str:
    """HTML of a log that opens on a click.

    HTML, and no text or picture of pytest-html's: that encodes each anew for every report of a test that is run
    again, and warns, as of a link, of a picture encoded already (4.2.0, basereport.py).
    """
    return f"<details><summary>{html.escape(name)}</summary><pre>{html.escape(text)}</pre></details>"


def picture_part(picture: Path) -> str:
    """HTML of a picture and its name."""
    kind = "png" if picture.suffix == ".png" else "jpeg"
    data = base64.b64encode(picture.read_bytes()).decode()
    name = html.escape(picture.name)
    return (
        f'<figure><img alt="{name}" src="data:image/{kind};base64,{data}"><figcaption>{name}</figcaption></figure>'
    )


def pictures(folder: Path) -> Iterator[Path]:
    """What monitors decoded while the test ran, oldest first."""
    yield from sorted((*folder.rglob("*.png"), *folder.rglob("*.jpg")), key=lambda path: path.stat().st_mtime)
