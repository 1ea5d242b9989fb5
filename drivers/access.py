"""Who may use a device node, as the kernel will judge it: asked for a process that runs as somebody else.

A check is run by root, who may use everything; the processes run as users of their own, whose groups are those of
/etc/group and those that systemd adds (SupplementaryGroups of the unit).
"""

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drivers.findings import Finding

_UNITS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
_ADDED = re.compile(r"^SupplementaryGroups=(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: int
    groups: frozenset[int]

    @classmethod
    def current(cls) -> "User":
        uid = os.geteuid()
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = str(uid)
        return cls(name, uid, frozenset((os.getegid(), *os.getgroups())))

    @classmethod
    def of_service(cls, name: str, units: Iterable[Path] = _UNITS) -> "User":
        """The user of the unit `name`.service, which is called as it is; where there is none, who asks."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return cls.current()
        groups = set(os.getgrouplist(name, entry.pw_gid))
        for folder in units:
            file = folder / f"{name}.service"
            if file.is_file():
                added = " ".join(_ADDED.findall(file.read_text(errors="replace"))).split()
                groups |= {group.gr_gid for group in grp.getgrall() if group.gr_name in added}
                break
        return cls(name, entry.pw_uid, frozenset(groups))

    def may_use(self, status: os.stat_result) -> bool:
        """Read and write."""
        if self.uid == 0:
            return True
        if status.st_uid == self.uid:
            wanted = stat.S_IRUSR | stat.S_IWUSR
        elif status.st_gid in self.groups:
            wanted = stat.S_IRGRP | stat.S_IWGRP
        else:
            wanted = stat.S_IROTH | stat.S_IWOTH
        return status.st_mode & wanted == wanted


def check(where: str, path: Path, user: User) -> list[Finding]:
    """Nothing where `user` may use the node."""
    try:
        status = path.stat()
    except OSError as error:
        return [Finding(where, f"{path}: {error.strerror}", "see why with dmesg; is its driver loaded?")]
    if user.may_use(status):
        return []
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    mode = stat.S_IMODE(status.st_mode)
    if group == "root" or mode & 0o060 != 0o060:
        remedy = "install the board's udev.rules as /etc/udev/rules.d/60-portero.rules and start the device anew"
    else:
        remedy = f"adduser {user.name} {group}, or SupplementaryGroups={group} in its unit; then restart it"
    return [Finding(where, f"user {user.name} may not use {path} (group {group}, mode {mode:04o})", remedy)]
