"""Hardware behind small protocols: one folder a kind, `base.py` its protocol, one module an implementation.

Drivers know nothing of the firmware; a board's folder says which of them a station uses.
"""
