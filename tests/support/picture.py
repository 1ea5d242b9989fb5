"""Pictures that a peer decoded: PNG files read, the simulated camera's timecode in them."""

from pathlib import Path

from drivers.camera.timecode import read_timecode


def picture_timecode(path: Path) -> int | None:
    """Milliseconds that the camera drew into the picture; None where it is not to be read."""
    import av

    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="gray")
    luma = frame.planes[0]
    return read_timecode(bytes(luma), luma.line_size, frame.width)
