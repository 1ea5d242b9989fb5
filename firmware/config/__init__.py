"""The station's one configuration file (TOML), typed.

`load(path)` gives a `Config` or raises `ConfigError` with every fault of the file at once, each with file, line,
key, what is wrong and what to write instead; `load_or_last_good` goes on with the copy of the last good start where
there is one. The types with their descriptions are in `sections/`.
"""

from firmware.config.loading import Loaded, inspect, load, load_or_last_good
from firmware.config.problems import ConfigError, Problem
from firmware.config.secret import Secret
from firmware.config.sections import (
    Access,
    Account,
    Button,
    Calls,
    Code,
    Config,
    Door,
    Incoming,
    LightSection,
    MediaSection,
    NatSection,
    Sip,
    Stage,
    Station,
    StoreSection,
    Tls,
    User,
)

__all__ = [
    "Access",
    "Account",
    "Button",
    "Calls",
    "Code",
    "Config",
    "ConfigError",
    "Door",
    "Incoming",
    "LightSection",
    "Loaded",
    "MediaSection",
    "NatSection",
    "Problem",
    "Secret",
    "Sip",
    "Stage",
    "Station",
    "StoreSection",
    "Tls",
    "User",
    "inspect",
    "load",
    "load_or_last_good",
]
