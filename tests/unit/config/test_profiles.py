from pathlib import Path

import pytest

from firmware import config
from firmware.config.profiles import profiles
from firmware.config.sections import Account

TOP = Path(__file__).parents[3]

FILE = """\
[[accounts]]
name = "pbx"
profile = "{profile}"
address = "sip:door@pbx.example.org"
{more}
[[buttons]]
name = "flat"
input = "button1"
doors = []
  [[buttons.stages]]
  ring = ["101"]
"""


def account(tmp_path: Path, profile: str, more: str = "") -> tuple[Account | None, list[str]]:
    path = tmp_path / "portero.toml"
    path.write_text(FILE.format(profile=profile, more=more))
    path.chmod(0o600)
    read, problems = config.inspect(path)
    return (read.accounts[0] if read is not None else None), [str(problem) for problem in problems]


@pytest.mark.parametrize("name", profiles())
def test_every_profile_is_a_valid_account(tmp_path: Path, name: str) -> None:
    read, problems = account(tmp_path, name)
    assert read is not None, problems
    for setting in profiles()[name].settings:
        assert getattr(read, setting.key) == setting.value
        assert len(setting.why) > 20


def test_what_the_account_says_itself_stands(tmp_path: Path) -> None:
    read, _ = account(tmp_path, "fritzbox", "video = true\nexpires_s = 90")
    assert read is not None
    assert (read.video, read.expires_s, read.session_timer_s) == (True, 90, 0)


def test_an_unknown_profile_is_a_fault_with_a_guess(tmp_path: Path) -> None:
    read, problems = account(tmp_path, "fritzbx")
    assert read is None
    assert any(
        ':3: accounts[0].profile: there is no profile "fritzbx"; write "fritzbox"' in text for text in problems
    )


@pytest.mark.parametrize("name", [name for name, profile in profiles().items() if profile.tested])
def test_a_profile_that_claims_a_test_has_it(name: str) -> None:
    assert (TOP / profiles()[name].tested).is_file()
