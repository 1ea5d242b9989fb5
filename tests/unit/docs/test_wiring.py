import importlib.util
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

import board

DOCS = Path(__file__).parents[3] / "docs"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_wiring", DOCS / "draw_wiring.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


DRAWING = script()


@pytest.mark.parametrize("name", DRAWING.boards())
def test_the_picture_is_what_the_board_says_now(name: str) -> None:
    drawn = DRAWING.draw(board.load(name, ()))
    assert DRAWING.picture(name).read_text() == drawn, "run: python docs/draw_wiring.py"
    assert any(f"(wiring-{name}.svg)" in page.read_text() for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", DRAWING.boards())
def test_every_function_of_the_board_is_in_its_picture_and_within_its_frame(name: str) -> None:
    hardware = board.load(name, ())
    root = ET.fromstring(DRAWING.draw(hardware))
    shown = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {place.key for place in board.places(hardware)} <= shown
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 < float(element.attrib["x"]) < width
        assert 0 < float(element.attrib["y"]) < height


def test_a_pin_of_the_even_column_and_a_name_with_markup_are_drawn(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(
        '[gpio]\ndriver = "lines"\n[audio]\ndriver = "simulated"\n'
        '[inputs."<rex>"]\nchip = "pinctrl-bcm2711"\nline = 16\nactive_low = true\npull = "up"\n'
    )
    drawn = DRAWING.draw(board.load(str(file), ()))
    ET.fromstring(drawn)
    assert "inputs.&lt;rex&gt;" in drawn
    assert "M722," in drawn
