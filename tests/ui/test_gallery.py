"""Pictures of screens, as the README shows them: small, and drawn without asking another computer."""

import asyncio
import re
from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Static

from station.ui.gallery import main, portable

ROOT = Path(__file__).parents[2]
LARGEST_BYTES = 300_000


def picture_of(*lines):
    class Shown(App):
        def compose(self):
            yield Static("\n".join(lines), markup=False)

    async def look():
        app = Shown()
        async with app.run_test(size=(20, 6)):
            return app.export_screenshot()

    return portable(asyncio.run(look()))


def asked_elsewhere(svg):
    return re.findall(r"@font-face|@import|url\((?!#)[^)]*\)|href=\S*", svg)


def test_the_readmes_pictures_are_there_small_and_need_nothing_from_elsewhere():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    paths = [ROOT / name for name in re.findall(r"!\[[^]]+\]\(([^)]+\.svg)\)", readme)]
    assert {path.stem for path in paths} == {"worklist", "ready-to-prepare", "review"}
    for path in paths:
        assert path.stat().st_size < LARGEST_BYTES
        assert asked_elsewhere(path.read_text(encoding="utf-8")) == []


def test_a_picture_asks_nobody_for_its_letters_and_keeps_every_word_in_its_column():
    svg = picture_of("ab", "  ab <&>", "   日本 ab  ")
    assert asked_elsewhere(svg) == []
    found = re.findall(r'<text [^>]*?x="([\d.]+)" y="[\d.]+" textLength="([\d.]+)"[^>]*>([^<]+)<', svg)
    texts = {text.replace("\N{NO-BREAK SPACE}", " "): (float(x), float(length)) for x, length, text in found}
    assert {"ab", "ab &lt;&amp;&gt;", "日本 ab"} <= texts.keys()
    (first, two), (second, six), (third, seven) = (
        texts[text] for text in ("ab", "ab &lt;&amp;&gt;", "日本 ab")
    )
    cell = two / 2
    assert [(second - first) / cell, (third - first) / cell] == pytest.approx([2, 3], abs=0.05)
    assert [six / cell, seven / cell] == pytest.approx([6, 7], abs=0.05)


def test_a_picture_that_does_not_exist_is_refused_with_those_that_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["gallery", str(tmp_path / "new"), "--only", "worklist,charts"])
    with pytest.raises(SystemExit):
        main()
    assert "no picture charts; there are worklist, confirm" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
