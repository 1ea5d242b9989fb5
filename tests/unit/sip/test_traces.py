"""Every recorded trace replays: the core of today does what the core did when it was recorded."""

from pathlib import Path

import pytest

from firmware.sip.replay import main, replay

TRACES = sorted((Path(__file__).parents[2] / "traces").glob("*.jsonl"))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_a_recorded_trace_replays(path: Path) -> None:
    outcome = replay(path.read_text().splitlines())
    assert outcome.differences == ()
    assert outcome.messages > 0


def test_there_are_traces() -> None:
    assert len(TRACES) >= 3


def test_the_command_tells_each_file_and_its_first_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = next(path for path in TRACES if path.stem == "call-through-kamailio")
    assert main([str(good)]) == 0
    assert "as recorded" in capsys.readouterr().out
    changed = tmp_path / "changed.jsonl"
    changed.write_text(good.read_text().replace("SIP/2.0 180 ", "SIP/2.0 486 "))
    assert main([str(changed)]) == 1
    assert "was " in capsys.readouterr().out
    cut = tmp_path / "cut.jsonl"
    cut.write_text(good.read_text().replace('"lost": 0', '"lost": 5'))
    assert main([str(cut), str(tmp_path / "nothing")]) == 2
    assert "the beginning is missing" in capsys.readouterr().err
