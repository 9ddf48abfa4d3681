"""Pictures in half cells: what was given is what is seen, and only what changed is drawn again."""

import asyncio

import numpy as np
from textual.app import App

from station.ui.picture import Picture


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
