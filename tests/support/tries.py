"""Sound over real time is measured again where it was bad: others may have had the processor, and half a minute
without a gap is then not the station's to give. A fault of its own is there each time."""

from collections.abc import Callable

TRIES = 3


def best_of_three(measure: Callable[[], None], between: Callable[[], None] | None = None) -> None:
    """`measure`, with all that it needs made anew, until nothing was wrong; AssertionError of the last try.
    `between` ends what a failed one left running, such as `Peers.stop`."""
    for left in reversed(range(TRIES)):
        try:
            measure()
        except AssertionError as error:
            if not left:
                raise
            print(f"once more, for: {error}")
            if between is not None:
                between()
        else:
            return
