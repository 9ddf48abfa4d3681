"""Which characters the report can show, and what is shown instead of those it cannot.

Typst refuses to write PDF/UA or PDF/A where no font has a character. So a line of the characters in question,
set alone, says whether all can be shown; where not, each is asked for itself, with the fonts that come with
typst and then with those of the machine.
"""

from collections.abc import Iterable, Mapping
from typing import Any

MARK = "[?]"
STANDARDS = ("ua-1", "a-2a")  # of the report; both refuse what cannot be shown
# Of the bundled text font; a test proves it
_SURE = frozenset(map(chr, (*range(0x20, 0x7F), *range(0xA1, 0x180), *range(0x410, 0x450))))
_TEMPLATE = b"""#set document(title: "x")
#set text(font: "Libertinus Serif", lang: "en")
#sys.inputs.text
"""


class Glyphs:
    """The fonts that a text needs, and what even they cannot show."""

    def __init__(self, texts: Iterable[str]) -> None:
        import typst

        asked = {character for text in texts for character in text} - _SURE
        self.fonts = typst.Fonts(include_system_fonts=False)
        self.missing = _lacking(asked, self.fonts)
        if self.missing:
            self.fonts = typst.Fonts(include_system_fonts=True)
            self.missing = _lacking(asked, self.fonts)

    def shows(self, text: str) -> bool:
        """Whether the whole text can be shown."""
        return self.missing.isdisjoint(text)

    def marked(self, data: Any) -> Any:
        """The same texts, in whatever holds them, with a mark for each character that cannot be shown."""
        return _translated(data, str.maketrans(dict.fromkeys(self.missing, MARK)))


def texts_in(data: Any) -> Iterable[str]:
    """Every text in lists and dictionaries."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from texts_in(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from texts_in(value)


def _translated(data: Any, marks: dict[int, str]) -> Any:
    if isinstance(data, str):
        return data.translate(marks)
    if isinstance(data, Mapping):
        return {key: _translated(value, marks) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_translated(value, marks) for value in data]
    return data


def _lacking(asked: set[str], fonts: Any) -> frozenset[str]:
    if not asked or _can_show("".join(sorted(asked)), fonts):
        return frozenset()
    return frozenset(character for character in asked if not _can_show(character, fonts))


def _can_show(text: str, fonts: Any) -> bool:
    import typst

    try:
        typst.compile(
            _TEMPLATE,
            format="pdf",
            font_paths=fonts,
            ignore_system_fonts=True,
            sys_inputs={"text": text},
            pdf_standards=list(STANDARDS),
        )
    except typst.TypstError:
        return False
    return True
