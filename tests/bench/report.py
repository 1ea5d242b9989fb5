"""What a bench hands back: rows for one table, and the reason where it cannot run here."""

from dataclasses import dataclass


class Skipped(Exception):
    """The bench cannot run on this machine; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One measured thing. `bar` is the mark to reach, in words; `ok` says if it was, None without one."""

    name: str
    ours: float | None
    peer: float | None = None
    ratio: float | None = None  # ours to peer's
    unit: str = ""
    bar: str = ""
    ok: bool | None = None


def at_most(name: str, ours: float, limit: float, unit: str) -> Row:
    return Row(name, ours, unit=unit, bar=f"<= {limit:g}", ok=ours <= limit)


def at_least(name: str, ours: float, limit: float, unit: str) -> Row:
    return Row(name, ours, unit=unit, bar=f">= {limit:g}", ok=ours >= limit)


def ratio_at_least(name: str, ours: float, peer: float, ratio: float, limit: float, unit: str) -> Row:
    return Row(name, ours, peer, ratio, unit, f">= {limit:g} x", ratio >= limit)


def ratio_at_most(name: str, ours: float, peer: float, ratio: float, limit: float, unit: str) -> Row:
    return Row(name, ours, peer, ratio, unit, f"<= {limit:g} x", ratio <= limit)


def table(rows: list[Row]) -> str:
    """The rows under their heads, numbers to three figures, aligned for a terminal."""
    cells = [("", "ours", "peer", "ratio", "unit", "bar", "")]
    for row in rows:
        verdict = {True: "ok", False: "MISSED", None: ""}[row.ok]
        cells.append(
            (row.name, _number(row.ours), _number(row.peer), _number(row.ratio), row.unit, row.bar, verdict)
        )
    widths = [max(len(line[column]) for line in cells) for column in range(7)]
    lines = []
    for line in cells:
        name, ours, peer, ratio, *words = line
        numbers = (ours.rjust(widths[1]), peer.rjust(widths[2]), ratio.rjust(widths[3]))
        padded = (name.ljust(widths[0]), *numbers, *(w.ljust(n) for w, n in zip(words, widths[4:], strict=True)))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
