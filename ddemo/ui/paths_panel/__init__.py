"""The ways of latents from noise to words: the token that the canvas shows and its neighbours, as a plotly figure."""

import json
import logging
from typing import Any

import gradio as gr

from ddemo.errors import InputError
from ddemo.figures import paths as figures
from ddemo.figures.look import PAGE
from ddemo.trace import Trace
from ddemo.ui.plot_view import PlotView, figure_message, sentence_message
from ddemo.ui.shelf import Shelf
from ddemo.ui.step_panel import NO_RUN, StepFollower
from ddemo.ui.visits import Visit

log = logging.getLogger(__name__)

HINT = (
    "Each word is a point in space, and so is each place on the canvas: here are the ways of the token that you "
    "point at and of two beside it, seen from one side. Every point lies between what its latent aims at and its "
    "noise, so that DDIM goes straight wherever the aim stays the same. Click a point to go to its step."
)
UNEXPECTED = "Something went wrong on the server: these paths could not be drawn."
MOST_WORDS = 400  # faint dots


def add_paths_panel(shelf: Shelf, visit: gr.State) -> None:
    """The panel, closed; what it draws costs nothing until it is opened. For a checkpoint of Gaussian noise.

    Args:
        visit: the session's `Visit`.
    """
    with gr.Accordion("Paths to the words", open=False, elem_id="paths-panel", elem_classes=["dd-step-panel"]):
        follower = StepFollower(HINT, elem_id="paths-follower", elem_classes=["dd-plain"])
        view = PlotView(elem_id="paths-figure", elem_classes=["dd-plain"])

    def look(visit: Visit, event: gr.EventData) -> list[Any]:
        return answer(visit, shelf, event._data)

    follower.look(
        look,
        [visit],
        [follower, view],
        queue=False,
        show_progress="hidden",
        trigger_mode="multiple",
        api_visibility="private",
    )


def answer(visit: Visit, shelf: Shelf, asked: Any) -> list[str]:
    """Number and figure for what a page asks: {run, step, segment, pos, n}."""
    asked = asked if isinstance(asked, dict) else {}
    number, run, step, segment = (asked.get(name) for name in ("n", "run", "step", "segment"))
    try:
        if run is None:
            raise InputError(NO_RUN)
        shown = paths_of(visit.find(run), shelf, step, segment, asked.get("pos"))
    except InputError as problem:
        shown = sentence_message(str(problem))
    except Exception:
        log.exception("paths could not be drawn")
        shown = sentence_message(UNEXPECTED)
    return [json.dumps({"n": number if type(number) is int else None}), shown]


def paths_of(trace: Trace, shelf: Shelf, step: int, segment: int | None, position: Any) -> str:
    """The message of the figure around a position."""
    positions = figures.chosen_positions(trace, position if type(position) is int else None, step, segment)
    what = (positions, step, segment)
    return figure_message(
        figures.path_figure(trace, *what, words=_words(trace, shelf, *what), colours=PAGE),
        f"paths-token-{positions[0] + 1}" if positions else "paths",
        figures.path_words(trace, *what),
        figures.path_csv(trace, *what),
    )


def _words(trace: Trace, shelf: Shelf, *what) -> dict[int, tuple[float, float]]:
    """Where the words lie that the model considered at these positions, once the checkpoint is there."""
    made_with = trace.checkpoint["id"]
    if made_with not in shelf or shelf[made_with].loading:
        return {}
    space = shelf[made_with].get().denoiser.space
    tokens = [token for token in figures.words_on(trace, *what)[:MOST_WORDS] if bool(space.words[token])]
    places = space.seen(space.embeddings[tokens]).cpu().tolist()
    return {token: (x, y) for token, (x, y) in zip(tokens, places, strict=True)}
