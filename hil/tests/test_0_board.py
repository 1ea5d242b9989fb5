"""0. The device has what its board says: lines, camera, sound, watchdog, files, and the rights to use them."""

import json

from hil.door import Door


def test_nothing_of_the_board_is_missing_or_taken(door: Door) -> None:
    lines, errors, _ = door.try_run("portero check-board --json")
    assert lines, "\n".join(errors)
    findings = json.loads("\n".join(lines))["findings"]
    assert findings
    assert [each for each in findings if not each["well"]] == []
