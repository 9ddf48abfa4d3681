"""Which characters the report can show, and what is shown instead of those it cannot.

Typst refuses to write PDF/UA or PDF/A where no font has a character. So a line of the characters in question,
set alone, says whether all can be shown; where not, each is asked for itself, with the fonts that come with
typst and then with those of the machine. A text whose characters can be shown singly, but not together, keeps
only what is sure: a combining mark may need a font that its neighbour is not in.
"""

from collections.abc import Iterable, Mapping
from typing import Any

MARK = "[?]"
STANDARDS = ("ua-1", "a-2a")  # of the report; both refuse what cannot be shown
# Of the bundled text font; a test proves it
_SURE = frozenset(map(chr, (*range(0x20, 0x7F), *range(0xA1, 0x180), *range(0x410, 0x450)))) | set("−≤≥–…→")
# As the report sets a text: after a label, also bold, long words in parts
_TEMPLATE = rb"""#set document(title: "x")
#set text(font: "Libertinus Serif", lang: "en")
#show regex("[^\s\-/]{17,}"): it => it.text.clusters().chunks(4).map(part => box(part.join())).join()
a~#sys.inputs.text~*#sys.inputs.text*
"""


class Glyphs:
    """The fonts that a text needs, and what even they cannot show."""

    def __init__(self, texts: Iterable[str], *, sure_only: bool = False) -> None:
        import typst

        asked = {character for text in texts for character in text} - _SURE
        self.fonts = typst.Fonts(include_system_fonts=False)
        self.missing = frozenset(asked) if sure_only else _lacking(asked, self.fonts)
        if self.missing and not sure_only:
            self.fonts = typst.Fonts(include_system_fonts=True)
            self.missing = _lacking(asked, self.fonts)

    def shows(self, text: str) -> bool:
        """Whether the whole text can be shown."""
        return _SURE.issuperset(text) or (self.missing.isdisjoint(text) and _can_show(text, self.fonts))

    def marked(self, data: Any) -> Any:
        """The same texts, in whatever holds them, with a mark for each character that cannot be shown."""
        if isinstance(data, str):
            return self._marked(data)
        if isinstance(data, Mapping):
            return {key: self.marked(value) for key, value in data.items()}
        if isinstance(data, (list, tuple)):
            return [self.marked(value) for value in data]
        return data

    def _marked(self, text: str) -> str:
        marked = "".join(MARK if character in self.missing else character for character in text)
        if self.shows(marked):
            return marked
        return "".join(character if character in _SURE else MARK for character in text)


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
