"""Pictures in half cells: what was given is what is seen, and only what changed is drawn again."""

import asyncio

import numpy as np
import pytest
from textual.app import App
from textual.geometry import Region

from station.ui.picture import Cells, Picture


class Showing(App):
    """One picture, the whole screen."""

    def __init__(self, picture):
        super().__init__()
        self.picture = picture
        self.sizes = []

    def compose(self):
        yield self.picture

    def on_picture_resized(self, message):
        self.sizes.append(message.size_px)


def seen(picture):
    """The pixels on the screen, (rows, columns, 3)."""
    lines = []
    for y in range(picture.content_size.height):
        upper, lower = [], []
        for segment in picture.render_line(y):
            under = segment.style.bgcolor.triplet
            over = segment.style.color.triplet if segment.text[0] == "▀" else under
            upper += [over] * len(segment.text)
            lower += [under] * len(segment.text)
        lines += [upper, lower]
    return np.array(lines, np.uint8)


def noise(shape, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def within(size, *, picture, story):
    """Plays a story, an async function of (application, picture), in a terminal of that size."""

    async def play():
        app = Showing(picture)
        async with app.run_test(size=size) as pilot:
            await story(app, pilot)

    asyncio.run(play())


def test_what_is_shown_is_the_picture_to_a_step_of_colour():
    async def story(app, _pilot):
        assert app.picture.size_px == (20, 30)
        drawn = noise((20, 30))
        app.picture.show(drawn)
        assert np.abs(seen(app.picture).astype(int) - drawn).max() <= 2

    within((30, 10), picture=Picture(way="cells"), story=story)


def painted(picture):
    """Collects the regions that the picture asks to be painted from now on."""
    regions = []
    refresh = picture.refresh

    def noted(*asked, **how):
        regions.extend(asked)
        return refresh(*asked, **how)

    picture.refresh = noted
    return regions


def test_only_the_cells_that_changed_are_painted_again():
    async def story(app, pilot):
        first = noise((20, 30))
        app.picture.show(first)
        await pilot.pause()
        regions = painted(app.picture)
        app.picture.show(first.copy())
        assert not regions
        second = first.copy()
        second[5, 7] = 255 - second[5, 7]
        second[5, 12] = 255 - second[5, 12]
        app.picture.show(second)
        assert regions == [Region(7, 2, 6, 1)]
        await pilot.pause()
        assert np.abs(seen(app.picture).astype(int) - second).max() <= 2

    within((30, 10), picture=Picture(way="cells"), story=story)


def test_what_the_terminal_got_is_the_newest_picture():
    async def story(app, pilot):
        for seed in range(4):
            app.picture.show(noise((20, 30), seed))
            await pilot.pause()
        on_screen = [
            [segment.style.bgcolor.triplet for segment in strip for _ in segment.text]
            for strip in app.screen._compositor.render_strips()
        ]
        assert np.abs(np.array(on_screen).astype(int) - noise((20, 30), 3)[1::2]).max() <= 2

    within((30, 10), picture=Picture(way="cells"), story=story)


def test_noise_of_a_camera_is_not_sent_and_a_hand_that_moves_is():
    rng = np.random.default_rng(5)
    scene = np.full((90, 100, 3), 60.0)
    scene[30:60, 40:70] = (190, 140, 110)
    cells = Cells(live=True)
    cells.show(scene.astype(np.uint8))
    sent = 0
    for _ in range(20):
        noisy = np.clip(scene + rng.normal(0, 1.0, scene.shape), 0, 255).astype(np.uint8)
        sent += sum(region.width for region in cells.show(noisy))
    assert sent < 0.01 * 20 * 45 * 100
    moved = cells.show(np.roll(scene, 4, axis=0).astype(np.uint8))
    assert {region.y for region in moved} == {15, 16, 30, 31}
    assert all((region.x, region.width) == (40, 30) for region in moved)


def test_equal_neighbours_are_one_piece():
    cells = Cells()
    halves = np.zeros((8, 50, 3), np.uint8)
    halves[:, 20:] = 200
    cells.show(halves)
    assert [[len(segment.text) for segment in strip] for strip in cells.strips] == [[20, 30]] * 4


def test_words_are_shown_while_there_is_no_picture_and_when_it_is_taken_away():
    def text(app):
        return "".join(s.text for strip in app.screen._compositor.render_strips() for s in strip)

    async def story(app, pilot):
        assert "Camera is starting" in text(app)
        app.picture.show(noise((20, 40)), alt="A hand")
        await pilot.pause()
        assert "▀" in text(app)
        assert "Camera is starting" not in text(app)
        app.picture.show(None, alt="No camera")
        await pilot.pause()
        assert "No camera" in text(app)
        assert "▀" not in text(app)

    within((40, 10), picture=Picture(alt="Camera is starting", way="cells"), story=story)


def test_a_caption_says_below_the_picture_what_it_shows():
    async def story(app, pilot):
        assert app.picture.size_px == (18, 40)
        app.picture.show(noise((18, 40)), alt="A left hand, well positioned")
        await pilot.pause()
        lines = ["".join(s.text for s in strip) for strip in app.screen._compositor.render_strips()]
        assert lines[9].startswith("A left hand, well positioned")
        app.picture.alt = "A right hand"
        await pilot.pause()
        last = "".join(s.text for s in app.screen._compositor.render_strips()[9])
        assert last.strip() == "A right hand"

    within((40, 10), picture=Picture(caption=True, way="cells"), story=story)


def test_a_new_size_asks_for_a_new_drawing_and_shows_the_old_one_until_then():
    async def story(app, pilot):
        await pilot.pause()
        assert app.sizes == [(20, 30)]
        app.picture.show(np.full((20, 30, 3), 200, np.uint8))
        await pilot.resize_terminal(60, 20)
        await pilot.pause()
        assert app.sizes == [(20, 30), (40, 60)]
        assert (seen(app.picture) == seen(app.picture)[0, 0]).all()
        assert seen(app.picture).shape == (40, 60, 3)

    within((30, 10), picture=Picture(way="cells"), story=story)


def test_a_terminal_without_colour_gets_shades(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def story(app, pilot):
        steps = np.repeat(np.linspace(0, 255, 30).astype(np.uint8)[None, :, None], 20, axis=0)
        app.picture.show(np.repeat(steps, 3, axis=2))
        await pilot.pause()
        line = "".join(segment.text for segment in app.picture.render_line(4))
        assert set(line) == set(" ░▒▓█")
        assert list(line) == sorted(line, key=" ░▒▓█".index)

    within((30, 10), picture=Picture(way="cells"), story=story)


def test_a_line_of_one_pixel_stays_whole_without_colour():
    drawn = np.zeros((8, 10, 3), np.uint8)
    drawn[3] = 255
    cells = Cells(shaded=True)
    cells.show(drawn)
    assert [strip.text for strip in cells.strips] == [" " * 10, "█" * 10, " " * 10, " " * 10]


@pytest.mark.parametrize("way", ["sixel", "kitty"])
def test_graphics_of_the_terminal_are_asked_for_at_the_size_of_its_pixels(way):
    async def story(app, pilot):
        rows, columns = app.picture.size_px
        assert rows % 10 == columns % 30 == 0
        assert rows > 20
        app.picture.show(noise((rows, columns)))
        await pilot.pause()
        assert app.picture.children[0].display
        app.picture.show(None, alt="Nothing yet")
        await pilot.pause()
        assert not app.picture.children[0].display

    within((30, 10), picture=Picture(way=way), story=story)


def test_a_live_picture_is_always_cells():
    assert Picture(live=True, way="sixel").way == "cells"


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_what_is_no_picture_is_refused_with_its_shape(wrong):
    with pytest.raises(ValueError, match=r"\(4, 4"):
        Picture(way="cells").show(wrong)
