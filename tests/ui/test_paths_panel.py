"""The panel of paths: there for latents alone, and what it answers to a page that asks."""

import json

import pytest

from ddemo.figures import paths as figures
from ddemo.figures.look import PAGE
from ddemo.ui import paths_panel
from ddemo.ui.paths_panel import UNEXPECTED, answer
from ddemo.ui.step_panel import NO_RUN
from tests.ui.conftest import HeldCheckpoint, Page

TEXT = "The old sailor [MASK:6] the sea."


@pytest.fixture
def page(tiny_latent) -> Page:
    return Page(HeldCheckpoint(tiny_latent))


def ask(page, **asked) -> tuple[dict, dict]:
    number, shown = answer(page.visit, page.shelf, asked)
    return json.loads(number), json.loads(shown)


def test_a_step_is_answered_with_the_paths_around_its_token(page, tiny_latent):
    run = page.denoise(TEXT, sampler="ddim", steps=5).id
    trace = page.visit.runs[run]
    number, shown = ask(page, run=run, step=3, segment=0, pos=4, n=7)
    positions = figures.chosen_positions(trace, 4)
    assert number == {"n": 7} and positions[0] == 4 and shown["name"] == "paths-token-5"
    space = tiny_latent.denoiser.space
    words = {
        token: tuple(space.seen(space.embeddings[token]).tolist())
        for token in figures.words_on(trace, positions)
        if space.words[token]
    }
    drawn = figures.path_figure(trace, positions, 3, 0, words, PAGE)
    assert shown["figure"] == json.loads(drawn.to_json()) and "words" in str(shown["figure"]["data"][0]["name"])
    assert shown["summary"] == figures.path_words(trace, positions)
    assert shown["csv"] == figures.path_csv(trace, positions)


def test_what_cannot_be_drawn_is_one_sentence(page, monkeypatch):
    assert ask(page, n=1)[1] == {"say": NO_RUN}
    assert "say" in ask(page, run="nowhere", step=1, n=2)[1]
    run = page.denoise(TEXT, steps=3).id
    assert "figure" in ask(page, run=run, step=3, segment=0, pos="x", n=3)[1], "no token: the first are shown"
    assert "has steps 0 to 3" in ask(page, run=run, step=9, n=4)[1]["say"]
    assert answer(page.visit, page.shelf, "nonsense")[0] == '{"n": null}'
    monkeypatch.setattr(paths_panel.figures, "path_figure", lambda *_, **__: 1 / 0)
    assert ask(page, run=run, step=1, n=5)[1] == {"say": UNEXPECTED}
