"""Where keys stand in a TOML text, and what to do about a text that is none."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.config.problems import Path
from firmware.config.toml_text import TomlSyntaxError, locate, parse

TEXT = '''\
top = 1
# [not.a.table]
[plain] # remark
a = "x # no remark"
"quoted key" = 1
'literal' = 2
b.c.d = 3
b.c.e = 4

multi = """
[[decoy]]
a = 1 \\""" still
"""
raw = \'\'\'
[decoy]
\'\'\'
list = [
  "one", # a ] in a remark
  [2, 3],

  { x = 1, y = { z = "}" } },
]
date = 1979-05-27 07:32:00
inline = { x = 1, y.z = 2 }

[[many]]
name = "first"
  [many.inner]
  deep = 1
  [[many.nested]]
  v = 1
  [[many.nested]]
  v = 2
[[many]]
name = "second"
  [[many.nested]]
  v = 3
[dotted . "table name" . x]
y = 1
'''

LINES: dict[Path, int] = {
    ("top",): 1,
    ("plain",): 3,
    ("plain", "a"): 4,
    ("plain", "quoted key"): 5,
    ("plain", "literal"): 6,
    ("plain", "b", "c", "d"): 7,
    ("plain", "b", "c", "e"): 8,
    ("plain", "b", "c"): 7,
    ("plain", "multi"): 10,
    ("plain", "raw"): 14,
    ("plain", "list"): 17,
    ("plain", "list", 0): 18,
    ("plain", "list", 1): 19,
    ("plain", "list", 1, 1): 19,
    ("plain", "list", 2): 21,
    ("plain", "list", 2, "y", "z"): 21,
    ("plain", "date"): 23,
    ("plain", "inline"): 24,
    ("plain", "inline", "y", "z"): 24,
    ("many",): 26,
    ("many", 0): 26,
    ("many", 0, "name"): 27,
    ("many", 0, "inner"): 28,
    ("many", 0, "inner", "deep"): 29,
    ("many", 0, "nested", 0, "v"): 31,
    ("many", 0, "nested", 1): 32,
    ("many", 0, "nested", 1, "v"): 33,
    ("many", 1): 34,
    ("many", 1, "nested", 0, "v"): 37,
    ("dotted", "table name", "x"): 38,
    ("dotted", "table name", "x", "y"): 39,
}


def paths_of(value: object, path: Path = ()) -> set[Path]:
    """The path of every value in a parsed document."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, item in value.items():
            found |= paths_of(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found |= paths_of(item, (*path, index))
    return found


@pytest.mark.parametrize(("path", "line"), LINES.items(), ids=str)
def test_each_key_is_found_on_its_line(path: Path, line: int) -> None:
    assert locate(TEXT)[path] == line


def test_every_value_has_a_line_and_nothing_else_has() -> None:
    found = locate(TEXT)
    values = paths_of(tomllib.loads(TEXT))
    # Tables that only a header's dots make have no line of their own.
    assert values - found.keys() == {("dotted",), ("dotted", "table name")}
    assert found.keys() <= values


KEYS = st.sampled_from(["a", "b", "c", '"d e"', "'f.g'", "h.i", 'j."k l"'])
SCALARS = st.sampled_from(
    [
        "1",
        "-2.5e3",
        "true",
        "inf",
        '"x#]y"',
        "'z}'",
        '""',
        "1979-05-27 07:32:00",
        "1979-05-27",
        '"""m\n[x]\n"""',
        "'''\n'q'''",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[\n  " + ", # ,]\n  ".join([*items, ""]) + "\n]"),
    max_leaves=6,
)
LINES_OF_TOML = st.one_of(
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]} # remark"),
    st.tuples(KEYS, KEYS, SCALARS.filter(lambda text: "\n" not in text)).map(
        lambda t: f"{t[0]} = {{ {t[1]} = {t[2]} }}"
    ),
    KEYS.map(lambda key: f"[{key}]"),
    KEYS.map(lambda key: f"[[ {key} ]]"),
    st.just(""),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES_OF_TOML, max_size=8))
def test_whatever_tomllib_reads_has_lines(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = locate(text)
    assert found.keys() <= paths_of(document)
    leaves = {path for path in paths_of(document) if not isinstance(_at(document, path), dict)}
    assert leaves <= found.keys()
    for path in leaves:
        key = next(part for part in reversed(path) if isinstance(part, str))
        assert key in text.split("\n")[found[path] - 1] or isinstance(path[-1], int)


def _at(document: object, path: Path) -> object:
    for part in path:
        document = document[part]  # type: ignore[index]
    return document


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab=[]{}\".'#\n,\\ 1", max_size=60))
def test_no_text_raises_anything_but_a_syntax_error(text: str) -> None:
    try:
        parse(text)
    except TomlSyntaxError:
        return
    locate(text)


SYNTAX = [
    ("name = Portero", 1, 'write texts in quotes: name = "..."'),
    ("\n\nname = 'Portero", 3, "write the closing quote: name = '...'"),
    ('name = "Portero', 1, 'write the closing quote: name = "..."'),
    ('name = "a" "b"', 1, "write one text behind name =, in one pair of quotes, and nothing behind it"),
    ("name: 5", 1, "write name = ... with an equals sign"),
    ("name", 1, "write name = and its value"),
    ("name 5", 1, "write name = and its value"),
    ("name =", 1, "write a value behind name =, or take the line out"),
    ("name = None", 1, "write a value behind name =, or take the line out"),
    ("video = True", 1, "write video = true, in small letters"),
    ("video = off", 1, "write video = false, in small letters"),
    ("seconds = 2,5", 1, "write the number with a point: seconds = 2.5"),
    ("seconds = 30s", 1, "write the number alone, without a unit: seconds = 30"),
    ("digits = 0123", 1, 'write digits without leading zeros, or as a text in quotes: digits = "..."'),
    ("name = \u201cPortero\u201d", 1, 'write straight quotes: "'),
    ('path = "C:\\door"', 1, "write path = '...' in single quotes, where a backslash is just that"),
    ("[station\nname = 1", 1, "write the table's name with nothing behind it, as in [doors]"),
    ("[[doors]\nname = 1", 1, "write the table's name with nothing behind it, as in [[doors]]"),
    (
        'ring = ["101" "102"]',
        1,
        'write ring = ["...", "..."] with a comma between the entries and a closing bracket',
    ),
    ("a = 1\na = 2", 2, "a is there twice in its table: remove one"),
    (
        "[sip]\n[sip]",
        2,
        "the table [sip] is there twice: put its keys together, or write [[sip]] if it is a list",
    ),
    ("[doors]\n[[doors]]", 2, "write [[doors]] everywhere or [doors] once, not both"),
]


@pytest.mark.parametrize(("text", "line", "remedy"), SYNTAX, ids=[row[2][:50] for row in SYNTAX])
def test_a_syntax_error_has_a_line_and_a_remedy(text: str, line: int, remedy: str) -> None:
    with pytest.raises(TomlSyntaxError) as raised:
        parse(text)
    assert (raised.value.line, raised.value.write) == (line, remedy)


def test_a_syntax_error_shows_nothing_of_the_line() -> None:
    for text in ('password = "hush', "password = hush", "password = 'hush' hush", 'password = "\\hush"'):
        with pytest.raises(TomlSyntaxError) as raised:
            parse(text)
        assert "hush" not in raised.value.what + raised.value.write


def test_endless_nesting_is_an_error_like_any_other() -> None:
    with pytest.raises(TomlSyntaxError, match="nest too deeply"):
        parse("a = " + "[" * 20_000)
