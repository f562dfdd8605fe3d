"""The ways of a few latents from noise to their words, as a plotly figure, in words and as a table.

Pure: a trace of Gaussian noise goes in. The plane is the one in which the embeddings lie widest. A latent is
sqrt(alpha) times what it aims at and sqrt(1 - alpha) times noise; it is drawn divided by the sum of both roots, as
the point between the two. So one that aims at the same all the time, and draws no new noise (DDIM), goes in a
straight line.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from ddemo.errors import InputError
from ddemo.figures.look import LIGHT, TITLE, Colours, dress
from ddemo.figures.spelling import harmless, plain, shortened, spelled
from ddemo.figures.tables import csv_text
from ddemo.processes import gaussian
from ddemo.trace import Trace

MOST_PATHS = 3
MOST_LABELS = 6  # of words along a path; the others are told where one points
CLEAR = (0.09, 0.045)  # shares of the figure's width and height that a label keeps from the next
LEAST_HALF, PADDING = 0.2, 1.15  # of an axis, in the units of the plane and in halves of the paths' width
HEIGHT = 560  # pixels
MARGIN = {"l": 44, "r": 16, "t": TITLE + 40, "b": 44}
LABEL = 18  # characters of a word beside its point
PATHS = (("circle", "solid"), ("diamond", "dash"), ("square", "dot"))  # colour alone tells nothing apart
OTHERS = ("#c2760c", "#0e8f80")  # of the paths after the first, on paper and on dark ground


class Point(NamedTuple):
    """A latent after a step.

    Attributes:
        step: the step; t: the time of the position after it.
        x, y: in the plane, between what it aims at and its noise.
        token: what it rounds to.
        distance, margin: to that token's embedding, and how much farther the second nearest is.
    """

    step: int
    t: float
    x: float
    y: float
    token: int
    distance: float
    margin: float


def path_of(trace: Trace, position: int, step: int | None = None, segment: int | None = None) -> list[Point]:
    """Where a position's latent has been on one canvas, step by step.

    Args:
        position: from 0.
        step: which canvas is meant: that of the segment at this step; by default the last.
        segment: its index, where one ended and the next began at `step`.

    Raises:
        InputError: the run moves no latents, there is no such step or segment, or nothing moved there.
    """
    if trace.checkpoint.get("process") != "gaussian":
        raise InputError("Only runs under Gaussian noise move latents.")
    index = _index(trace, step, segment)
    standing, frames = trace.segments[index], _frames(trace, index)
    held, found = _held(trace, index), []
    tokens = standing.canvas.tokens.numpy().copy()
    for frame in frames:
        tokens[frame.written] = frame.tokens
        row = np.flatnonzero(frame.positions == position)
        if len(row) and len(frame.plane):
            t = min(frame.s, float(held[position]))
            alpha = 1.0 if t == 0.0 else gaussian.alpha_bar(t)
            x, y = (frame.plane[row[0]] / (alpha**0.5 + (1.0 - alpha) ** 0.5)).tolist()
            near, lead = float(frame.distance[row[0]]), float(frame.margin[row[0]])
            found.append(Point(frame.step, t, x, y, int(tokens[position]), near, lead))
    if not found:
        raise InputError(f"No latent moved at token {position + 1}: it is given, or no step was taken yet.")
    return found


def chosen_positions(
    trace: Trace, position: int | None, step: int | None = None, segment: int | None = None
) -> list[int]:
    """Free positions to show: the one that is pointed at, if it is free, and those after it, else before it.

    Errors as `path_of`.
    """
    canvas = trace.segments[_index(trace, step, segment)].canvas
    free = (~canvas.fixed).nonzero().flatten().tolist()
    start = free.index(position) if position in free else 0
    start = max(0, min(start, len(free) - MOST_PATHS))
    window = free[start : start + MOST_PATHS]
    return sorted(window, key=lambda at: at != position)


def path_figure(
    trace: Trace,
    positions: Sequence[int],
    step: int | None = None,
    segment: int | None = None,
    words: Mapping[int, tuple[float, float]] | None = None,
    colours: Colours = LIGHT,
) -> go.Figure:
    """The paths of at most `MOST_PATHS` positions, words written where they changed, rings at `step`.

    Args:
        positions: from 0.
        words: token -> where its embedding lies in the plane, drawn as faint dots.

    Raises:
        InputError: as `path_of`, for a position that did not move.
    """
    paths = {position: path_of(trace, position, step, segment) for position in positions[:MOST_PATHS]}
    ranges = _ranges([point for path in paths.values() for point in path])
    labelled = _labelled(list(paths.values()), ranges)
    figure = go.Figure([_ground(trace, words, colours)] if words else [])
    for place, (position, path) in enumerate(paths.items()):
        figure.add_traces(_line(trace, position, path, place, labelled[place], step, colours))
    dress(figure, f"From noise to words: {_listed(positions[:MOST_PATHS])}", colours, HEIGHT, MARGIN)
    grid = {"gridcolor": colours.line, "tickfont": {"size": 12, "color": colours.muted}}
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
        xaxis=grid | {"range": ranges[0]},
        yaxis=grid | {"range": ranges[1]},
    )
    return figure


def _ranges(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """Of both axes, each with a scale of its own, so that the paths fill the figure; what is straight stays so."""
    found = []
    for name in "xy":
        values = [getattr(point, name) for point in points]
        middle, half = (max(values) + min(values)) / 2, max((max(values) - min(values)) / 2, LEAST_HALF)
        found.append([middle - PADDING * half, middle + PADDING * half])
    return found[0], found[1]


def _ground(trace: Trace, words: Mapping[int, tuple[float, float]], colours: Colours) -> go.Scatter:
    return go.Scatter(
        x=np.array([x for x, _ in words.values()], np.float32),
        y=np.array([y for _, y in words.values()], np.float32),
        mode="markers",
        name="words",
        marker={"size": 4, "color": colours.before},
        customdata=[harmless(shortened(_spelled(trace, token), LABEL)) for token in words],
        hovertemplate="the word “%{customdata}”<extra></extra>",
    )


def _line(
    trace: Trace,
    position: int,
    path: list[Point],
    place: int,
    labelled: set[int],
    step: int | None,
    colours: Colours,
) -> list[go.Scatter]:
    """The path with words at the places `labelled`, and a ring where it is at `step`."""
    symbol, dash = PATHS[place]
    colour = (colours.now, *OTHERS)[place]
    x, y = (np.array([getattr(point, name) for point in path], np.float32) for name in "xy")
    name = f"token {position + 1}"
    line = go.Scatter(
        x=x,
        y=y,
        mode="lines+markers+text",
        name=f"{name} “{harmless(shortened(_spelled(trace, path[-1].token), LABEL))}”",
        line={"color": colour, "dash": dash, "width": 2},
        marker={"symbol": symbol, "size": 6, "color": colour},
        text=[
            harmless(shortened(_spelled(trace, point.token), LABEL)) if at in labelled else ""
            for at, point in enumerate(path)
        ],
        textposition="top center",
        textfont={"size": 13, "color": colours.ink},
        customdata=[_hover(trace, point) for point in path],
        hovertemplate=f"{name} · %{{customdata}}<extra></extra>",
        meta={"position": position, "steps": [point.step for point in path]},
    )
    here = [at for at, point in enumerate(path) if point.step == step]
    ring = go.Scatter(
        x=x[here],
        y=y[here],
        mode="markers",
        marker={"symbol": f"{symbol}-open", "size": 15, "color": colours.ink, "line": {"width": 2}},
        showlegend=False,
        hoverinfo="skip",
    )
    return [line, ring] if here else [line]


def _labelled(paths: list[list[Point]], ranges: tuple[list[float], list[float]]) -> list[set[int]]:
    """Of each path, the places where a word is written: first those they end at, then those that stood longest, and
    none on another."""
    wanted = sorted((rank, place, at) for place, path in enumerate(paths) for rank, at in enumerate(_changes(path)))
    found: list[set[int]] = [set() for _ in paths]
    taken: list[tuple[float, float]] = []
    for _, place, at in wanted:
        spot = tuple(
            (getattr(paths[place][at], name) - low) / (high - low)
            for name, (low, high) in zip("xy", ranges, strict=True)
        )
        if all(abs(spot[0] - x) > CLEAR[0] or abs(spot[1] - y) > CLEAR[1] for x, y in taken):
            taken.append(spot)
            found[place].add(at)
    return found


def _changes(path: list[Point]) -> list[int]:
    """Where a path's words begin to stand: the last place of the path, then the words that stood longest."""
    begins = [at for at, point in enumerate(path) if at == 0 or path[at - 1].token != point.token]
    ends = [*begins[1:], len(path)]
    lives = {at: end - at for at, end in zip(begins, ends, strict=True)}
    return [len(path) - 1, *sorted(begins[:-1], key=lambda at: (-lives[at], at))[: MOST_LABELS - 1]]


def _hover(trace: Trace, point: Point) -> str:
    word = harmless(shortened(_spelled(trace, point.token), 60))
    far = f"at {point.distance:.2f}, the second {point.margin:.2f} farther"
    return f"step {point.step} · t {point.t:.2f} · “{word}” {far}"


# ---------------------------------------------------------------- in words, and as a table


def path_words(trace: Trace, positions: Sequence[int], step: int | None = None, segment: int | None = None) -> str:
    """The figure for those who do not see it. Errors as `path_of`."""
    told = []
    for position in positions[:MOST_PATHS]:
        path = path_of(trace, position, step, segment)
        changes = sum(one.token != other.token for one, other in pairwise(path))
        settled = next(at for at in range(len(path)) if all(p.token == path[-1].token for p in path[at:]))
        told.append(
            f"Token {position + 1} was first nearest to “{_spelled(trace, path[0].token)}”, changed its word "
            f"{changes} times and has been “{_spelled(trace, path[-1].token)}” since step {path[settled].step}."
        )
    return " ".join(told)


HEADER = ("position", "step", "t", "x", "y", "token", "text", "distance", "margin")


def path_csv(trace: Trace, positions: Sequence[int], step: int | None = None, segment: int | None = None) -> str:
    """The points as a file, positions counted from 1. Errors as `path_of`."""
    return csv_text(HEADER, _rows(trace, positions, step, segment))


def _rows(trace: Trace, positions: Sequence[int], step: int | None, segment: int | None) -> Iterator[tuple]:
    for position in positions[:MOST_PATHS]:
        for p in path_of(trace, position, step, segment):
            text = plain(_piece(trace, p.token))
            yield position + 1, p.step, p.t, p.x, p.y, p.token, text, p.distance, p.margin


def words_on(
    trace: Trace, positions: Sequence[int], step: int | None = None, segment: int | None = None
) -> list[int]:
    """Tokens that the belief about these positions held likely at some step, most often likely first."""
    count: dict[int, int] = {}
    for frame in _frames(trace, _index(trace, step, segment)):
        for token in frame.ids[np.isin(frame.positions, positions)].ravel().tolist():
            count[token] = count.get(token, 0) + 1
    return sorted(count, key=lambda token: (-count[token], token))


# ---------------------------------------------------------------- reading a trace


def _index(trace: Trace, step: int | None, segment: int | None) -> int:
    standing = trace.segment_at(trace.last_step if step is None else step, segment)
    return next(index for index, item in enumerate(trace.segments) if item is standing)


def _frames(trace: Trace, index: int) -> list:
    following = trace.segments[index + 1 : index + 2]
    return trace.frames[trace.segments[index].clock.first : following[0].clock.first if following else None]


def _held(trace: Trace, index: int) -> np.ndarray:
    """[L]: the time at which each position of a segment waits for the clock (see `ddemo.sampling.latents`)."""
    segment = trace.segments[index]
    if not segment.kept:
        return np.ones(len(segment.canvas))
    before, frames = _held(trace, index - 1), _frames(trace, index - 1)
    time = frames[-1].s if frames else trace.segments[index - 1].clock.start
    return np.array([1.0 if at < 0 else min(before[at], time) for at in segment.kept])


def _piece(trace: Trace, token: int) -> bytes:
    return trace.pieces.get(token, f"⟨{token}⟩".encode())


def _spelled(trace: Trace, token: int) -> str:
    return spelled(_piece(trace, token))


def _listed(positions: Sequence[int]) -> str:
    numbers = [str(position + 1) for position in positions]
    if len(numbers) == 1:
        return f"token {numbers[0]}"
    return f"tokens {', '.join(numbers[:-1])} and {numbers[-1]}"
