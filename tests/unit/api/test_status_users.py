"""`doorctl status` and the users of the house."""

from firmware.api.text import status_lines
from firmware.station.status import PhoneStatus, Status, UserStatus

STATUS = Status(
    name="Door", version="1", board="simulated", uptime_s=1.0, listen=("0.0.0.0:5060",), lock_process=True
)
PHONE = PhoneStatus(contact="sip:anna@192.0.2.7", source="udp:192.0.2.7:5060", agent="monitor/2.1", expires_s=552.0)


def lines(*users: UserStatus) -> list[str]:
    data = STATUS.as_dict()
    data["users"] = [
        {
            "name": user.name,
            "display_name": user.display_name,
            "phones": [{name: getattr(phone, name) for name in phone.__slots__} for phone in user.phones],
        }
        for user in users
    ]
    return list(status_lines(data))


def test_each_phone_of_a_user_has_a_line_and_who_has_none_is_told() -> None:
    shown = lines(
        UserStatus(name="anna", display_name="Anna, 1A", phones=(PHONE, PHONE)),
        UserStatus(name="bob", display_name="", phones=()),
    )
    at = shown.index("Users")
    assert shown[at + 1 : at + 4] == [
        "  anna (Anna, 1A)  udp:192.0.2.7:5060  for 9 min 12 s more  monitor/2.1",
        "  anna (Anna, 1A)  udp:192.0.2.7:5060  for 9 min 12 s more  monitor/2.1",
        "  bob              not registered",
    ]


def test_a_station_without_users_says_nothing_of_them() -> None:
    assert "Users" not in "\n".join(lines())
