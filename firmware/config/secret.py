"""A password or a code that does not leak: wherever it is printed, logged or written as JSON it reads `***`.

The text itself comes out through `reveal()` alone, so a search for that word finds every place that sees one.
"""


class Secret(str):
    """A text whose visible form is `***`; a `str`, so that every JSON writer and log format shows just that.

    Two secrets are equal when what they hide is equal; a secret never equals plain text.
    """

    __slots__ = ("_text",)

    _text: str

    def __new__(cls, text: str) -> "Secret":
        secret = super().__new__(cls, "***")
        secret._text = text
        return secret

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is neither copied nor pickled")

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: object) -> "Secret":
        return self
