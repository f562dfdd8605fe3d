"""One step of a run as plotly figures, as words and as a table: what the model believed, and how that changed.

Pure: a trace goes in. Probabilities are those of the frames, before temperature; what a frame does not hold (a token
outside the likeliest that were kept) is blank, never zero. Positions are counted from 1 wherever people read them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go

from ddemo.errors import InputError
from ddemo.figures.look import LIGHT, TITLE, Colours, dress
from ddemo.figures.spelling import harmless, plain, short, shortened, spelled
from ddemo.figures.tables import csv_text
from ddemo.sampling.frame import Frame
from ddemo.trace import Trace

MOST_CANDIDATES = 28  # rows of the heatmap
HEIGHT = 560  # pixels of a figure; rows keep their height, so that a step with fewer of them moves nothing
ROW, BAR = 17, 34  # pixels
MARGIN = {"l": 112, "r": 16, "t": TITLE + 40, "b": 44, "autoexpand": False}
LEGEND = {"orientation": "h", "xref": "container", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
WIDE_COLUMNS = 16  # with fewer positions than these, columns do not grow to fill the width
LABEL, HOVER = 14, 60  # characters of a token on an axis, and where it is pointed at


# ---------------------------------------------------------------- what was asked and answered


class StepRow(NamedTuple):
    """A candidate of a position at a step.

    Attributes:
        position: from 0.
        token: its id.
        text: the token's text, as it is.
        probability: before temperature.
        rank: from 1; None for a token that was written though it is none of those kept.
        before: its probability the last time the model was asked; None where that is not known.
        written: whether the step put it there.
    """

    position: int
    token: int
    text: str
    probability: float
    rank: int | None
    before: float | None
    written: bool


@dataclass(frozen=True)
class OneStep:
    """A step at which the model was asked: its frame, and the one before it that was, on the same canvas."""

    trace: Trace
    frame: Frame
    before: Frame | None

    @property
    def kept(self) -> int:
        """How many candidates the frame keeps for a position."""
        return self.frame.ids.shape[1]

    @cached_property
    def written(self) -> dict[int, tuple[int, float]]:
        """Position -> token put there and its probability at that moment; not where a mask was put."""
        frame = self.frame
        rows = zip(frame.written.tolist(), frame.tokens.tolist(), frame.chosen.tolist(), strict=True)
        return {at: (token, chosen) for at, token, chosen in rows if token != self.trace.mask_id}

    def rows(self, position: int) -> list[StepRow]:
        """The candidates of a position, likeliest first; a token that was written outside them comes last.

        Raises:
            InputError: the model was not asked about it at this step.
        """
        likely = _candidates(self.frame, position)
        if likely is None:
            raise InputError(f"The model was not asked about token {position + 1} at step {self.frame.step}.")
        earlier = self.earlier(position) or {}
        token, chosen = self.written.get(position, (None, 0.0))
        ranked = [(item, p, rank) for rank, (item, p) in enumerate(likely.items(), start=1)]
        if token is not None and token not in likely:
            ranked.append((token, chosen, None))
        return [
            StepRow(position, item, self.text(item), p, rank, earlier.get(item), item == token)
            for item, p, rank in ranked
        ]

    def earlier(self, position: int) -> dict[int, float] | None:
        """Candidate -> probability the last time the model was asked, None where it was not asked about this."""
        return _candidates(self.before, position) if self.before else None

    def text(self, token: int) -> str:
        return plain(self._piece(token))

    def spell(self, token: int) -> str:
        return spelled(self._piece(token))

    def _piece(self, token: int) -> bytes:
        return self.trace.pieces.get(token, f"⟨{token}⟩".encode())


def _candidates(frame: Frame, position: int) -> dict[int, float] | None:
    """Token -> probability, likeliest first."""
    found = np.flatnonzero(frame.positions == position)
    if not len(found):
        return None
    return dict(zip(frame.ids[found[0]].tolist(), frame.probabilities[found[0]].tolist(), strict=True))


def one_step(trace: Trace, step: int, segment: int | None = None) -> OneStep:
    """What the model was asked at a step.

    Args:
        step: 1 to `trace.last_step`.
        segment: which canvas is meant where one ended and the next began at `step`; by default the one that ended.

    Raises:
        InputError: there is no such step, or it asked the model nothing.
    """
    standing = trace.segment_at(step, segment)
    if step == 0:
        raise InputError("Step 0 is the canvas before any step: the model has not been asked yet.")
    if segment is not None and standing.clock.first == step:
        raise InputError("This is the canvas after your edit: the model has not been asked about it yet.")
    frame = trace.frames[step - 1]
    if not frame.fresh:
        raise InputError(f"Step {step} did not ask the model: it used the answer of a step before it once more.")
    earlier = (trace.frames[at - 1] for at in range(step - 1, _first_of(trace, step), -1))
    return OneStep(trace, frame, next((before for before in earlier if before.fresh), None))


def last_asked(trace: Trace, step: int, position: int) -> int | None:
    """The newest step up to `step`, on the same canvas, at which the model was asked about a position."""
    steps = range(step, _first_of(trace, step), -1)
    return next((at for at in steps if position in trace.frames[at - 1].positions), None)


def _first_of(trace: Trace, step: int) -> int:
    """The step after which the canvas began that `step` worked on."""
    return max(item.clock.first for item in trace.segments if item.clock.first < max(step, 1))


# ---------------------------------------------------------------- positions by candidates


def step_heatmap(
    trace: Trace,
    step: int,
    segment: int | None = None,
    most: int = MOST_CANDIDATES,
    colours: Colours = LIGHT,
) -> go.Figure:
    """Probability [candidates, positions] of what was asked at a step, and a mark where a token was written.

    Candidates are those of all positions together, ordered by their total probability; beyond `most` of them only
    their number is shown, written ones being the last to go. `meta["positions"]` of the traces says which position
    (from 0) each column is.

    Raises:
        InputError: as `one_step`.
    """
    seen = one_step(trace, step, segment)
    tokens, left_out = _union(seen, most)
    positions = seen.frame.positions.tolist()
    place = {token: row for row, token in enumerate(tokens)}
    values = np.full((len(tokens), len(positions)), np.nan, np.float32)
    ranks = np.zeros(values.shape, np.uint8)
    written = np.zeros(values.shape, bool)
    for column, position in enumerate(positions):
        for row in seen.rows(position):
            if row.token in place:
                cell = place[row.token], column
                values[cell], ranks[cell], written[cell] = row.probability, row.rank or 0, row.written
    names = _distinct([harmless(shortened(seen.spell(token), LABEL)) for token in tokens], tokens)
    columns = [str(position + 1) for position in positions]
    rest = [f"… {left_out} more"] if left_out else []
    known = ~np.isnan(values)
    rank, outside = "rank %{customdata}", f"none of the {seen.kept} kept"
    layers = [
        (known & ~written, rank),
        (written & (ranks > 0), f"{rank} · written here"),
        (written & (ranks == 0), f"{outside} · written here"),
    ]
    figure = go.Figure(
        [
            go.Heatmap(
                x=columns,
                y=names,
                z=np.where(mask, values, np.float32(np.nan)),
                customdata=ranks,
                coloraxis="coloraxis",
                hoverongaps=False,
                xgap=1,
                ygap=1,
                meta={"positions": positions},
                hovertemplate=f"token %{{x}} · “%{{y}}” · %{{z:.3~r}} · {words} · step {step}<extra></extra>",
            )
            for mask, words in layers
            if mask.any()
        ]
    )
    figure.add_scatter(
        x=[columns[column] for _, column in np.argwhere(written)],
        y=[names[row] for row, _ in np.argwhere(written)],
        mode="markers",
        marker={"symbol": "circle", "size": 7, "color": colours.ink, "line": {"width": 1.5, "color": colours.paper}},
        name="written",
        showlegend=bool(written.any()),
        hoverinfo="skip",
    )
    about = _counted(len(positions), "position")
    dress(figure, f"Step {step}: what the model believed about {about}", colours, HEIGHT, MARGIN)
    rows = len(names) + len(rest)
    figure.update_layout(
        legend=LEGEND,
        coloraxis={
            "cmin": 0,
            "cmax": 1,
            "colorscale": _by_square_root(colours.ramp),
            "colorbar": _colour_bar(colours),
        },
        xaxis={
            "type": "category",
            "categoryarray": columns,
            "range": [-0.5, len(columns) - 0.5],
            "domain": [0, min(1.0, len(columns) / WIDE_COLUMNS)],
            "title": {"text": "position", "standoff": 6},
            "tickangle": 0,
            "showgrid": False,
        },
        yaxis={
            "categoryarray": names + rest,
            "range": [rows - 0.5, -0.5],
            "domain": [1 - min(1.0, rows * ROW / _room()), 1],
            "tickmode": "array",
            "tickvals": list(range(rows)),
            "ticktext": names + rest,
            "type": "category",
            "showgrid": False,
        },
    )
    return figure


def _union(seen: OneStep, most: int) -> tuple[list[int], int]:
    """The candidates of all positions that were asked, by total probability, and how many more there are."""
    total: Counter[int] = Counter()
    drawn = set()
    for position in seen.frame.positions.tolist():
        for row in seen.rows(position):
            total[row.token] += row.probability
            if row.written:
                drawn.add(row.token)
    shown = sorted(total, key=lambda token: (token not in drawn, -total[token], token))[:most]
    return sorted(shown, key=lambda token: (-total[token], token)), len(total) - len(shown)


def _distinct(names: list[str], tokens: Iterable[int]) -> list[str]:
    """Axis names that differ: tokens that look alike are told apart by their number."""
    count = Counter(names)
    return [f"{name} #{token}" if count[name] > 1 else name for name, token in zip(names, tokens, strict=True)]


def _by_square_root(ramp: Sequence[str]) -> list[list]:
    """A scale on which the colour goes with the square root of p, since most probabilities of a step are small."""
    return [[(level / (len(ramp) - 1)) ** 2, colour] for level, colour in enumerate(ramp)]


def _colour_bar(colours: Colours) -> dict:
    return {
        "orientation": "h",
        "x": 1,
        "xanchor": "right",
        "y": 1,
        "yanchor": "bottom",
        "ypad": 2,
        "xpad": 0,
        "len": 104,
        "lenmode": "pixels",
        "thickness": 9,
        "outlinewidth": 0,
        "tickvals": [0, 0.5, 1],
        "ticktext": ["0", ".5", "1"],
        "ticklabelposition": "outside top",
        "tickfont": {"size": 12, "color": colours.muted},
    }


# ---------------------------------------------------------------- one position


def position_bars(
    trace: Trace, step: int, position: int, segment: int | None = None, colours: Colours = LIGHT
) -> go.Figure:
    """Bars for the candidates of one position at a step, over paler ones for when the model was asked before.

    Tokens that have come among those kept since then, or have left them, are said to. What was written is marked.

    Args:
        position: from 0.

    Raises:
        InputError: as `one_step`, or the position was not asked.
    """
    seen = one_step(trace, step, segment)
    rows, earlier = seen.rows(position), seen.earlier(position)
    gone = [token for token in earlier or {} if token not in {row.token for row in rows}]
    tokens = [row.token for row in rows] + gone
    names = _distinct([harmless(shortened(seen.spell(token), LABEL)) for token in tokens], tokens)
    labels = [f"● {name}" if row.written else name for name, row in zip(names, rows, strict=False)]
    labels += names[len(rows) :]
    layers = [_bars_before(seen, position, tokens, len(rows), colours)] if earlier is not None else []
    layers.append(_bars_now(seen, position, colours))
    figure = go.Figure([layer.update(y=labels[: len(layer.x)]) for layer in layers])
    dress(figure, f"Token {position + 1} at step {step}", colours, HEIGHT, MARGIN)
    # Those of now, those that have left, and one that was written though it is none of them.
    most = max(2 * seen.kept + 1, len(labels))
    figure.update_layout(
        height=min(HEIGHT, HEIGHT - _room() + most * BAR),
        barmode="overlay",
        showlegend=True,
        legend={**LEGEND, "traceorder": "reversed"},
        xaxis={
            "range": [0, 1.3],  # room for what is written behind the longest bar
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
            "ticktext": ["0", ".25", ".5", ".75", "1"],
            "title": {"text": "probability", "standoff": 6},
            "gridcolor": colours.line,
        },
        yaxis={
            "type": "category",
            "categoryarray": labels,
            "range": [len(labels) - 0.5, -0.5],
            "domain": [1 - len(labels) / most, 1],
            "dtick": 1,
            "showgrid": False,
        },
    )
    return figure


def _bars_now(seen: OneStep, position: int, colours: Colours) -> go.Bar:
    rows, earlier = seen.rows(position), seen.earlier(position)
    return _bars(
        colours,
        x=np.array([row.probability for row in rows], np.float32),
        width=0.42,
        name=f"step {seen.frame.step}{' (● written)' if any(row.written for row in rows) else ''}",
        marker={"color": colours.now},
        text=[f"{short(row.probability)}{'' if earlier is None else f'  {_change(row)}'}" for row in rows],
        customdata=[_hover_now(seen, row, earlier is not None) for row in rows],
        meta={"position": position, "tokens": [row.token for row in rows]},
    )


def _bars_before(seen: OneStep, position: int, tokens: list[int], now: int, colours: Colours) -> go.Bar:
    """For the first `now` of the tokens, which have bars of this step too, and for those that have none."""
    earlier, step = seen.earlier(position), seen.before.step
    p = [earlier.get(token) for token in tokens]
    left = [f"{short(chance)} → none of the {seen.kept}" for chance in p[now:]]
    hover = [
        "" if chance is None else f"{_named(seen, position, token)} · {short(chance)} · step {step}"
        for token, chance in zip(tokens, p, strict=True)
    ]
    return _bars(
        colours,
        x=np.array(p, np.float32),  # None becomes NaN, which is no bar
        width=0.8,
        name=f"step {step}",
        marker={"color": colours.before},
        text=[""] * now + left,
        customdata=hover,
    )


def _bars(colours: Colours, **values) -> go.Bar:
    return go.Bar(
        orientation="h",
        textposition="outside",
        constraintext="none",
        cliponaxis=False,
        textfont={"size": 13, "color": colours.ink},
        hovertemplate="%{customdata}<extra></extra>",
        **values,
    )


def _change(row: StepRow) -> str:
    return "new" if row.before is None else _signed(row.probability - row.before)


def _signed(difference: float) -> str:
    if abs(difference) < 0.0005:
        return "±0"
    return f"{'−' if difference < 0 else '+'}{abs(difference):.3f}".replace("0.", ".", 1)


def _named(seen: OneStep, position: int, token: int) -> str:
    return f"token {position + 1} · “{harmless(shortened(seen.spell(token), HOVER))}”"


def _hover_now(seen: OneStep, row: StepRow, compared: bool) -> str:
    words = [
        _named(seen, row.position, row.token),
        short(row.probability),
        f"rank {row.rank}" if row.rank else f"none of the {seen.kept} kept",
        f"step {seen.frame.step}",
    ]
    if row.written:
        words.append("written here")
    if row.before is not None:
        words.append(f"{_signed(row.probability - row.before)} since step {seen.before.step}")
    elif compared:
        words.append(f"none of the {seen.kept} kept at step {seen.before.step}")
    return " · ".join(words)


def _room() -> int:
    """Pixels of height that are left to rows."""
    return HEIGHT - MARGIN["t"] - MARGIN["b"]


# ---------------------------------------------------------------- in words, and as a table


def step_words(trace: Trace, step: int, segment: int | None = None) -> str:
    """The heatmap for those who do not see it. Errors as `one_step`."""
    seen = one_step(trace, step, segment)
    written = [
        f"token {position + 1} “{seen.spell(token)}” with probability {short(chosen)}"
        for position, (token, chosen) in seen.written.items()
    ]
    more = f" and {len(written) - 5} more" if len(written) > 5 else ""
    told = f"Written: {', '.join(written[:5])}{more}." if written else "Nothing was written."
    return f"Step {step}: the model was asked about {_counted(len(seen.frame.positions), 'position')}. {told}"


def position_words(trace: Trace, step: int, position: int, segment: int | None = None) -> str:
    """The bars for those who do not see them. Errors as `position_bars`."""
    seen = one_step(trace, step, segment)
    rows = [
        f"“{seen.spell(row.token)}” {short(row.probability)}{', written here' if row.written else ''}"
        for row in seen.rows(position)[:8]
    ]
    return f"Token {position + 1} at step {step}: {'; '.join(rows)}."


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def step_table(trace: Trace, step: int, segment: int | None = None) -> list[StepRow]:
    """All candidates of all positions that were asked at a step. Errors as `one_step`."""
    seen = one_step(trace, step, segment)
    return [row for position in seen.frame.positions.tolist() for row in seen.rows(position)]


HEADER = ("position", "token", "text", "probability", "rank", "probability_before", "written")


def step_csv(rows: Iterable[StepRow]) -> str:
    """The table as a file (RFC 4180), positions counted from 1; what is not known is empty."""
    lines = (
        (row.position + 1, row.token, row.text, row.probability, row.rank, row.before, int(row.written))
        for row in rows
    )
    return csv_text(HEADER, lines)
