"""Draws the wiring of a board from its board.toml:

    python docs/draw_wiring.py                      # all of board/, into docs/wiring-NAME.svg
    python docs/draw_wiring.py /data/portero/board  # your own, to standard output

The 40-pin header with the used pins in colour, and what is connected to each; for a board without that header, its
lines. A test keeps the pictures in step with the data. Standard library only.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script, from anywhere

import board
from board.chips import HEADER_PINS, KNOWN

DOCS = Path(__file__).parent
INK, GREY, PALE, PAPER, CARD = "#1c2733", "#5f6b7a", "#c9cfd6", "#fbfbf8", "#ffffff"
RED, BLUE, GREEN, AMBER, VIOLET = "#b3412f", "#2563a8", "#2e7d4f", "#a8690b", "#7a5ea8"
POWER = {1: "3.3 V", 17: "3.3 V", 2: "5 V", 4: "5 V"}
GROUND = {6, 9, 14, 20, 25, 30, 34, 39}
_SOUND = {
    ("alsa", True): "USB card: microphone and speaker",
    ("alsa", False): "the PCMs of asound.conf",
    ("simulated", False): "simulated",
}
LINES = {pin: line for line, pin in HEADER_PINS.items()}

WIDTH, STRIP_WIDTH, TOP, PITCH = 1150, 528, 118, 27
BLOCK_X, BLOCK_W, GAP = 28, 420, 12
PIN_X = (688, 722)  # of the odd and the even column
LABEL_W = 66
HEIGHTS = {"relay": 112, "light": 64, "button": 58, "contact": 58}
COLOURS = {"relay": RED, "light": AMBER, "button": BLUE, "contact": GREEN}


@dataclass(frozen=True)
class Use:
    """What is connected to one line. `closed`: its contact is closed at rest."""

    key: str
    kind: str
    line: int
    active_low: bool
    pull: str = "none"
    closed: bool = False

    @property
    def colour(self) -> str:
        return COLOURS[self.kind]


def uses(hardware: board.Board) -> list[Use]:
    found = [
        Use(
            f"inputs.{name}",
            "button" if name.startswith("button") else "contact",
            line.line,
            line.active_low,
            line.pull,
            line.pull == ("down" if line.active_low else "up"),
        )
        for name, line in hardware.inputs.items()
    ]
    found += [Use(f"outputs.{name}", "relay", out.line, out.active_low) for name, out in hardware.outputs.items()]
    found += [Use(f"lights.{name}", "light", out.line, out.active_low) for name, out in hardware.lights.items()]
    return found


def draw(hardware: board.Board) -> str:
    chips = {line.chip for table in (hardware.inputs, hardware.outputs) for line in table.values()}
    on_header = all(any(pin for pin in KNOWN[chip].header.values()) for chip in chips if chip in KNOWN)
    body, height = (_header if on_header else _strip)(hardware)
    width = WIDTH if on_header else STRIP_WIDTH
    title = f"Board {hardware.name}"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif" font-size="13">',
            f"<title>{escape(title)}: what is wired where</title>",
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>',
            _text(BLOCK_X, 40, title, INK, size=20, weight=600),
            *body,
            "</svg>\n",
        )
    )


# --- the 40-pin header -----------------------------------------------------------------------------------------


def _header(hardware: board.Board) -> tuple[list[str], int]:
    ordered = sorted(uses(hardware), key=lambda use: _wire_y(use))
    reserved = {line: each for each in hardware.reserved for line in each.lines}
    blocks, bottom = _blocks(ordered)
    out = [
        _text(
            BLOCK_X, 64, "Each symbol for ground is a wire to any black pin. Colours: pin, wire and device.", GREY
        ),
        _text(BLOCK_X, 84, _machines(hardware), GREY),
        f'<rect x="{PIN_X[0] - 16}" y="{TOP - 18}" width="{PIN_X[1] - PIN_X[0] + 32}" height="{20 * PITCH + 10}" '
        f'rx="6" fill="#2b3540"/>',
        *_wires(ordered, blocks),
    ]
    used = {use.line: use for use in ordered}
    for pin in range(1, 41):
        out += _pin(pin, used, {line: each.name for line, each in reserved.items()})
    for use in ordered:
        out += _block(use, blocks[use.key])
    out += _notes(hardware, {each.name: each.why for each in hardware.reserved})
    return out, max(bottom, TOP + 20 * PITCH + 10) + 16


def _machines(hardware: board.Board) -> str:
    chips = {"brcm,bcm2711": "4, 400, CM4", "brcm,bcm2837": "3, CM3, Zero 2 W", "brcm,bcm2712": "5"}
    return "Raspberry Pi " * bool(hardware.machines) + ", ".join(
        chips.get(each, each) for each in hardware.machines
    )


def _pin_y(pin: int) -> int:
    return TOP + (pin - 1) // 2 * PITCH


def _wire_y(use: Use) -> float:
    """Where its wire leaves the header on the left: that of an even pin passes between two odd ones."""
    pin = HEADER_PINS[use.line]
    return _pin_y(pin) if pin % 2 else _pin_y(pin) - PITCH / 2


def _pin(pin: int, used: dict[int, Use], reserved: dict[int, str]) -> list[str]:
    x, y = PIN_X[1 - pin % 2], _pin_y(pin)
    line = LINES.get(pin)
    use = used.get(line) if line is not None else None
    if pin in POWER:
        fill, label, colour = ("#d9822b" if pin in (1, 17) else "#c23b3b"), POWER[pin], GREY
    elif pin in GROUND:
        fill, label, colour = "#000000", "ground", GREY
    elif use is not None:
        fill = colour = use.colour
        label = f"GPIO {line}"
    elif line in (0, 1):
        fill, label, colour = "#8d98a5", "EEPROM", "#9aa4b0"
    elif line in reserved:
        fill, label, colour = VIOLET, f"GPIO {line}  {reserved[line]}", VIOLET
    else:
        fill, label, colour = "#8d98a5", f"GPIO {line}", "#9aa4b0"
    weight = 600 if use is not None else 400
    side = -1 if pin % 2 else 1
    number = _text(x, y + 3.5, str(pin), "#ffffff", size=9, anchor="middle")
    return [
        f'<circle cx="{x}" cy="{y}" r="10" fill="{fill}" stroke="{PAPER}" stroke-width="1.2"/>',
        number,
        _text(x + side * 24, y + 4.5, label, colour, weight=weight, anchor="end" if side < 0 else "start"),
    ]


def _blocks(ordered: Iterable[Use]) -> tuple[dict[str, int], int]:
    """Where each block begins, and where the last ends."""
    y, at = TOP - 18, {}
    for use in ordered:
        at[use.key] = y
        y += HEIGHTS[use.kind] + GAP
    return at, y - GAP


def _wires(ordered: list[Use], blocks: dict[str, int]) -> list[str]:
    """Each with a lane of its own for its vertical part; those that go up are laid from right to left, those that
    go down from left to right, so that none crosses another."""
    right = PIN_X[0] - 24 - LABEL_W
    lanes: dict[str, int] = {}
    up = [use for use in ordered if _block_y(use, blocks) <= _wire_y(use)]
    for number, use in enumerate(up):
        lanes[use.key] = right - 14 * (number + 1)
    down = [use for use in ordered if use not in up]
    for number, use in enumerate(down):
        lanes[use.key] = BLOCK_X + BLOCK_W + 18 + 14 * number
    out = []
    for use in ordered:
        lane, start, end = lanes[use.key], _wire_y(use), _block_y(use, blocks)
        pin = HEADER_PINS[use.line]
        first = f"M{PIN_X[0] - 24 - LABEL_W},{start:g}"
        if pin % 2 == 0:  # from its pin to the gap, then over the odd column
            first = f"M{PIN_X[1]},{_pin_y(pin)} L{(PIN_X[0] + PIN_X[1]) / 2:g},{start:g}"
        out.append(
            f'<path d="{first} H{lane} V{end:g} H{BLOCK_X + BLOCK_W}" fill="none" stroke="{use.colour}" '
            'stroke-width="2.2" stroke-linejoin="round"/>'
        )
    return out


def _block_y(use: Use, blocks: dict[str, int]) -> float:
    """Of the terminal that its wire goes to."""
    return blocks[use.key] + (34 if use.kind == "relay" else HEIGHTS[use.kind] / 2)


def _notes(hardware: board.Board, reserved: dict[str, str]) -> list[str]:
    x, y = PIN_X[1] + 134, TOP - 18
    out = []
    camera = hardware.camera
    lines = [
        ("Supply", "5 V, 3 A at the USB-C or Micro-USB socket,"),
        ("", "or a PoE HAT that leaves the header free"),
    ]
    if camera is not None and camera.driver == "v4l2":
        lines.append(("Camera", f"USB (UVC), {camera.width}x{camera.height}, {camera.fps}/s"))
    elif camera is not None:
        lines.append(("Camera", f"flat cable (CSI), {camera.width}x{camera.height}, {camera.fps}/s"))
    lines.append(("Sound", _SOUND[hardware.audio.driver, bool(hardware.audio.card)]))
    if hardware.audio.card:
        lines.append(("", "on one card, so on one clock"))
    lines += [(f"{name}", why.split(",")[0]) for name, why in reserved.items()]
    for title, text in lines:
        if title:
            y += 30
            out.append(_text(x, y, title, VIOLET if title in reserved else INK, weight=600))
        y += 17
        out.append(_text(x, y, text, GREY, size=11.5))
    return out


# --- devices ---------------------------------------------------------------------------------------------------


def _block(use: Use, y: int) -> list[str]:
    height = HEIGHTS[use.kind]
    edge = BLOCK_X + BLOCK_W
    out = [
        f'<rect x="{BLOCK_X}" y="{y}" width="{BLOCK_W}" height="{height}" rx="8" fill="{CARD}" stroke="{PALE}"/>',
        f'<rect x="{BLOCK_X}" y="{y}" width="5" height="{height}" rx="2" fill="{use.colour}"/>',
    ]
    at = y + (34 if use.kind == "relay" else height / 2)
    out.append(_terminal(edge, at, use.colour))
    match use.kind:
        case "relay":
            out += _relay(use, y)
        case "light":
            out += _lamp(use, y)
        case _:
            out += _contact(use, y)
    return out


def _contact(use: Use, y: int) -> list[str]:
    middle = y + HEIGHTS[use.kind] / 2
    at_rest = "closed at rest" if use.closed else "open at rest"
    level = "low" if use.active_low else "high"
    x = BLOCK_X + 316
    lever = f"M{x},{middle} L{x + 38},{middle if use.closed else middle - 14}"
    return [
        _text(BLOCK_X + 18, middle - 4, use.key, INK, weight=600),
        _text(BLOCK_X + 18, middle + 14, f"{at_rest}; active {level}, pull {use.pull}", GREY, size=11.5),
        _line(BLOCK_X + BLOCK_W, middle, x + 40, middle, use.colour),
        f'<path d="{lever}" stroke="{use.colour}" stroke-width="2.2" fill="none"/>',
        f'<circle cx="{x}" cy="{middle}" r="3.5" fill="{use.colour}"/>',
        f'<circle cx="{x + 40}" cy="{middle}" r="3.5" fill="{use.colour}"/>',
        _line(x, middle, x - 24, middle, INK),
        *_ground(x - 24, middle),
    ]


def _lamp(use: Use, y: int) -> list[str]:
    middle = y + HEIGHTS["light"] / 2
    x = BLOCK_X + 348
    return [
        _text(BLOCK_X + 18, middle - 4, use.key, INK, weight=600),
        _text(BLOCK_X + 18, middle + 14, "lamp of its own supply, switched by a transistor", GREY, size=11.5),
        _line(BLOCK_X + BLOCK_W, middle, x + 16, middle, use.colour),
        f'<rect x="{BLOCK_X + BLOCK_W - 50}" y="{middle - 5}" width="28" height="10" fill="{CARD}" '
        f'stroke="{use.colour}" stroke-width="1.6"/>',
        _text(BLOCK_X + BLOCK_W - 36, middle - 10, "1 kΩ", GREY, size=10, anchor="middle"),
        f'<circle cx="{x}" cy="{middle}" r="14" fill="none" stroke="{use.colour}" stroke-width="1.6"/>',
        f'<path d="M{x + 6},{middle - 8} V{middle + 8} M{x + 6},{middle - 3} L{x - 8},{middle - 10} '
        f'M{x + 6},{middle + 3} L{x - 8},{middle + 10}" stroke="{use.colour}" stroke-width="1.6" fill="none"/>',
    ]


def _relay(use: Use, y: int) -> list[str]:
    """The module, its contact, the strike in a circuit of its own with a diode across it."""
    edge, top = BLOCK_X + BLOCK_W, y + 34
    level = "low" if use.active_low else "high"
    coil, contact, strike, supply = edge - 64, edge - 150, edge - 252, edge - 362
    low = y + 88
    return [
        _text(BLOCK_X + 18, y + 22, use.key, INK, weight=600),
        _text(BLOCK_X + 134, y + 22, f"on at {level}, off from power-on; VCC 5 V", GREY, size=11.5),
        # the coil's side, on the module
        f'<rect x="{contact - 22}" y="{y + 42}" width="{edge - contact - 8}" height="62" rx="5" fill="none" '
        f'stroke="{PALE}" stroke-dasharray="4 3"/>',
        _text(contact - 14, y + 99, "relay module", GREY, size=10),
        f'<path d="M{edge},{top} H{coil} V{y + 52}" stroke="{use.colour}" stroke-width="2.2" fill="none"/>',
        f'<rect x="{coil - 16}" y="{y + 52}" width="32" height="24" fill="{CARD}" stroke="{use.colour}" '
        'stroke-width="1.8"/>',
        f'<path d="M{coil - 16},{y + 76} L{coil + 16},{y + 52}" stroke="{use.colour}" stroke-width="1.2"/>',
        *_ground(coil, y + 84),
        _line(coil, y + 76, coil, y + 84, INK),
        # the contact: COM to the supply, NO to the strike
        f'<path d="M{contact + 30},{y + 56} L{contact + 2},{y + 44}" stroke="{INK}" stroke-width="2"/>',
        f'<circle cx="{contact + 30}" cy="{y + 56}" r="3" fill="{INK}"/>',
        f'<circle cx="{contact}" cy="{y + 56}" r="3" fill="{INK}"/>',
        f'<path d="M{contact + 16},{y + 51} L{coil - 16},{y + 60}" stroke="{PALE}" stroke-dasharray="3 3"/>',
        _text(contact + 24, y + 72, "COM", GREY, size=10),
        _text(contact - 14, y + 72, "NO", GREY, size=10),
        # the strike's own circuit
        f'<path d="M{contact},{y + 56} H{strike}" stroke="{INK}" stroke-width="1.8" fill="none"/>',
        f'<rect x="{strike - 26}" y="{y + 62}" width="52" height="22" rx="3" fill="{CARD}" stroke="{INK}" '
        'stroke-width="1.6"/>',
        _text(strike, y + 77, "strike", INK, size=11.5, anchor="middle"),
        _line(strike, y + 56, strike, y + 62, INK),
        _line(strike, y + 84, strike, low + 6, INK),
        *_diode(strike + 46, y + 56, low + 6),
        _line(strike, low + 6, strike + 46, low + 6, INK),
        f'<path d="M{strike},{low + 6} H{supply}" stroke="{INK}" stroke-width="1.8"/>',
        f'<path d="M{supply},{low + 6} V{y + 76} M{supply - 6},{y + 76} H{supply + 6} M{supply - 12},{y + 70} '
        f'H{supply + 12}" stroke="{INK}" stroke-width="1.8" fill="none"/>',
        f'<path d="M{supply},{y + 70} V{y + 38} H{contact + 42} V{y + 56} H{contact + 30}" stroke="{INK}" '
        'stroke-width="1.8" fill="none"/>',
        _text(supply + 17, y + 77, "own 12 V", GREY, size=10),
        _text(supply - 22, y + 66, "+", INK, size=13),
    ]


def _diode(x: float, top: float, bottom: float) -> list[str]:
    middle = (top + bottom) / 2
    return [
        _line(x, top, x, bottom, INK),
        f'<path d="M{x - 7},{middle + 6} H{x + 7} L{x},{middle - 6} Z" fill="{INK}"/>',
        f'<path d="M{x - 7},{middle - 6} H{x + 7}" stroke="{INK}" stroke-width="2"/>',
    ]


def _ground(x: float, y: float) -> list[str]:
    return [
        f'<path d="M{x},{y} V{y + 8} M{x - 9},{y + 8} H{x + 9} M{x - 5.5},{y + 12} H{x + 5.5} M{x - 2},{y + 16} '
        f'H{x + 2}" stroke="{INK}" stroke-width="1.8" fill="none"/>'
    ]


# --- a chip without that header --------------------------------------------------------------------------------


def _strip(hardware: board.Board) -> tuple[list[str], int]:
    chip = next(iter(hardware.inputs.values())).chip
    used = {use.line: use for use in uses(hardware)}
    known = KNOWN.get(chip)
    out = [_text(BLOCK_X, 64, f'The lines of "{chip}", which a rig drives and watches from outside.', GREY)]
    y = 92
    for line in sorted(known.header if known is not None else used):
        use = used.get(line)
        colour = use.colour if use is not None else "#8d98a5"
        out.append(
            f'<rect x="{BLOCK_X}" y="{y}" width="470" height="32" rx="6" fill="{CARD}" stroke="{PALE}"/>'
            f'<circle cx="{BLOCK_X + 22}" cy="{y + 16}" r="10" fill="{colour}"/>'
        )
        out.append(_text(BLOCK_X + 22, y + 20, str(line), "#ffffff", size=11, anchor="middle"))
        if use is not None:
            out.append(_text(BLOCK_X + 48, y + 20.5, use.key, colour, weight=600))
            level = "low" if use.active_low else "high"
            who = "the rig watches" if use.kind in ("relay", "light") else "the rig drives"
            out.append(_text(BLOCK_X + 200, y + 20.5, f"{who}; active {level}", GREY))
        else:
            why = known.taken.get(line, "free") if known is not None else "free"
            out.append(_text(BLOCK_X + 48, y + 20.5, why, GREY))
        y += 38
    return out, y + 10


# --- strokes ---------------------------------------------------------------------------------------------------


def _text(
    x: float, y: float, text: str, colour: str, *, size: float = 13, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<path d="M{x1:g},{y1:g} L{x2:g},{y2:g}" stroke="{colour}" stroke-width="2"/>'


def _terminal(x: float, y: float, colour: str) -> str:
    return f'<rect x="{x - 5:g}" y="{y - 7:g}" width="10" height="14" rx="2" fill="{colour}"/>'


def boards() -> list[str]:
    """Those of the repository that have something to wire."""
    return sorted(
        file.parent.name
        for file in Path(board.__file__).parent.glob("*/board.toml")
        if file.parent.name != "simulated"
    )


def picture(name: str) -> Path:
    return DOCS / f"wiring-{name}.svg"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(draw(board.load(sys.argv[1], ())))
    else:
        for each in boards():
            picture(each).write_text(draw(board.load(each, ())))
