"""The visits under way: numbers them, and knows which of them the visitor hears."""

from firmware.station.visit import Limits, Plan, Visit

# Beside the one that the visitor hears; each lingers while its phones have not answered, up to 32 s.
MOST_VISITS = 8


class Visits:
    def __init__(self, limits: Limits, first_press: int) -> None:
        self.by_press: dict[int, Visit] = {}
        self.active: Visit | None = None  # the one that the visitor hears
        self.limits = limits
        self._next_press = first_press

    @property
    def in_use(self) -> Visit | None:
        """The one that the door rings or talks for now."""
        active = self.active
        return active if active is not None and active.phase in ("ringing", "talking") else None

    def new(self, plan: Plan) -> Visit:
        visit = Visit(self._next_press, plan, self.limits)
        self._next_press += 1
        self.by_press[visit.press] = visit
        return visit

    def overdue(self) -> list[Visit]:
        """The oldest of those that are over but for answers of their phones, as many as there are too many."""
        closing = [visit for visit in self.by_press.values() if visit.phase == "closing"]
        return closing[: max(0, len(self.by_press) - MOST_VISITS)]

    def forget(self, visit: Visit) -> None:
        self.by_press.pop(visit.press, None)
        if self.active is visit:
            self.active = None
