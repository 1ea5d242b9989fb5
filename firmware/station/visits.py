"""The visits under way: numbers them, and knows which of them the visitor hears."""

from firmware.station.visit import Limits, Plan, Visit


class Visits:
    def __init__(self, limits: Limits, first_press: int) -> None:
        self.by_press: dict[int, Visit] = {}
        self.active: Visit | None = None  # the one that the visitor hears
        self._limits = limits
        self._next_press = first_press

    @property
    def in_use(self) -> Visit | None:
        """The one that the door rings or talks for now."""
        active = self.active
        return active if active is not None and active.phase in ("ringing", "talking") else None

    def new(self, plan: Plan) -> Visit:
        visit = Visit(self._next_press, plan, self._limits)
        self._next_press += 1
        self.by_press[visit.press] = visit
        return visit

    def forget(self, visit: Visit) -> None:
        self.by_press.pop(visit.press, None)
        if self.active is visit:
            self.active = None
