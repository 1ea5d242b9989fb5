"""Pictures that a peer decoded: PNG and JPEG files read, the simulated camera's timecode in them."""

from pathlib import Path

from drivers.camera.timecode import read_timecode


def picture_timecode(path: Path) -> int | None:
    """Milliseconds that the camera drew into the picture; None where it is not to be read."""
    luma, stride, width = _luma(path)
    return read_timecode(luma, stride, width)


def luma_range(path: Path) -> tuple[int, int]:
    """The darkest and the brightest point."""
    luma, _, _ = _luma(path)
    return min(luma), max(luma)


def _luma(path: Path) -> tuple[bytes, int, int]:
    import av

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="gray")
    plane = frame.planes[0]
    return bytes(plane), plane.line_size, frame.width
