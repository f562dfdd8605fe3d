"""A visitor's edits: each does what it says, all else stays, and nothing hostile gets through."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.errors import InputError
from ddemo.processes import SCHEDULES
from ddemo.sampling import Canvas, Clock, FillRules, Lane, SamplerConfig, read_text
from ddemo.sampling.canvas import Spacing
from ddemo.sampling.edits import clock_after_edits, edited_canvas
from ddemo.sampling.samplers import of_process
from ddemo.sampling.samplers.definition import BY_CLOCK
from tests.sampling.drive import MASK, canvas_of, fresh, row_of, run, sentence_of, token_of

PROMPT = "The old [MASK:4] sea, and said"


@pytest.fixture(scope="module")
def codec(tiny):
    return tiny.codec


@pytest.fixture(scope="module")
def begun(codec) -> Canvas:
    """A run in its middle: the first two of four masks are filled."""
    canvas = read_text(PROMPT, 0, codec, 64)
    first = int(canvas.masks(codec.mask_id)[0])
    tokens = canvas.tokens.clone()
    tokens[first : first + 2] = torch.tensor([token_of(codec, " into"), token_of(codec, ",")])
    return canvas.with_tokens(tokens)


def edit(codec, canvas, cells, max_length: int = 64):
    return edited_canvas(canvas, cells, codec, codec.never_drawn, max_length)[:2]


def same_canvas(one: Canvas, other: Canvas) -> bool:
    tensors = all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("tokens", "fixed", "spacing"))
    return tensors and (one.own, one.forced, one.locked) == (other.own, other.forced, other.locked)


def gap(codec, canvas: Canvas) -> int:
    """Where the first mask of the prompt stood."""
    return int((~canvas.fixed).nonzero()[0])


def test_a_row_without_edits_is_the_canvas_itself(codec, begun):
    canvas, edits = edit(codec, begun, row_of(begun))
    assert same_canvas(canvas, begun) and edits == []


def test_forcing_a_candidate(codec, begun):
    cells, place, token = row_of(begun), gap(codec, begun), token_of(codec, " and")
    cells[place]["id"] = token
    canvas, edits = edit(codec, begun, cells)
    assert edits == [{"edit": "force", "at": place, "id": token}]
    assert canvas.tokens[place] == token and canvas.fixed[place] and canvas.forced == {place}
    assert torch.equal(canvas.tokens[place + 1 :], begun.tokens[place + 1 :])


def test_typing_over_a_token_may_make_several(codec, begun):
    cells, place, typed = row_of(begun), gap(codec, begun), " 👩 [MASK]"
    cells[place]["text"] = typed
    canvas, edits = edit(codec, begun, cells)
    count = len(codec.encode(typed)[0])
    assert count > 4 and len(canvas) == len(begun) + count - 1
    assert edits == [{"edit": "type", "at": place, "text": typed}]
    assert canvas.forced == set(range(place, place + count)) and canvas.fixed[place : place + count].all()
    assert canvas.text(codec) == begun.text(codec).replace(" into", typed, 1)  # its [MASK] is five characters
    assert (canvas.tokens == codec.mask_id).sum() == 2


def test_typed_text_is_kept_to_the_character_by_a_lossy_tokenizer(wordpiece):
    canvas = read_text("the [MASK] sea", 0, wordpiece, 64)
    cells = [{"from": 0, "text": "THÉ  \u200b"}, {"from": 1}, {"from": 2, "text": "  "}]
    edited, _ = edit(wordpiece, canvas, cells)
    assert edited.text(wordpiece) == "THÉ  \u200b [MASK]  "


@pytest.mark.parametrize("word, rule", [(" sea", Spacing.SPACE_FIRST), (",", Spacing.NO_SPACE_FIRST)])
def test_masking_fixed_text_keeps_its_spacing(codec, begun, word, rule):
    filled = begun.with_tokens(begun.tokens.masked_fill(begun.tokens == codec.mask_id, token_of(codec, " a")))
    place = filled.tokens.tolist().index(codec.encode(word)[0][0], gap(codec, filled) + 4)
    cells = row_of(filled)
    cells[place]["mask"] = True
    canvas, edits = edit(codec, filled, cells)
    assert edits == [{"edit": "mask", "at": place}]
    assert canvas.tokens[place] == codec.mask_id and not canvas.fixed[place]
    assert canvas.spacing[place] == rule | Spacing.NO_SPACE_LAST
    canvas_text = canvas.text(codec)
    marked = " [MASK]" if rule == Spacing.SPACE_FIRST else "[MASK]"
    assert canvas_text == "".join(codec.aligned(filled.tokens.tolist()[:place])) + marked + "".join(
        codec.aligned(filled.tokens.tolist()[place + 1 :])
    )


def test_only_the_first_of_a_masked_span_carries_the_space(codec, begun):
    cells = row_of(begun)
    for cell in cells[:2]:
        cell["mask"] = True
    canvas, _ = edit(codec, begun, cells)
    assert canvas.spacing[:2].tolist() == [int(Spacing.NO_SPACE_FIRST), int(canvas.spacing[1])]
    assert not canvas.spacing[1] & (Spacing.SPACE_FIRST | Spacing.NO_SPACE_FIRST)


def test_masking_what_the_run_wrote_restores_its_rule(codec, begun):
    cells, place = row_of(begun), gap(codec, begun)
    cells[place]["mask"] = True
    canvas, edits = edit(codec, begun, cells)
    assert edits == [{"edit": "mask", "at": place}]
    assert canvas.spacing[place] == begun.spacing[place] == Spacing.SPACE_FIRST


def test_masking_a_mask_is_no_edit(codec, begun):
    cells = row_of(begun)
    cells[gap(codec, begun) + 3]["mask"] = True
    canvas, edits = edit(codec, begun, cells)
    assert same_canvas(canvas, begun) and edits == []


def test_new_masks(codec, begun):
    cells, end = row_of(begun), gap(codec, begun) + 4
    cells[end:end] = [{"mask": True}, {"mask": True}]
    canvas, edits = edit(codec, begun, cells)
    assert edits == [{"edit": "mask", "at": end}, {"edit": "mask", "at": end + 1}]
    assert len(canvas) == len(begun) + 2 and (canvas.tokens == codec.mask_id).sum() == 4
    assert canvas.spacing[end + 1] & Spacing.NO_SPACE_LAST  # it stands before fixed text now


def test_deleting(codec, begun):
    cells = row_of(begun)
    del cells[:2]
    canvas, edits = edit(codec, begun, cells)
    assert edits == [{"edit": "delete", "at": 0}, {"edit": "delete", "at": 1}]
    assert torch.equal(canvas.tokens, begun.tokens[2:]) and torch.equal(canvas.fixed, begun.fixed[2:])


def test_positions_move_with_their_tokens(codec, begun):
    """A deletion in front shifts own characters, forced and locked positions alike."""
    place = gap(codec, begun)
    fixed = begun.fixed.clone()
    fixed[place : place + 2] = True
    forced, locked = frozenset({place}), frozenset({place + 1})
    marked = Canvas(begun.tokens, fixed, begun.spacing, {1: "OLD"}, forced, locked)
    cells = row_of(marked)[1:]
    cells[place]["lock"] = True
    canvas, edits = edit(codec, marked, cells)
    assert canvas.own == {0: "OLD"} and canvas.forced == {place - 1} and canvas.locked == {place}
    assert edits == [{"edit": "delete", "at": 0}]


def test_locking_and_letting_go(codec, begun):
    cells, place = row_of(begun), gap(codec, begun)
    cells[place]["lock"] = True
    held, edits = edit(codec, begun, cells)
    assert edits == [{"edit": "lock", "at": place}] and held.locked == {place} and held.fixed[place]
    again, edits = edit(codec, held, cells)
    assert edits == [] and same_canvas(again, held)
    free, edits = edit(codec, held, row_of(held))
    assert edits == [{"edit": "unlock", "at": place}] and same_canvas(free, begun)


def test_a_forced_token_stays_fixed_when_its_lock_is_let_go(codec, begun):
    cells, place = row_of(begun), gap(codec, begun)
    cells[place] |= {"id": token_of(codec, " and"), "lock": True}
    held, _ = edit(codec, begun, cells)
    assert held.forced == held.locked == {place}
    canvas, _ = edit(codec, held, row_of(held))
    assert canvas.fixed[place] and canvas.forced == {place} and not canvas.locked


def test_the_prompt_needs_no_lock_and_cannot_be_let_go(codec, begun):
    cells = row_of(begun)
    cells[0]["lock"] = True
    canvas, edits = edit(codec, begun, cells)
    assert edits == [] and same_canvas(canvas, begun)
    assert edit(codec, canvas, row_of(canvas))[0].fixed[0]


def test_a_mask_cannot_be_locked(codec, begun):
    """A fixed mask would leave no free position, and the time with nothing to divide by."""
    cells = [dict(cell, lock=True) for cell in row_of(begun)]
    canvas, _ = edit(codec, begun, cells)
    assert not canvas.fixed[canvas.masks(codec.mask_id)].any()
    assert clock_after_edits(canvas, codec.mask_id, 3, SamplerConfig()).start == 1.0


@pytest.mark.parametrize(
    "cell",
    [
        None,
        3,
        "mask",
        "\ud800",
        [],
        [["from", 1]],
        {},
        {"from": None},
        {"from": -1},
        {"from": 10**6},
        {"from": 10**400},
        {"from": 1.0},
        {"from": "1"},
        {"from": True},
        {"from": [1]},
        {"from": {"a": 1}},
        {"mask": False},
        {"mask": 1},
        {"mask": "true"},
        {"id": 5},
        {"text": "a"},
        {"lock": True},
        {"from": 1, "mask": "yes"},
        {"from": 1, "lock": 1},
        {"from": 1, "lock": None},
        {"from": 1, "more": 1},
        {"from": 1, "\ud800": 1},
        {"from": 1, "__proto__": {}},
        {"from": 1, "x" * 10_000: 1},
    ],
    ids=lambda cell: ascii(cell)[:30],
)
def test_cells_that_mean_nothing(codec, begun, cell):
    assert "This edit cannot be read" in sentence_of(lambda: edit(codec, begun, [*row_of(begun), cell]))


@pytest.mark.parametrize("token", [-1, 378, 10**9, 10**400, None, True, 1.0, "5", "\ud800", [5], {}])
def test_tokens_that_cannot_be_forced(codec, begun, token):
    cells = row_of(begun)
    cells[1]["id"] = token
    assert "cannot be put on the canvas" in sentence_of(lambda: edit(codec, begun, cells))


@pytest.mark.parametrize("name", ["[MASK]", "[PAD]"])
def test_special_tokens_cannot_be_forced(codec, begun, name):
    cells = row_of(begun)
    cells[1]["id"] = codec.tokenizer.convert_tokens_to_ids(name)
    assert "cannot be put on the canvas" in sentence_of(lambda: edit(codec, begun, cells))


@pytest.mark.parametrize("text", ["", None, 5, ["a"], "x" * 1001, b"a", True])
def test_typing_that_is_no_text(codec, begun, text):
    cells = row_of(begun)
    cells[1]["text"] = text
    assert "1 to 1,000 characters" in sentence_of(lambda: edit(codec, begun, cells))


def test_typing_half_a_character(codec, begun):
    cells = row_of(begun)
    cells[1]["text"] = "a\ud83d"
    assert "lone surrogate" in sentence_of(lambda: edit(codec, begun, cells))


@pytest.mark.parametrize("cells", [None, "cells", {"from": 1}, 5, [{"mask": True}] * 10_000, [{"from": 0}] * 10_000])
def test_rows_that_are_none(codec, begun, cells):
    assert "list of at most 256 cells" in sentence_of(lambda: edit(codec, begun, cells))


@pytest.mark.parametrize("extra", [[{"mask": True}] * 60, [{"from": 0, "text": "z" * 1000}], [{"from": 1}] * 60])
def test_a_row_longer_than_the_checkpoint_takes(codec, begun, extra):
    message = sentence_of(lambda: edit(codec, begun, [*row_of(begun), *extra]))
    assert "more than the 64 tokens" in message
    edit(codec, begun, [*row_of(begun), *extra], max_length=2000)  # nothing else is wrong with it


def test_nothing_masked(codec, begun):
    token = token_of(codec, " a")
    cells = [dict(cell, id=token) if begun.tokens[cell["from"]] == codec.mask_id else cell for cell in row_of(begun)]
    assert "Nothing is masked" in sentence_of(lambda: edit(codec, begun, cells))
    assert "Nothing is masked" in sentence_of(lambda: edit(codec, begun, []))


def one_by_one(text):
    """Markers as one [MASK] a token, without spaces in front: one of them may belong to the run."""
    return re.sub(r" *\[MASK(?::(\d+))?\]", lambda found: "[MASK]" * int(found.group(1) or 1), text)


EDITS = st.sampled_from(["keep", "keep", "mask", "force", "type", "lock", "delete", "insert"])
TYPED = st.text(st.sampled_from("aé 👩\n\u200b"), min_size=1, max_size=4)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_row_of_edits_gives_the_text_it_describes(codec, begun, data):
    cells, expected = [{"mask": True}], "[MASK]"
    shown = codec.aligned(begun.tokens.tolist())
    for position in range(len(begun)):
        kind, cell = data.draw(EDITS), {"from": position}
        text = "[MASK]" if begun.tokens[position] == codec.mask_id else shown[position]
        if kind == "delete":
            continue
        if kind == "insert":
            cells.append({"mask": True})
            text = "[MASK]" + text
        if kind == "mask":
            cell["mask"], text = True, "[MASK]"
        if kind == "force":
            cell["id"] = data.draw(st.sampled_from([token_of(codec, " and"), token_of(codec, "e")]))
            text = codec.decode([cell["id"]])
        if kind == "type":
            cell["text"] = text = data.draw(TYPED)
        if kind == "lock":
            cell["lock"] = True
        cells.append(cell)
        expected += text
    canvas, edits = edit(codec, begun, cells, max_length=1000)
    assert one_by_one(canvas.text(codec)) == one_by_one(expected)
    masked = canvas.tokens == codec.mask_id
    assert not canvas.fixed[masked].any()
    assert canvas.fixed[sorted(canvas.forced | canvas.locked)].all()
    assert all(isinstance(record["edit"], str) and isinstance(record["at"], int) for record in edits)
    ends = [i for i in range(len(canvas) - 1) if masked[i] and canvas.fixed[i + 1]]
    assert all(canvas.spacing[i] & Spacing.NO_SPACE_LAST for i in ends)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 500) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(["from", "mask", "id", "text", "lock", "edit"])


@given(st.lists(st.dictionaries(NAMES, JSON | st.integers(0, 12) | st.just(True), max_size=3) | JSON, max_size=5))
@settings(max_examples=100, deadline=None)
def test_hostile_rows_give_a_canvas_or_a_sentence(codec, begun, cells):
    try:
        canvas, _ = edit(codec, begun, [*row_of(begun), *cells])
    except InputError as problem:
        str(problem).encode()
    else:
        assert len(canvas) <= 64 and (canvas.tokens == codec.mask_id).any()
        assert ((canvas.tokens >= 0) & (canvas.tokens < codec.vocab_size)).all()


def half_done(masks: int, filled: int) -> Canvas:
    """Free positions, of which the first are masked, and 30 that are fixed."""
    tokens = torch.tensor([MASK] * masks + [1] * filled + [2] * 30)
    fixed = torch.arange(len(tokens)) >= masks + filled
    return Canvas(tokens, fixed, torch.zeros(len(tokens), dtype=torch.uint8))


@pytest.mark.parametrize("steps", [1, 2, 7, 32, 1024])
@pytest.mark.parametrize("masks, filled", [(1, 0), (1, 99), (3, 4), (50, 50), (1, 2)])
def test_time_goes_on_from_the_share_of_free_positions_masked(masks, filled, steps):
    canvas, config = half_done(masks, filled), SamplerConfig("ancestral", steps=steps)
    clock = clock_after_edits(canvas, MASK, 9, config)
    share = masks / (masks + filled)
    assert clock.first == 9 and clock.start == pytest.approx(share, abs=1e-12)
    assert clock.last - 9 == max(1, math.ceil(share * steps - 1e-9))
    stride = clock.start / (clock.last - clock.first)
    assert stride <= 1 / steps + 1e-9
    assert stride >= 0.5 / steps or clock.last == 10  # never shorter than it has to be


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_time_goes_on_from_where_the_schedule_has_that_share(schedule):
    clock = clock_after_edits(half_done(30, 70), MASK, 4, SamplerConfig("ancestral", steps=50, schedule=schedule))
    assert SCHEDULES[schedule].alpha(clock.start) == pytest.approx(0.7, abs=2e-3)
    assert clock.last - clock.first == math.ceil(clock.start * 50 - 1e-9)


@pytest.mark.parametrize("sampler", of_process("absorbing"), ids=lambda sampler: sampler.name)
@pytest.mark.parametrize("block_length", [0, 2, 4])
@pytest.mark.parametrize("steps", [4, 24])
def test_every_sampler_goes_on_after_edits(make_fake, sampler, block_length, steps):
    """Also where the masks that an edit leaves no longer divide into blocks, or the steps that are left are few."""
    canvas = half_done(7, 13)
    config = SamplerConfig(sampler.name, steps=steps, block_length=block_length)
    clock = clock_after_edits(canvas, MASK, 5, config)
    lane = Lane(canvas, config, clock)
    frames = run(make_fake(), [lane])[0]
    assert frames[0].step == 6 and frames[-1].step <= clock.last and not (lane.tokens == MASK).any()
    assert torch.equal(lane.tokens[canvas.fixed], canvas.tokens[canvas.fixed])
    assert all(1.0 >= frame.t >= frame.s >= 0.0 for frame in frames) and frames[0].t <= clock.start
    if sampler.paced == BY_CLOCK and len(frames) == clock.last - 5:
        assert frames[-1].s == 0.0


def test_the_run_goes_on_to_the_end_after_edits(codec, begun, tiny):
    cells = row_of(begun)
    cells[0]["mask"] = True
    cells[gap(codec, begun)]["lock"] = True
    canvas, _ = edit(codec, begun, cells)
    clock = clock_after_edits(canvas, codec.mask_id, 5, SamplerConfig(steps=10))
    lane = Lane(canvas, SamplerConfig("ancestral", steps=10), clock)
    frames = run(tiny.denoiser, [lane], FillRules.of(codec))[0]
    assert frames[0].step == 6 and frames[0].t == clock.start
    assert not (lane.tokens == codec.mask_id).any()
    assert torch.equal(lane.tokens[canvas.fixed], canvas.tokens[canvas.fixed])
    assert lane.tokens[gap(codec, begun)] == token_of(codec, " into")


def test_a_fresh_run_starts_at_one_whatever_is_fixed():
    lane = fresh(canvas_of(torch.tensor([MASK, 1, 2, 3])), SamplerConfig(steps=4))
    assert lane.clock == Clock(0, 4, 1.0) and lane.time == 1.0


def test_path_planning_goes_on_from_the_masks_that_an_edit_left(make_fake):
    """12 of 40 free positions are masks again: an even pace from these 12, not from all that is free."""
    config, canvas = SamplerConfig("p2", steps=20, seed=3), half_done(12, 28)
    clock = clock_after_edits(canvas, MASK, 8, config)
    lane = Lane(canvas, config, clock, step=8)
    frames = run(make_fake(), [lane])[0]
    stands, left = canvas.tokens.clone(), []
    for frame in frames:
        stands[torch.from_numpy(frame.written).long()] = torch.from_numpy(frame.tokens).long()
        left.append(int((stands == MASK).sum()))
    assert left == [10, 8, 6, 4, 2, 0]
