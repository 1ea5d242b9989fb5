"""Sound over real time is measured again where it was bad: others may have had the processor, and half a minute
without a gap is then not the station's to give. A fault of its own is there each time."""

from collections.abc import Callable

TRIES = 3


def best_of_three(
    measure: Callable[[], None],
    between: Callable[[], None] | None = None,
    for_error: type[Exception] = AssertionError,
) -> None:
    """`measure`, with all that it needs made anew, until nothing was wrong; the error of the last try.
    `between` ends what a failed one left running, such as `Peers.stop`. `for_error`: a stall's other shape."""
    for left in reversed(range(TRIES)):
        try:
            measure()
        except (AssertionError, for_error) as error:
            if not left:
                raise
            print(f"once more, for: {error}")
            if between is not None:
                between()
        else:
            return
