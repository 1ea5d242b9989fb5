"""The scene before the camera: eight upright bars, which libcamera's virtual camera draws and lets drift, and which
a bench's screen shows. A picture is judged by the hues in it, in their order, whatever column comes first."""

from pathlib import Path

# As libcamera's test pattern has them, and as every test card: by falling brightness.
BARS = ("white", "yellow", "cyan", "green", "magenta", "red", "blue", "black")
_COLOURS = {
    "white": (255, 255, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "green": (0, 255, 0),
    "magenta": (255, 0, 255),
    "red": (255, 0, 0),
    "blue": (0, 0, 255),
    "black": (0, 0, 0),
}
_NARROW = 1 / 40  # of the width: where two bars meet, coding makes a colour that is neither


def bars(picture: Path) -> list[str]:
    """Names of the bars across the middle of the picture, from the left, without the seams."""
    import av

    with av.open(str(picture)) as container:
        frame = next(container.decode(video=0)).reformat(format="rgb24")
    row = memoryview(bytes(frame.planes[0]))[frame.height // 2 * frame.planes[0].line_size :]
    return names(bytes(row[: frame.width * 3]))


def names(row: bytes) -> list[str]:
    """The same out of one row of RGB."""
    points = [_nearest(row[at], row[at + 1], row[at + 2]) for at in range(0, len(row), 3)]
    runs: list[tuple[str, int]] = []
    for name in points:
        runs[-1:] = [(name, runs[-1][1] + 1)] if runs and runs[-1][0] == name else [*runs[-1:], (name, 1)]
    wide = [name for name, length in runs if length >= len(points) * _NARROW]
    return [name for number, name in enumerate(wide) if number == 0 or wide[number - 1] != name]


def _nearest(red: int, green: int, blue: int) -> str:
    """The colour nearest in which of its parts are bright: a camera's white is grey, its blue not quite blue."""

    def distance(name: str) -> int:
        r, g, b = _COLOURS[name]
        return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2

    return min(_COLOURS, key=distance)


def in_order(seen: list[str]) -> bool:
    """Whether these are all eight bars in a row, from any of them on; the first may come in again at the end."""
    if len(seen) == len(BARS) + 1 and seen[0] == seen[-1]:
        seen = seen[:-1]
    if sorted(seen) != sorted(BARS):
        return False
    start = BARS.index(seen[0])
    return seen == [*BARS[start:], *BARS[:start]]
