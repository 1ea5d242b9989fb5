"""SIP (RFC 3261 and friends) as pure protocol machines: bytes, commands and `now` in, actions and events out.

No socket, clock, task, thread or source of randomness is touched here; `firmware.net` is the shell.
"""
