"""`portero demo`: a station on simulated hardware and an indoor monitor that answers it, in one command."""

from firmware.demo.show import run

__all__ = ["run"]
