"""Draws docs/timeline.svg from a real call:

    portero demo --once --json | python docs/draw_timeline.py > docs/timeline.svg

A ladder: the visitor and the door on the left, the lock process between, the monitor on the right; time runs down,
compressed where nothing happens. Standard library only.
"""

import json
import sys
from html import escape

LANES = {"door": 190, "lock": 430, "flat": 670}
ROW, TOP, WIDTH = 34, 96, 860
BLUE, GREEN, RED, GREY = "#2563a8", "#2e7d4f", "#b3412f", "#5f6b7a"

# kind of event -> (from, to, text, colour); the same lane twice is a mark on it
ARROWS = {
    "button-pressed": ("door", "door", "the visitor presses", BLUE),
    "invite-sent": ("door", "flat", "INVITE", GREY),
    "leg-ringing": ("flat", "door", "183 with its address", GREY),
    "rtp-started video sent": ("door", "flat", "picture, before the answer", BLUE),
    "leg-answered": ("flat", "door", "200 OK: they talk, hands-free", GREY),
    "digit-received": ("flat", "door", "a key of the code", GREEN),
    "access-granted": ("door", "lock", "the code is right: pulse", GREEN),
    "relay-on": ("lock", "lock", "relay on", RED),
    "relay-read-back": ("lock", "lock", "read back", RED),
    "relay-off": ("lock", "lock", "relay off, after its bound", RED),
    "leg-ended": ("door", "flat", "BYE", GREY),
}


def steps(timeline: list[dict]) -> list[tuple[float, str, str, str, str]]:
    chosen, seen = [], set()
    for record in timeline:
        kind = record["kind"]
        if kind == "rtp-started":
            kind += f" {record['media']} {record['direction']}"
        if kind == "relay-read-back":
            if not record["expected"]:
                continue
        elif kind != "digit-received" and kind in seen:
            continue
        seen.add(kind)
        if kind in ARROWS:
            chosen.append((record["ms"], *ARROWS[kind]))
    return chosen


def draw(timeline: list[dict]) -> str:
    rows = steps(timeline)
    height = TOP + ROW * len(rows) + 40
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="14">',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#fbfbf8"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="context-stroke"/></marker></defs>',
    ]
    for lane, title, below in (
        ("door", "door station", "portero"),
        ("lock", "relay", "portero-door"),
        ("flat", "monitor in the flat", "any SIP phone"),
    ):
        x = LANES[lane]
        out.append(f'<text x="{x}" y="34" text-anchor="middle" font-weight="600" fill="#1c2733">{title}</text>')
        out.append(f'<text x="{x}" y="54" text-anchor="middle" font-size="12" fill="{GREY}">{below}</text>')
        out.append(f'<line x1="{x}" y1="66" x2="{x}" y2="{height - 20}" stroke="#c9cfd6" stroke-dasharray="3 4"/>')
    for number, (ms, start, end, text, colour) in enumerate(rows):
        y = TOP + ROW * number
        out.append(
            f'<text x="92" y="{y + 5}" text-anchor="end" font-size="12" fill="{GREY}" '
            f'font-family="ui-monospace, monospace">{ms:.0f} ms</text>'
        )
        a, b = LANES[start], LANES[end]
        if start == end:
            out.append(f'<circle cx="{a}" cy="{y}" r="6" fill="{colour}"/>')
            out.append(f'<text x="{a + 14}" y="{y + 5}" fill="{colour}">{escape(text)}</text>')
        else:
            gap = 8 if b > a else -8
            out.append(
                f'<line x1="{a + gap}" y1="{y}" x2="{b - gap}" y2="{y}" stroke="{colour}" stroke-width="1.6" '
                f'marker-end="url(#tip)"/>'
            )
            middle = (a + b) / 2
            out.append(
                f'<text x="{middle}" y="{y - 6}" text-anchor="middle" fill="{colour}" paint-order="stroke" '
                f'stroke="#fbfbf8" stroke-width="5">{escape(text)}</text>'
            )
    out.append("</svg>")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(draw(json.load(sys.stdin)["timeline"]))
