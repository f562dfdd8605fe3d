"""Measures of finished lanes, on cases counted by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddemo import measures, runs
from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.measures import (
    Place,
    Value,
    agreement,
    distinct_n,
    edit_distance,
    measured,
    measuring,
    repetition,
    words,
    writing,
)
from ddemo.metrics import bound
from ddemo.sampling import Canvas, Clock, Frame, SamplerConfig
from ddemo.sampling.canvas import read_text
from ddemo.trace import Segment, Trace

TEXT = "The old sailor [MASK:5] into the sea, and said [MASK:3] at all."


# ---------------------------------------------------------------- words and n-grams


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The sea, the SEA!", ["the", "sea", "the", "sea"]),
        ("Don't — it’s half-dead.", ["don't", "it’s", "half-dead"]),
        ("'tis 1999...", ["tis", "1999"]),
        ("naïve café", ["naïve", "café"]),
        (" ,.;\n", []),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


def test_distinct_n_by_hand():
    """the cat saw the cat: 5 words, 3 different; the-cat, cat-saw, saw-the, the-cat; the-cat-saw and so on."""
    text = words("The cat saw the cat.")
    assert distinct_n([text], 1) == 3 / 5
    assert distinct_n([text], 2) == 3 / 4
    assert distinct_n([text], 3) == 1
    assert distinct_n([text], 5) == 1
    assert distinct_n([text], 6) is None
    assert distinct_n([], 1) is distinct_n([[]], 1) is None


def test_texts_are_pooled_and_no_n_gram_runs_across_two():
    assert distinct_n([["a", "b"], ["a", "b"]], 2) == 1 / 2
    assert distinct_n([["a", "b"], ["b", "a"]], 2) == 1
    assert distinct_n([["a"], ["b"]], 2) is None


def test_repetition_by_hand():
    """a b c d a b c d: five 4-grams, of which abcd comes twice."""
    assert repetition([list("abcdabcd")]) == pytest.approx(1 / 5)
    assert repetition([list("abcdefgh")]) == 0
    assert repetition([["so"] * 10]) == pytest.approx(6 / 7)
    assert repetition([list("abc")]) is None
    assert repetition([list("aba")], 1) == pytest.approx(1 / 3)


def test_edit_distance_by_hand():
    """kitten and sitting are 3 apart and 7 long."""
    assert edit_distance(["kitten", "sitting"]) == pytest.approx(3 / 7)
    assert edit_distance([[1, 2, 3], [1, 2, 3]]) == 0
    assert edit_distance([[1, 2], [3, 4, 5]]) == 1
    assert edit_distance([[300, 70000, 5], [70000, 5]]) == pytest.approx(1 / 3)
    assert edit_distance(["ab", "ab", "cd"]) == pytest.approx((0 + 1 + 1) / 3)
    assert edit_distance([[1]]) is edit_distance([]) is None


# ---------------------------------------------------------------- lanes made by hand

MASK = 9


def frame(step: int, wrote: dict[int, int]) -> Frame:
    at, tokens = (np.array(list(part), np.int32) for part in (wrote, wrote.values()))
    none = np.empty(0, np.float32)
    empty = {"entropy": none, "ids": none.reshape(0, 0).astype(np.int32), "probabilities": none.reshape(0, 0)}
    chosen = np.ones(len(at), np.float32)
    return Frame(step, 1.0, 0.0, step, none.astype(np.int32), written=at, tokens=tokens, chosen=chosen, **empty)


def lane(given: list[int], *steps: dict[int, int], fixed: list[int] = ()) -> Trace:
    """A run on a canvas of `given`, each step writing position -> token; `fixed` positions were given."""
    held = torch.zeros(len(given), dtype=torch.bool)
    held[list(fixed)] = True
    canvas = Canvas(torch.tensor(given), held, torch.zeros(len(given), dtype=torch.uint8))
    frames = [frame(number, wrote) for number, wrote in enumerate(steps, start=1)]
    return Trace({"id": "hand"}, SamplerConfig(), MASK, [Segment(canvas, Clock(0, 9))], frames, state="finished")


def test_agreement_by_hand():
    """Position 0 was given; at 1 all agree, at 2 two of three, at 3 none, at 4 only one has a token."""
    blank = [5, MASK, MASK, MASK, MASK]
    lanes = [
        lane(blank, {1: 1}, {2: 2, 3: 3}, {4: 7}, fixed=[0]),
        lane(blank, {1: 1}, {2: 2, 3: 4}, fixed=[0]),
        lane(blank, {1: 1}, {2: 8, 3: 5}, fixed=[0]),
    ]
    found = agreement(lanes)
    assert found.positions == [None, 1.0, pytest.approx(1 / 3), 0.0, None]
    assert found.mean == pytest.approx((1 + 1 / 3 + 0) / 3)
    assert found.parted == found.clashed == Place(2, 2)


def test_another_order_is_a_parting_and_no_clash():
    blank = [MASK] * 4
    one = lane(blank, {3: 3}, {0: 1}, {1: 5, 2: 6})
    other = lane(blank, {1: 5}, {3: 3, 0: 2}, {2: 6})
    found = agreement([one, other])
    assert found.parted == Place(1, 1) and found.clashed == Place(2, 0)
    assert found.positions == [0.0, 1.0, 1.0, 1.0]
    same_end = agreement([one, lane(blank, {1: 5}, {3: 3, 0: 1}, {2: 6})])
    assert same_end.parted == Place(1, 1) and same_end.clashed is None and same_end.mean == 1
    assert agreement([one, one]).parted is agreement([one, one]).clashed is None


def test_a_lane_that_has_ended_is_compared_as_it_stands():
    found = agreement([lane([MASK, MASK], {0: 1, 1: 2}), lane([MASK, MASK], {0: 1}, {1: 2}, {0: 3})])
    assert found.parted == Place(1, 1) and found.clashed == Place(3, 0)


def test_what_uniform_noise_begins_with_may_already_differ():
    assert agreement([lane([1, 2]), lane([1, 3])]).clashed == Place(0, 1)


def test_lanes_that_cannot_be_laid_side_by_side_say_why():
    one = lane([5, MASK], {1: 1}, fixed=[0])
    assert agreement([one]) == measures.Agreement(why="There is only one lane.")
    for other in (lane([4, MASK], {1: 1}, fixed=[0]), lane([5, MASK, MASK], fixed=[0]), lane([5, MASK], fixed=[])):
        assert agreement([one, other]).why == "The lanes are not of one canvas."
    edited = replace(one, segments=[*one.segments, replace(one.segments[0], clock=Clock(1, 9))])
    assert "was edited" in agreement([one, edited]).why


# ---------------------------------------------------------------- real lanes


def finished(checkpoint, text: str = TEXT, length: int = 0, **settings) -> Trace:
    trace = runs.begin(checkpoint, text, length, SamplerConfig(**settings))
    list(runs.carry_out(checkpoint, trace))
    return trace


@pytest.fixture(scope="module")
def lanes(tiny) -> list[Trace]:
    return [finished(tiny, steps=4, seed=seed) for seed in range(3)]


def test_writing_is_what_the_lane_wrote_and_the_text_is_all_of_it(tiny):
    trace = finished(tiny, steps=4)
    mine = writing(trace, tiny.codec)
    tokens, free = trace.tokens_at(trace.last_step), ~trace.segments[0].canvas.fixed
    assert mine.tokens == tokens[free].tolist() and len(mine.stretches) == 2
    assert mine.text == runs.summary(tiny, trace)["text"] and mine.masks == 0
    first = (tokens != 0).nonzero().flatten()[free].tolist()[:5]
    assert mine.stretches[0] == words(tiny.codec.decode(tokens[first].tolist()))
    cut = writing(trace.cut_at(1), tiny.codec)
    assert 0 < len(cut.tokens) < len(mine.tokens) and cut.masks == 8 - len(cut.tokens)
    assert "MASK" not in cut.text


def test_the_text_is_over_where_its_end_is_written(tiny):
    codec = tiny.codec
    end, (word, *_), _ = int(codec.ends[0]), *codec.encode(" sea")
    canvas = read_text("The", 4, codec, 64)
    at = canvas.masks(codec.mask_id).tolist()
    frames = [frame(1, {at[0]: word, at[1]: end, at[2]: word, at[3]: end})]
    trace = Trace(tiny.as_dict(), SamplerConfig(), codec.mask_id, [Segment(canvas, Clock(0, 1))], frames)
    mine = writing(trace, codec)
    assert mine.tokens == [word] and len(mine.ids) == at[1]
    assert mine.text == "The" + codec.decode([word])


def test_the_bound_is_that_of_the_whole_text(tiny, lanes):
    mine = writing(lanes[0], tiny.codec)
    found = measures.bits_per_character(tiny, mine)
    windows = [mine.ids] * measures.ESTIMATES
    expected = bound(tiny.denoiser, windows, [len(mine.text)] * measures.ESTIMATES, times=measures.TIMES)
    assert (found.number, found.error) == (expected.bits_per_char, expected.bits_per_char_stderr)
    assert found == measures.bits_per_character(tiny, mine)
    nats_of_chance = math.log(tiny.codec.vocab_size) * len(mine.ids) / len(mine.text)
    assert found.number == pytest.approx(nats_of_chance / math.log(2), rel=0.2)  # an untrained network's guess


def test_texts_that_the_exact_world_finds_likely_have_a_low_bound():
    checkpoint = load_checkpoint("exact-world", device="cpu")
    good = finished(checkpoint, "", 6, steps=6, sampler="left-to-right", draw="argmax")
    bad = finished(checkpoint, "", 6, steps=1, draw="argmax")
    found = measured(checkpoint, [good, bad])
    of_good, of_bad = (one["bits_per_character"] for one in found.lanes)
    assert of_good.number + 4 * of_good.error < of_bad.number - 4 * of_bad.error
    bits = -math.log2(0.2 * 0.98) / len("The queen loves her son.")  # what the world itself needs for it
    assert of_good.number == pytest.approx(bits, abs=4 * of_good.error)
    assert found.agreement.positions == [1, 1, 1, 0, 1, 1]  # "her" against "his"
    assert found.groups["lanes"]["edit_distance"].number == pytest.approx(1 / 6)
    assert found.groups["lanes"]["distinct_1"].number == pytest.approx(6 / 10)  # the queen loves her/his son, twice
    assert found.groups["lanes"]["distinct_2"].number == pytest.approx(6 / 8)


class FakeJudge:
    name = "fake"

    def __init__(self, fails: bool = False):
        self.fails, self.read = fails, []

    def perplexity(self, text: str) -> float:
        self.read.append(text)
        if self.fails:
            raise RuntimeError("no memory at /secret")
        return 10.0 ** len(self.read)


def test_a_comparison_has_all_measures_of_lanes_and_group(tiny, lanes):
    judge = FakeJudge()
    first, *_, found = measuring(tiny, lanes, judge=judge)
    assert judge.read == [runs.summary(tiny, trace)["text"] for trace in lanes]
    names = {
        "distinct_1",
        "distinct_2",
        "distinct_3",
        "repetition",
        "bits_per_character",
        "perplexity",
        "nfe",
        "seconds",
    }
    for one, trace in zip(found.lanes, lanes, strict=True):
        assert set(one) == names
        assert one["nfe"] == Value(trace.nfe) and one["seconds"] == Value(trace.seconds)
    assert set(found.groups["lanes"]) == names | {"edit_distance", "agreement"}
    assert found.groups["lanes"]["perplexity"].number == pytest.approx(100)  # the geometric mean of 10, 100, 1000
    assert found.groups["lanes"]["perplexity"].error == pytest.approx(100 * math.log(10) / math.sqrt(3))
    bits = [one["bits_per_character"].number for one in found.lanes]
    assert found.groups["lanes"]["bits_per_character"].number == pytest.approx(sum(bits) / 3)
    assert found.groups["lanes"]["bits_per_character"].error == pytest.approx(np.std(bits, ddof=1) / math.sqrt(3))
    assert found.groups["lanes"]["agreement"].number == found.agreement.mean
    assert (first.done, found.done) == (0, 3)
    assert {one["perplexity"].why for one in first.lanes} == {measures.PENDING}
    assert first.lanes[0]["distinct_1"] == found.lanes[0]["distinct_1"]
    json.dumps(found.as_dict(), allow_nan=False)


def test_one_lane_has_dashes_where_it_takes_two(tiny, lanes):
    group = measured(tiny, lanes[:1]).groups["lanes"]
    assert group["edit_distance"] == Value(None, why="Fewer than two lanes wrote anything.")
    assert group["agreement"] == Value(None, why="There is only one lane.")
    assert group["nfe"] == Value(lanes[0].nfe, None)
    assert group["perplexity"] == Value(None, why=measures.NO_JUDGE)


def test_an_unfinished_lane_has_dashes_and_leaves_the_others_theirs(tiny, lanes):
    found = measured(tiny, [lanes[0].cut_at(0), lanes[1]], judge=FakeJudge())
    nothing, whole = found.lanes
    for name in ("distinct_1", "repetition", "bits_per_character", "perplexity"):
        assert nothing[name].number is None and nothing[name].why.endswith(".")
    assert whole["bits_per_character"].number > 0 and whole["perplexity"].number == 10
    assert found.groups["lanes"]["perplexity"] == Value(
        pytest.approx(10), None, "Over 1 of 2 lanes, since the others have none."
    )
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_failing_judge_or_denoiser_leaves_everything_else(tiny, lanes):
    class Failing:
        def __getattr__(self, name):
            return getattr(tiny.denoiser, name)

        def __call__(self, *arguments):
            raise InputError("secret")

    found = measured(replace(tiny, denoiser=Failing()), lanes[:2], judge=FakeJudge(fails=True))
    for one in found.lanes:
        assert one["perplexity"] == Value(None, why="It could not be measured (RuntimeError).")
        assert one["bits_per_character"] == Value(None, why="It could not be measured (InputError).")
        assert one["distinct_1"].number > 0
    assert found.groups["lanes"]["agreement"].number is not None
    gone = measured(tiny, lanes[:1], no_judge="No judge today.").lanes[0]["perplexity"]
    assert gone == Value(None, why="No judge today.")


def test_a_stop_keeps_what_was_measured(tiny, lanes):
    asked = iter([False, False, False])
    found = measured(tiny, lanes, judge=FakeJudge(), stopped=lambda: next(asked, True))
    known = [one[name].number is not None for one in found.lanes for name in ("bits_per_character", "perplexity")]
    assert known == [True, True, True, False, False, False]
    assert found.lanes[2]["perplexity"].why == measures.STOPPED
    assert all(one["nfe"].number for one in found.lanes)


def test_groups_are_measured_apart(tiny, lanes):
    found = measured(tiny, lanes, {"first": [0], "others": [1, 2]})
    assert list(found.groups) == ["first", "others"]
    assert found.groups["first"]["nfe"] == Value(lanes[0].nfe, None)
    assert found.groups["first"]["edit_distance"].number is None
    assert found.groups["others"] == measured(tiny, lanes[1:]).groups["lanes"]
    assert found.agreement == agreement(lanes)


def test_no_lanes_at_all_is_all_dashes(tiny):
    found = measured(tiny, [])
    assert found.lanes == [] and all(value.number is None and value.why for value in found.groups["lanes"].values())
