"""From a visitor's text to a canvas and back: everything that was not masked is kept to the character."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ddemo.sampling import Canvas, FillRules, Lane, SamplerConfig, read_text
from ddemo.sampling.canvas import MAX_CHARACTERS, MaskRun, Spacing, joins_a_word, marker, parse_markers
from ddemo.sampling.samplers import of_process
from tests.sampling.drive import run as run_lanes
from tests.sampling.drive import sentence_of

FREE, SPACE, NO_SPACE, NO_END = Spacing.FREE, Spacing.SPACE_FIRST, Spacing.NO_SPACE_FIRST, Spacing.NO_SPACE_LAST


@pytest.fixture(scope="module")
def codec(tiny):
    return tiny.codec


def spacing_at_masks(canvas: Canvas, codec) -> list[int]:
    return canvas.spacing[canvas.masks(codec.mask_id)].tolist()


@pytest.mark.parametrize(
    "text, parts",
    [
        ("", []),
        ("plain", ["plain"]),
        ("[MASK]", [MaskRun(1)]),
        ("a [MASK:5] b", ["a ", MaskRun(5), " b"]),
        ("[mask:5][Mask]", [MaskRun(5), MaskRun(1)]),
        ("[MASK: 12 ]", [MaskRun(12)]),
        ("[MASK:007]", [MaskRun(7)]),
        ("[MASK:000000000000005]", [MaskRun(5)]),
        ("un___able", ["un", MaskRun(1), "able"]),
        ("__ and ______", ["__ and ", MaskRun(1)]),
        ("[MASK", ["[MASK"]),
        ("[MASK:5", ["[MASK:5"]),
        ("[MASK:5\n]", ["[MASK:5\n]"]),
        ("[[MASK]]", ["[", MaskRun(1), "]"]),
        ("[MASKED] [MASK5] [ MASK]", ["[MASKED] [MASK5] [ MASK]"]),
    ],
)
def test_markers(text, parts):
    assert parse_markers(text) == parts


@pytest.mark.parametrize("inside", ["0", "x", "", "-1", "1.5", "5 6", "٣", "²", "\ud800", "0" * 30])
def test_a_marker_without_a_number_is_named(inside):
    message = sentence_of(lambda: parse_markers(f"a [MASK:{inside}] b"))
    assert message.startswith("[MASK:") and "does not say how many tokens" in message


@given(st.integers(1, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_marker_is_read_as_it_is_written(count):
    assert parse_markers(marker(count)) == [MaskRun(count)]


def test_open_brackets_by_the_thousand_are_read_in_no_time():
    """Reading on to the end of the text from each of them would take more than 10 seconds."""
    began = time.perf_counter()
    assert len(parse_markers("[MASK:" * (MAX_CHARACTERS // 6))) == 1
    assert time.perf_counter() - began < 3.0


@pytest.mark.parametrize(
    "text, spacing",
    [
        ("[MASK]", [NO_SPACE | NO_END]),
        ("[MASK:3]", [NO_SPACE, FREE, NO_END]),
        ("old [MASK]", [SPACE | NO_END]),
        ("old [MASK:3] sea", [SPACE, FREE, NO_END]),
        ("old[MASK]sea", [NO_SPACE | NO_END]),
        ("old\n[MASK] sea", [NO_SPACE | NO_END]),
        ("old\t[MASK]", [NO_SPACE | NO_END]),
        ("old\u00a0[MASK]", [NO_SPACE | NO_END]),
        (" [MASK]", [SPACE | NO_END]),
        ("a [MASK] ___ b", [SPACE | NO_END, SPACE | NO_END]),
    ],
)
def test_spacing_rules(codec, text, spacing):
    assert spacing_at_masks(read_text(text, 0, codec, 64), codec) == [int(rule) for rule in spacing]


def test_adjacent_markers_are_one_run_of_masks(codec):
    canvas = read_text("a [MASK:2]___[MASK] b", 0, codec, 64)
    positions = canvas.masks(codec.mask_id).tolist()
    assert len(positions) == 4 and positions == list(range(positions[0], positions[0] + 4))
    rules = spacing_at_masks(canvas, codec)
    assert rules[0] & SPACE and rules[-1] & NO_END
    assert not any(rule & (SPACE | NO_SPACE) for rule in rules[1:])


@pytest.mark.parametrize(
    "prompt, first", [("The old sailor", FREE), ("The old ", SPACE), ("A line\n", FREE), ("", NO_SPACE)]
)
def test_a_prompt_and_a_length(codec, prompt, first):
    canvas = read_text(prompt, 5, codec, 64)
    assert spacing_at_masks(canvas, codec) == [int(first), 0, 0, 0, 0]  # the end is open
    assert canvas.masks(codec.mask_id).tolist() == list(range(len(canvas) - 5, len(canvas)))
    assert canvas.text(codec) == prompt + "[MASK:5]"


def test_length_is_for_text_without_masks(codec):
    assert len(read_text("[MASK]", 30, codec, 64).masks(codec.mask_id)) == 1


def test_fixed_is_what_is_not_masked(codec):
    canvas = read_text("The [MASK:4] sailor", 0, codec, 64)
    assert torch.equal(canvas.fixed, canvas.tokens != codec.mask_id)
    assert not canvas.forced and not canvas.locked and not canvas.own
    assert canvas.tokens.dtype == torch.int64 and canvas.fixed.dtype == torch.bool


@pytest.mark.parametrize("text, length", [("", 0), ("plain", 0), ("plain", -5), ("\n", 0), ("[MASK", 0)])
def test_nothing_to_fill(codec, text, length):
    assert "nothing to fill" in sentence_of(lambda: read_text(text, length, codec, 64))


@pytest.mark.parametrize(
    "text, length, limit",
    [
        ("[MASK:65]", 0, "65 tokens"),
        ("[MASK:10000]", 0, "10,000 tokens"),
        ("[MASK:99999999999]", 0, "99,999,999,999 tokens"),
        ("[MASK]" * 10_000, 0, "10,000 tokens"),
        ("", 65, "65 tokens"),
        ("", 10**9, "1,000,000,000 tokens"),
        ("ab" * 80 + "[MASK]", 0, "tokens"),
        ("word " * 40, 60, "tokens"),
    ],
)
def test_more_than_the_checkpoint_takes(codec, text, length, limit):
    message = sentence_of(lambda: read_text(text, length, codec, 64))
    assert limit in message and "takes at most 64" in message


def test_the_limit_itself_is_inside(codec):
    assert len(read_text("[MASK:64]", 0, codec, 64)) == 64
    assert len(read_text("", 64, codec, 64)) == 64


def test_a_text_too_long_to_read(codec):
    message = sentence_of(lambda: read_text("a" * (MAX_CHARACTERS + 1), 5, codec, 64))
    assert "100,001 characters" in message and "100,000" in message


@pytest.mark.parametrize("text", ["\ud800 [MASK]", "[MASK] \udfff", "[MASK:\ud800]"])
def test_lone_surrogates(codec, text):
    assert "lone surrogate" in sentence_of(lambda: read_text(text, 0, codec, 64))


@pytest.mark.parametrize(
    "text",
    [
        "The  old [MASK] sailor ,  and  ",
        "\n\n a\t[MASK]\r\n b\n",
        "👩‍👩‍👧[MASK]é e\u0301 שלום\u200b",
        "<|endoftext|> [PAD] [MASK]",
        "<script>${a}{{b}}</script>[MASK]",
        "nul\0 [MASK] \ufffd",
    ],
)
@pytest.mark.parametrize("kind", ["codec", "wordpiece"])
def test_text_with_masks_comes_back(request, kind, text):
    codec = request.getfixturevalue(kind)
    canvas = read_text(text, 0, codec, 200)
    assert canvas.text(codec) == text
    assert (canvas.tokens == codec.mask_id).sum() == 1


def test_the_wordpiece_canvas_keeps_what_its_tokens_cannot_say(wordpiece):
    canvas = read_text("THE  Old café!! \u200b[MASK] sea 👩", 0, wordpiece, 64)
    assert canvas.text(wordpiece) == "THE  Old café!! \u200b[MASK] sea 👩"
    assert canvas.own


@pytest.mark.parametrize("text", ["  [MASK]", "[MASK]   [MASK]", "[MASK]\n\n", "\0[MASK]"])
def test_text_that_wordpiece_drops_whole_is_kept(wordpiece, text):
    canvas = read_text(text, 0, wordpiece, 64)
    assert canvas.text(wordpiece) == text


class Noisy:
    """Random logits from the position and its left neighbour, over any vocabulary and any length."""

    id, max_length, device = "noisy", 10_000, torch.device("cpu")
    process, predicts, takes_time = "absorbing", "posterior", False

    def __init__(self, codec, seed: int):
        self.vocab_size, self.mask_id = codec.vocab_size, codec.mask_id
        self.table = torch.randn(101, self.vocab_size, generator=torch.Generator().manual_seed(seed))

    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        rows, positions = wanted.nonzero(as_tuple=True)
        return self.table[(positions * 31 + tokens[rows, positions - 1]) % 101]


LITERAL = st.lists(st.sampled_from("ab Tz  \n\t.,é\u0301\u200bש👩\0\u00a0中"), max_size=10).map("".join)
RUN = st.integers(1, 4).map(marker)


def literal_groups(text_parts: list[str]) -> list[str]:
    """What has to stand between the runs: each literal, less the one space that belongs to the run after it."""
    *before, last = text_parts
    return [*(part.removesuffix(" ") for part in before), last]


def part_of(canvas: Canvas, start: int, stop: int) -> Canvas:
    own = {position - start: text for position, text in canvas.own.items() if start <= position < stop}
    return Canvas(canvas.tokens[start:stop], canvas.fixed[start:stop], canvas.spacing[start:stop], own)


def check_filled(codec, literals: list[str], runs: list[str], seed: int, sampler: str) -> None:
    text = literals[0] + "".join(run + literal for run, literal in zip(runs, literals[1:], strict=True))
    canvas = read_text(text, 0, codec, 10_000)
    lane = Lane.fresh(canvas, SamplerConfig(seed=seed, steps=4, sampler=sampler), codec.mask_id)
    run_lanes(Noisy(codec, seed), [lane], FillRules.of(codec))
    assert not (lane.tokens == codec.mask_id).any()

    tokens, position, expected = lane.tokens.tolist(), 0, ""
    for literal, run in zip(literal_groups(literals), [*runs, None], strict=True):
        if literal:
            start = position
            while position < len(tokens) and canvas.fixed[position]:
                position += 1
            assert part_of(canvas, start, position).text(codec) == literal
        expected += literal
        if run:
            count = parse_markers(run)[0].count
            expected += codec.decode(tokens[position : position + count])
            position += count
    assert position == len(tokens)
    assert canvas.with_tokens(lane.tokens).text(codec) == expected
    check_spacing(codec, canvas, tokens, literals, runs)


def check_spacing(codec, canvas, tokens, literals, runs) -> None:
    """One space where one stood, none where none stood, none at the end of a run."""
    masks = iter(canvas.masks(codec.mask_id).tolist())
    before = literals[0]
    for index, run in enumerate(runs):
        places = [next(masks) for _ in range(parse_markers(run)[0].count)]
        fill = codec.decode([tokens[place] for place in places])
        if before.endswith(" "):
            assert fill.startswith(" ") and not fill.startswith("  "), (before, fill)
        else:
            assert not fill.startswith((" ", "\n", "\t", "\r")), (before, fill)
        assert not fill.endswith((" ", "\n", "\t", "\r")), fill
        before = literals[index + 1]


@st.composite
def masked_texts(draw):
    runs = draw(st.lists(RUN, min_size=1, max_size=3))
    between = [draw(LITERAL.filter(bool)) for _ in runs[1:]]  # adjacent runs are one: see above
    return [draw(LITERAL), *between, draw(LITERAL)], runs


SAMPLER = st.sampled_from([sampler.name for sampler in of_process("absorbing")])


@given(masked_texts(), st.integers(0, 10**6), SAMPLER)
@settings(max_examples=80, deadline=None)
def test_filled_text_keeps_all_that_was_not_masked(codec, parts, seed, sampler):
    check_filled(codec, *parts, seed, sampler)


@given(masked_texts(), st.integers(0, 10**6), SAMPLER)
@settings(max_examples=60, deadline=None)
def test_filled_text_keeps_all_that_was_not_masked_in_wordpiece(wordpiece, parts, seed, sampler):
    check_filled(wordpiece, *parts, seed, sampler)


@pytest.mark.parametrize(
    "text, joins",
    [
        ("un[MASK]ed", True),
        ("[MASK]ed", True),
        ("7[MASK:2].", True),
        ("a [MASK], b", False),
        ("a [MASK] [MASK] c", False),
        ("“[MASK]”", False),
        ("", False),
    ],
)
def test_a_marker_against_a_word_is_noticed(text, joins):
    assert joins_a_word(text) is joins
