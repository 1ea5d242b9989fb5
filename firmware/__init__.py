"""The door station application: SIP, media, the door's behaviour and what watches over it."""

__version__ = "0.1.0"
