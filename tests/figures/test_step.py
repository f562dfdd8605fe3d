"""Figures, words and tables of a step say exactly what its frame holds."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ddemo import runs
from ddemo.errors import InputError
from ddemo.figures import look
from ddemo.figures import step as figures
from ddemo.figures.look import DARK, LIGHT, PAGE
from ddemo.figures.spelling import harmless, spelled
from ddemo.figures.step import (
    last_asked,
    one_step,
    position_bars,
    position_words,
    step_csv,
    step_heatmap,
    step_table,
    step_words,
)
from ddemo.sampling import SamplerConfig
from ddemo.sampling.canvas import Canvas
from ddemo.sampling.clock import Clock
from ddemo.sampling.frame import ARRAYS, Frame
from ddemo.trace import Segment, Trace

UI = Path(__file__).parents[2] / "ddemo" / "ui"
MASK = 9
PIECES = {0: b" the", 1: b"\n", 2: b"<b>x", 3: b" gazed", 4: b" a", 5: b"the", MASK: b"[MASK]"}


def frame(step: int, asked: dict[int, dict[int, float]], written: dict[int, tuple[int, float]]) -> Frame:
    """A frame from {position: {token: probability}} and {position: (token, probability)}."""
    values = {
        "positions": list(asked),
        "entropy": [1.0] * len(asked),
        "ids": [list(row) for row in asked.values()] or np.empty((0, 0)),
        "probabilities": [list(row.values()) for row in asked.values()] or np.empty((0, 0)),
        "written": list(written),
        "tokens": [token for token, _ in written.values()],
        "chosen": [chosen for _, chosen in written.values()],
    }
    arrays = {name: np.array(values[name], kind) for name, kind in ARRAYS.items()}
    return Frame(step=step, t=1.0, s=0.5, nfe=step, **arrays)


def segment(first: int, length: int = 5, last: int = 9) -> Segment:
    masks = torch.full((length,), MASK)
    free = torch.zeros(length, dtype=torch.bool)
    return Segment(Canvas(masks, free, torch.zeros(length, dtype=torch.uint8)), Clock(first, last))


def trace_of(*frames: Frame, segments: tuple[Segment, ...] = (), pieces: dict[int, bytes] = PIECES) -> Trace:
    checkpoint = {"id": "made-up", "device": "cpu"}
    return Trace(checkpoint, SamplerConfig(), MASK, list(segments) or [segment(0)], list(frames), pieces=dict(pieces))


@pytest.fixture
def made() -> Trace:
    """Three steps over five masks: the second writes a token that is no candidate kept, the third asks nothing."""
    return trace_of(
        frame(1, {1: {0: 0.5, 1: 0.25}, 2: {2: 0.75, 0: 0.125}, 4: {3: 0.5, 4: 0.0625}}, {2: (2, 0.75)}),
        frame(2, {1: {3: 0.375, 0: 0.25}, 4: {3: 0.25, 4: 0.125}}, {1: (5, 0.03125)}),
        frame(3, {}, {4: (3, 0.25)}),
    )


def cells(figure) -> dict[tuple[str, str], tuple[float, int]]:
    """(position, token as it is written) -> what is drawn and its rank, from all heatmap layers; none overlap."""
    found = {}
    for layer in figure.select_traces({"type": "heatmap"}):
        for row, name in enumerate(layer.y):
            for column, position in enumerate(layer.x):
                if not np.isnan(layer.z[row, column]):
                    assert (position, name) not in found
                    found[position, name] = float(layer.z[row, column]), int(layer.customdata[row, column])
    return found


# ---------------------------------------------------------------- the heatmap


def test_heatmap_is_the_frame_and_blank_elsewhere(made):
    figure = step_heatmap(made, 1)
    assert cells(figure) == {
        ("2", "·the"): (0.5, 1),
        ("2", "⏎"): (0.25, 2),
        ("3", harmless("<b>x")): (0.75, 1),
        ("3", "·the"): (0.125, 2),
        ("5", "·gazed"): (0.5, 1),
        ("5", "·a"): (0.0625, 2),
    }
    assert list(figure.data[0].y) == [harmless("<b>x"), "·the", "·gazed", "⏎", "·a"]  # by total probability
    (written,) = figure.select_traces({"type": "scatter"})
    assert (list(written.x), list(written.y)) == (["3"], [harmless("<b>x")]) and written.marker.symbol == "circle"


def test_heatmap_of_a_run_equals_its_frames(tiny):
    trace = runs.begin(tiny, "The old [MASK:9] sea.", 0, SamplerConfig(steps=6, seed=2))
    list(runs.carry_out(tiny, trace))
    compared = 0
    for one in trace.frames:
        drawn = cells(step_heatmap(trace, one.step, most=1000))
        told = [value for value, rank in drawn.values() if rank]
        assert sorted(told) == sorted(one.probabilities.ravel().tolist())
        table = {(row.position, row.token): row for row in step_table(trace, one.step)}
        asked = zip(one.positions.tolist(), one.ids.tolist(), one.probabilities.tolist(), strict=True)
        for position, ids, p in asked:
            assert [table[position, token].probability for token in ids] == p
            assert [table[position, token].rank for token in ids] == list(range(1, len(ids) + 1))
        written = {(row.position, row.token) for row in table.values() if row.written}
        assert written == set(zip(one.written.tolist(), one.tokens.tolist(), strict=True))
        compared += len(told)
    assert compared > 100


def test_a_token_written_outside_the_candidates_has_its_cell_and_no_rank(made):
    figure = step_heatmap(made, 2)
    assert cells(figure)["2", "the"] == (0.03125, 0)
    (layer,) = (layer for layer in figure.data if "none of the 2 kept" in (layer.hovertemplate or ""))
    assert np.isfinite(layer.z).sum() == 1
    (outside,) = [row for row in step_table(made, 2) if row.rank is None]
    assert outside == (1, 5, "the", 0.03125, None, None, True)


def test_candidates_beyond_the_most_are_counted_and_written_ones_stay(made):
    figure = step_heatmap(made, 2, most=2)
    assert list(figure.data[0].y) == ["·gazed", "the"]  # "the" is the unlikeliest, and was written
    assert list(figure.layout.yaxis.ticktext) == ["·gazed", "the", "… 2 more"]
    assert "more" not in str(step_heatmap(made, 2).layout.yaxis.ticktext)


def test_columns_say_which_position_they_are(made):
    layers = list(step_heatmap(made, 2).select_traces({"type": "heatmap"}))
    assert layers and all(layer.meta == {"positions": [1, 4]} for layer in layers)


def test_scales_are_fixed_and_rows_keep_their_height(made):
    first, second = step_heatmap(made, 1), step_heatmap(made, 2)
    for figure in (first, second):
        assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
        axis = figure.layout.yaxis
        rows = len(axis.ticktext)
        assert (axis.domain[1] - axis.domain[0]) / rows == pytest.approx(17 / 446)
    assert first.layout.height == second.layout.height


def test_arrays_travel_as_arrays_without_a_template(made):
    sent = json.loads(step_heatmap(made, 1).to_json())
    assert sent["layout"]["template"] == {}
    assert {sent["data"][0][name]["dtype"] for name in ("z", "customdata")} == {"f4", "u1"}
    assert json.loads(position_bars(made, 1, 1).to_json())["data"][-1]["x"]["dtype"] == "f4"


def test_a_large_step_stays_small():
    asked = {at: {5 * at + i: 1 / (i + 2) for i in range(5)} for at in range(256)}
    pieces = {token: f" word{token}".encode() for token in range(5 * 256)}
    large = trace_of(frame(1, asked, {0: (0, 0.5)}), segments=(segment(0, 256),), pieces=pieces)
    figure = step_heatmap(large, 1)
    assert len(figure.to_json()) < 150_000
    assert figure.layout.yaxis.ticktext[-1] == f"… {5 * 256 - figures.MOST_CANDIDATES} more"


# ---------------------------------------------------------------- the bars


def test_bars_are_the_candidates_over_those_of_the_step_before(made):
    before, now = position_bars(made, 2, 1).data
    assert list(now.y) == ["·gazed", "·the", "● the"] and now.x.tolist() == [0.375, 0.25, 0.03125]
    assert list(before.y) == ["·gazed", "·the", "● the", "⏎"]
    assert before.x.tolist() == pytest.approx([np.nan, 0.5, np.nan, 0.25], nan_ok=True)
    assert (before.name, now.name) == ("step 1", "step 2 (● written)")
    assert list(now.text) == [".375  new", ".25  −.250", ".0312  new"]
    assert before.text[-1] == ".25 → none of the 2"
    assert now.customdata[1] == "token 2 · “·the” · .25 · rank 2 · step 2 · −.250 since step 1"
    assert now.customdata[2].endswith("none of the 2 kept · step 2 · written here · none of the 2 kept at step 1")
    assert now.meta == {"position": 1, "tokens": [3, 0, 5]}


def test_bars_have_one_height_in_a_run(made):
    one, other = position_bars(made, 1, 4), position_bars(made, 2, 1)
    assert one.layout.height == other.layout.height == 114 + 5 * 34
    for figure in (one, other):
        axis = figure.layout.yaxis
        assert (axis.domain[1] - axis.domain[0]) / len(axis.categoryarray) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    "difference, words",
    [(0.0, "±0"), (-0.0004, "±0"), (0.0005, "+.001"), (-0.25, "−.250"), (1.0, "+1.000"), (0.0996, "+.100")],
)
def test_changes_are_signed(difference, words):
    assert figures._signed(difference) == words


def test_bars_of_a_first_look_compare_with_nothing(made):
    (only,) = position_bars(made, 1, 4).data
    assert list(only.text) == [".5", ".0625"] and "since" not in " ".join(only.customdata)


def test_the_step_before_is_the_last_that_asked_on_the_same_canvas(made):
    made.frames.append(frame(4, {4: {4: 0.5, 3: 0.25}}, {}))
    assert one_step(made, 4).before.step == 2
    assert position_bars(made, 4, 4).data[0].name == "step 2"
    made.segments.append(segment(3, length=6))  # an edit: positions may mean something else since
    assert one_step(made, 4).before is None and len(position_bars(made, 4, 4).data) == 1


def test_last_asked(made):
    assert [last_asked(made, step, 1) for step in range(4)] == [None, 1, 2, 2]
    assert [last_asked(made, step, 2) for step in range(4)] == [None, 1, 1, 1]
    assert last_asked(made, 3, 0) is None
    made.segments.append(segment(2, length=6))
    assert last_asked(made, 3, 1) is None and last_asked(made, 2, 1) == 2


# ---------------------------------------------------------------- what cannot be shown


@pytest.mark.parametrize(
    "step, part, words",
    [
        (0, None, "before any step"),
        (3, None, "did not ask the model"),
        (4, None, "steps 0 to 3"),
        (-1, None, "steps 0 to 3"),
        ("1", None, "steps 0 to 3"),
        (True, None, "steps 0 to 3"),
        (1, 3, "no segment"),
        (1, "x", "no segment"),
    ],
)
@pytest.mark.parametrize("shown", [step_heatmap, step_words, step_table, one_step])
def test_a_step_that_asked_nothing_is_a_sentence(made, shown, step, part, words):
    with pytest.raises(InputError, match=words):
        shown(made, step, part)


def test_the_canvas_after_an_edit_has_not_been_asked_yet(made):
    made.segments.append(segment(2, length=6))
    assert one_step(made, 2).frame.step == one_step(made, 2, 0).frame.step == 2
    with pytest.raises(InputError, match="after your edit"):
        one_step(made, 2, 1)


@pytest.mark.parametrize("position", [0, 2, 5, -1, 10**12])
def test_a_position_that_was_not_asked_is_a_sentence(made, position):
    with pytest.raises(InputError, match=rf"not asked about token {position + 1} at step 2"):
        position_bars(made, 2, position)


def test_a_run_that_keeps_no_candidates_shows_what_was_written():
    bare = trace_of(frame(1, {1: {}, 2: {}}, {1: (3, 0.5)}))
    assert cells(step_heatmap(bare, 1)) == {("2", "·gazed"): (0.5, 0)}
    assert list(position_bars(bare, 1, 1).data[0].y) == ["● ·gazed"]
    assert len(position_bars(bare, 1, 2).data[0].y) == 0


def test_masking_again_is_not_writing():
    back = trace_of(frame(1, {1: {3: 0.5, 0: 0.25}}, {1: (3, 0.5), 2: (MASK, 0.0)}))
    assert step_words(back, 1).endswith("Written: token 2 “·gazed” with probability .5.")


# ---------------------------------------------------------------- texts

HOSTILE = [
    "<b>", "<a href=\"https://example.org\">x</a>", "%{x}", "%{customdata[0]}", "$x$", "$$\\frac{1}{2}$$", "&lt;",
    "&amp;amp;", "<br>", "</extra>", "<extra>", "var(--dd-ink)", "<script>alert(1)</script>", "{{x}} ${x}",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_a_token_is_spelled_out(text):
    escaped = harmless(text)
    assert not re.search(r"[<>$%{}(]|&(?!#\d+;)", escaped)
    assert re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), escaped) == text


def test_no_text_of_a_token_reaches_a_figure_as_it_is():
    pieces = dict(enumerate(text.encode() for text in HOSTILE)) | {MASK + 90: b"[MASK]"}
    ids = list(range(len(HOSTILE)))
    trace = trace_of(
        frame(1, {1: dict.fromkeys(ids, 0.05)}, {}), frame(2, {1: dict.fromkeys(ids[1:], 0.0625)}, {}), pieces=pieces
    )
    for figure in (step_heatmap(trace, 1), position_bars(trace, 2, 1)):
        texts = [*figure.layout.yaxis.categoryarray, *(figure.layout.yaxis.ticktext or ())]
        for layer in figure.data:
            texts += [text for part in (layer.y, layer.text, layer.customdata) if part is not None for text in part]
        texts = [text for text in texts if isinstance(text, str)]
        for hostile in HOSTILE:
            assert any(harmless(figures.shortened(hostile, figures.LABEL)) in text for text in texts)
        assert not [text for text in texts if re.search(r"[<>$%{}(]|&(?!#\d+;)", text)]


def test_tokens_that_look_alike_are_told_apart():
    pieces = {0: b"a" * 30 + b"b", 1: b"a" * 30 + b"c", 2: b"d", MASK: b""}
    alike = trace_of(frame(1, {1: {0: 0.5, 1: 0.25, 2: 0.125}}, {}), pieces=pieces)
    assert list(step_heatmap(alike, 1).data[0].y) == [f"{'a' * 13}… #0", f"{'a' * 13}… #1", "d"]
    assert len(set(position_bars(alike, 1, 1).data[0].y)) == 3


@pytest.mark.parametrize(
    "piece, text",
    [
        (b" gazed", "·gazed"),
        (b"  x", "··x"),
        (b" ", "␣"),
        (b"\n\n", "⏎⏎"),
        (b"\xe2\x80", "⟨E2⟩⟨80⟩"),
        ("é".encode(), "é"),
        (b"<|endoftext|>", "end of text"),
        (b"[PAD]", "PAD"),
        ("\u200b\u202e".encode(), "⟨ZWSP⟩⟨RLO⟩"),
        ("👩\u200d🚀".encode(), "👩\u200d🚀"),
        (b"\x00\x1b\x7f", "␀␛␡"),
        (b"", ""),
    ],
)
def test_spelling(piece, text):
    assert spelled(piece) == text


SPELL = """
const M = require(process.argv[1]);
const spell = (bytes) => {
  const [gap, ink] = M.splitGap(M.alignText([Uint8Array.from(bytes)])[0].text);
  const shown = M.visible(ink || gap).filter(({kind}) => kind !== 'break');
  return '·'.repeat(gap.length) + shown.map(({text}) => text).join('');
};
console.log(JSON.stringify(JSON.parse(require('fs').readFileSync(0, 'utf8')).map(spell)));
"""


def test_spelling_is_that_of_the_page(tiny, run_in_node):
    pieces = [tiny.codec.piece(token) for token in range(3, tiny.denoiser.vocab_size)]
    pieces += [text.encode() for text in HOSTILE]
    pieces += [chr(code).encode() for code in (*range(0x300), *range(0x2000, 0x2070), 0xFE0F, 0xFEFF, 0x1F600)]
    pieces += [b" \tx\n", "a\u200db".encode(), "👩\u200d🚀".encode(), b" \xf0\x9f", b"[UNK]", b"<|x_y|>"]
    told = json.dumps([list(piece) for piece in pieces])
    page = json.loads(run_in_node(SPELL, UI / "token_canvas" / "model.js", read=told))
    assert [(piece, spelled(piece)) for piece in pieces] == list(zip(pieces, page, strict=True))


# ---------------------------------------------------------------- words and tables


def test_words_for_those_who_do_not_see_it(made):
    assert step_words(made, 1) == (
        "Step 1: the model was asked about 3 positions. Written: token 3 “<b>x” with probability .75."
    )
    assert position_words(made, 2, 1) == "Token 2 at step 2: “·gazed” .375; “·the” .25; “the” .0312, written here."
    many = trace_of(frame(1, {at: {3: 0.5} for at in range(5)} | {5: {3: 0.5}}, dict.fromkeys(range(6), (3, 0.5))))
    assert step_words(many, 1).endswith(" and 1 more.")


def test_table_as_a_file(made):
    lines = list(csv.reader(io.StringIO(step_csv(step_table(made, 2)), newline="")))
    assert lines == [
        ["position", "token", "text", "probability", "rank", "probability_before", "written"],
        ["2", "3", " gazed", "0.375", "1", "", "0"],
        ["2", "0", " the", "0.25", "2", "0.5", "0"],
        ["2", "5", "the", "0.03125", "", "", "1"],
        ["5", "3", " gazed", "0.25", "1", "0.5", "0"],
        ["5", "4", " a", "0.125", "2", "0.0625", "0"],
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_text_becomes_a_formula(text):
    trace = trace_of(frame(1, {1: {3: 0.5}}, {}), pieces={3: text.encode()})
    (row,) = list(csv.reader(io.StringIO(step_csv(step_table(trace, 1)), newline="")))[1:]
    assert row[2] == f"'{text}"


@pytest.mark.parametrize("text", ['a"b', "a,b", "a\nb", "a\r\nb", "é", "⟨E2⟩", "a=b"])
def test_any_text_comes_back_out_of_the_file(text):
    trace = trace_of(frame(1, {1: {3: 0.5}}, {}), pieces={3: text.encode()})
    (row,) = list(csv.reader(io.StringIO(step_csv(step_table(trace, 1)), newline="")))[1:]
    assert row[2] == text


# ---------------------------------------------------------------- colours


def test_colours_are_those_of_the_page():
    sheets = [(UI / folder / name).read_text() for folder, name in
              (("token_canvas", "palette.css"), ("run_charts", "charts.css"))]  # fmt: skip
    for colours, opening in ((LIGHT, ":root {"), (DARK, "\n.dark {")):
        rules = "".join(sheet.split(opening)[1].split("}")[0] for sheet in sheets)
        values = dict(re.findall(r"(--[\w-]+): ([^;]+);", rules))
        names = [re.fullmatch(r"var\((.+)\)", name)[1] for name in (*_flat(PAGE),)]
        assert [values[name] for name in names] == [*_flat(colours)]


def _flat(colours: look.Colours) -> list[str]:
    return [colours.paper, colours.ink, colours.muted, colours.line, colours.now, colours.before, *colours.ramp]


def test_a_figure_uses_the_colours_that_it_is_given(made):
    for shown in (step_heatmap(made, 2, colours=DARK), position_bars(made, 2, 1, colours=DARK)):
        used = set(re.findall(r"#[0-9a-f]{6}\b", shown.to_json()))
        assert used and used <= set(_flat(DARK))
