"""The tables of CONFORMANCE.md, from the constants and objects they describe; `python -m` writes them in.

A table stands between `<!-- table: name -->` and `<!-- end -->`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset

from station.codes import SCHEME, SCHEME_NAME, SCHEME_UID, SCHEME_VERSION, TERMS
from station.dicom.conformance import sample as made_up
from station.dicom.conformance.keys import key_lines
from station.dicom.conformance.network import network_tables
from station.dicom.conformance.rows import (
    Row,
    attribute_lines,
    attributes,
    code_of,
    content,
    content_lines,
    rows,
    shown,
    table,
)
from station.exam import DISCONTINUATION_REASONS, REJECTION_REASONS

PLACE = Path(__file__).parents[1] / "CONFORMANCE.md"
_BEGIN, _END = "<!-- table: {} -->", "<!-- end -->"
_CPT = "C4"


def tables() -> dict[str, str]:
    """Every table by its name, as Markdown."""
    samples = made_up.variants()
    objects = {name: made_up.objects(sample) for name, sample in samples.items()}
    steps = {name: made_up.steps(sample, list(objects[name].values())) for name, sample in samples.items()}
    keys = ["Attribute", "Tag", "VR", "Matching", "What becomes of it"]
    return {
        **network_tables(objects[made_up.FULL]),
        "worklist keys": table(keys, list(key_lines())),
        "step attributes": _steps(steps),
        **_attribute_tables(objects),
        "private scheme": _scheme(),
        "private terms": _terms(),
        "public codes": _public(objects),
        "rejection reasons": _reasons(REJECTION_REASONS),
        "discontinuation reasons": _reasons(DISCONTINUATION_REASONS),
        "character sets": ", ".join(f"`{name}`" for name in sorted(filter(None, python_encoding))),
    }


def written(text: str, made: Mapping[str, str]) -> str:
    """The document with these tables in it.

    Raises
    ------
    ValueError
        A place without a table, or a table without a place.
    """
    for name, lines in made.items():
        begin = _BEGIN.format(name)
        if text.count(begin) != 1:
            raise ValueError(f"'{begin}' must be there once, is there {text.count(begin)} times")
        head, _, rest = text.partition(begin)
        _, end, tail = rest.partition(_END)
        if not end:
            raise ValueError(f"'{begin}' has no '{_END}'")
        text = f"{head}{begin}\n\n{lines}\n\n{end}{tail}"
    places = text.count(_BEGIN.partition("{}")[0])
    if places != len(made):
        raise ValueError(f"there are {places} places for {len(made)} tables")
    return text


# --- attributes --------------------------------------------------------------------------------------

Objects = Mapping[str, Mapping[str, Dataset]]
_HEAD = ["Attribute", "Tag", "VR", "Presence", "Source", "Value"]


def _attribute_tables(objects: Objects) -> dict[str, str]:
    """What all objects say alike, what both images do, what each says besides, and documents' content."""
    names = list(objects[made_up.FULL])
    blocks = {name: _blocks(rows(_of(objects, name), attributes)) for name in names}
    images = [name for name in names if "Rows" in objects[made_up.FULL][name]]
    alike = [block for block in blocks[names[0]] if all(block in other for other in blocks.values())]
    both = [block for block in blocks[images[0]] if block in blocks[images[1]] and block not in alike]
    made = {"common": _attributes(alike), "images": _attributes(both)}
    for name in names:
        known = [*alike, *both] if name in images else alike
        made[name] = _attributes([block for block in blocks[name] if block not in known])
        inside = list(rows(_of(objects, name), content))
        if inside:
            head = ["Content item", "Type", "Presence", "Source", "Value"]
            made[f"{name} content"] = table(head, content_lines(inside))
    return made


def _attributes(blocks: Iterable[tuple[Row, ...]]) -> str:
    return table(_HEAD, attribute_lines([row for block in blocks for row in block]))


def _of(objects: Objects, name: str) -> dict[str, list[Dataset]]:
    return {variant: [made[name]] for variant, made in objects.items()}


def _blocks(found: Iterable[Row]) -> list[tuple[Row, ...]]:
    """Attributes of the object, each with what is nested in it."""
    blocks: list[tuple[Row, ...]] = []
    for row in found:
        if row.depth == 0:
            blocks.append((row,))
        else:
            blocks[-1] += (row,)
    return blocks


def _steps(steps: Objects) -> str:
    """The messages of a step beside each other."""
    messages = list(steps[made_up.FULL])
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for message in messages:
        path: list[str] = []
        for row in rows(_of(steps, message), attributes):
            path = [*path[: row.depth], f"{row.key.tag} {row.key.name}"]
            cells.setdefault(tuple(path), {})[message] = " ".join(
                filter(None, (row.presence, row.source, shown(row)))
            )
    lines = [
        ["> " * (len(path) - 1) + path[-1][12:], path[-1][:11], *(said.get(one, "") for one in messages)]
        for path, said in sorted(cells.items())
    ]
    return table(["Attribute", "Tag", *messages], lines)


# --- codes -------------------------------------------------------------------------------------------


def _scheme() -> str:
    lines = [["Designator", SCHEME], ["UID", SCHEME_UID], ["Version", SCHEME_VERSION], ["Name", SCHEME_NAME]]
    return table(["Coding scheme", "Value"], lines)


def _terms() -> str:
    lines = [
        [
            term.value,
            term.meaning,
            f"`{term.unit}`" if term.unit else "",
            f'({term.public.value}, {term.public.scheme}, "{term.public.meaning}")' if term.public else "",
        ]
        for term in TERMS
    ]
    return table(["Code value", "Meaning", "UCUM unit", "Written in DICOM as"], lines)


def _public(objects: Objects) -> str:
    """Codes of others in the objects, but those of a site and of an order."""
    used: dict[tuple[str, str, str], list[str]] = {}
    for variant in (made_up.FULL, made_up.BARE):
        for name, dataset in objects[variant].items():
            for item in nested(dataset):
                scheme = str(item.get("CodingSchemeDesignator", ""))
                if code_of(item) and not scheme.startswith("99") and scheme != _CPT:
                    key = (scheme, str(item.get("CodeValue") or item.LongCodeValue), str(item.CodeMeaning))
                    used.setdefault(key, []).append(name)
    lines = [[*key, ", ".join(dict.fromkeys(names))] for key, names in sorted(used.items())]
    return table(["Scheme", "Code value", "Meaning", "In"], lines)


def nested(dataset: Dataset) -> Iterator[Dataset]:
    """Every item of every sequence, at any depth."""
    for element in dataset:
        for item in element.value if element.VR == "SQ" else ():
            yield item
            yield from nested(item)


def _reasons(reasons: Mapping[str, str]) -> str:
    return table(["Code value (DCM)", "Meaning"], [[code, meaning] for code, meaning in reasons.items()])
