"""Samplers that fill as many masks as the model is sure enough of, against plain renderings of their rules."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.sampling import Lane, SamplerConfig, denoise
from tests.sampling.drive import canvas_of
from tests.sampling.turns import MASK, V, canvas_with, filled, random_logits, take, turn_of

SHAPES = st.sampled_from([{}, {"draw": "argmax"}, {"temperature": 3.0}, {"top_k": 2}])
BELIEFS = st.builds(
    lambda rows, seed, spread, repeat: random_logits(rows, seed, spread).double().repeat(repeat, 1),  # makes ties
    st.integers(1, 12),
    st.integers(0, 10_000),
    st.sampled_from([0.0, 1.0, 4.0]),
    st.sampled_from([1, 1, 2]),
)
QUICK = settings(max_examples=40, deadline=None)


def laws_of(turn) -> list[list[float]]:
    """p(x0 | x_t) before temperature, top-k and top-p."""
    return turn.belief.logits.softmax(-1).tolist()


def check(turn, rows: list[int], drafts: torch.Tensor) -> None:
    move = take(turn)
    expected = turn.standing.clone()
    expected[rows] = drafts[rows]
    assert torch.equal(move.after, expected) and move.remask is None
    assert filled(turn, move) == turn.belief.positions[sorted(rows)].tolist()


def threshold(sure: list[float], bound: float) -> list[int]:
    """All that reach it, and the surest."""
    best = max(range(len(sure)), key=lambda i: sure[i])
    return [i for i, p in enumerate(sure) if p >= bound or i == best]


def factor(sure: list[float], bound: float) -> list[int]:
    """The longest run of ranks n, surest first, with (n + 1) (1 - c_n) <= bound; the first always."""
    order, taken = sorted(range(len(sure)), key=lambda i: -sure[i]), []
    for n, i in enumerate(order, 1):
        if n > 1 and (n + 1) * (1 - sure[i]) > bound:
            break
        taken.append(i)
    return taken


def entropy_bounded(laws: list[list[float]], bound: float) -> list[int]:
    """The longest run by ascending entropy with sum - max <= bound; the first always."""
    h = [-sum(p * math.log(p) for p in law if p > 0) for law in laws]
    order, taken = sorted(range(len(h)), key=lambda i: round(h[i], 9)), []
    for i in order:
        together = [h[j] for j in [*taken, i]]
        if len(together) > 1 and sum(together) - max(together) > bound:
            break
        taken.append(i)
    return taken


@given(BELIEFS, st.sampled_from([0.0, 0.2, 0.5, 0.9, 0.999, 1.0]), SHAPES)
@QUICK
def test_threshold_fills_what_reaches_it_and_always_the_surest(logits, bound, shape):
    turn = turn_of(logits, "threshold", threshold=bound, seed=4, **shape)
    drafts = turn.draw(turn.every)
    sure = turn.belief.probability(drafts, turn.every).tolist()
    torch.testing.assert_close(sure, [law[draft] for law, draft in zip(laws_of(turn), drafts, strict=True)])
    check(turn, threshold(sure, bound), drafts)


@given(BELIEFS, st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 50.0]), SHAPES)
@QUICK
def test_factor_fills_as_long_as_joint_confidence_allows(logits, bound, shape):
    turn = turn_of(logits, "factor", factor=bound, seed=4, **shape)
    drafts = turn.draw(turn.every)
    check(turn, factor(turn.belief.probability(drafts, turn.every).tolist(), bound), drafts)


@given(BELIEFS, st.sampled_from([0.0, 0.01, 0.1, 0.7, 3.0, 100.0]), SHAPES)
@QUICK
def test_entropy_bounded_fills_as_long_as_entropies_add_up_to_little(logits, bound, shape):
    turn = turn_of(logits, "entropy-bounded", entropy_bound=bound, seed=4, **shape)
    check(turn, entropy_bounded(laws_of(turn), bound), turn.draw(turn.every))


def sure_rows(*sure: float) -> torch.Tensor:
    """[N, V] logits whose likeliest token, the first, has these probabilities."""
    rows = [[p, *[(1 - p) / (V - 2)] * (V - 2), 0.0] for p in sure]
    return torch.tensor(rows, dtype=torch.float64).log().float()


def test_a_run_stops_at_the_first_rank_that_fails():
    """(n + 1) (1 - c) is 0.2, 0.6, 1.2 and 2 for the ranks 1 to 4."""
    for bound, rows in ((0.5, [1]), (1.0, [1, 3]), (1.5, [0, 1, 3]), (2.1, [0, 1, 2, 3])):
        turn = turn_of(sure_rows(0.7, 0.9, 0.6, 0.8), "factor", factor=bound, draw="argmax")
        assert filled(turn, take(turn)) == rows


def test_factor_does_not_fill_a_last_rank_that_fails():
    """The published code does, when it is the last of all."""
    turn = turn_of(sure_rows(0.95, 0.5), "factor", factor=1.0, draw="argmax")
    assert filled(turn, take(turn)) == [0]


def test_equals_reach_the_bound_together_and_ties_go_from_the_left():
    even = torch.zeros(6, V).index_fill(1, torch.tensor([MASK]), -torch.inf)
    for name, values, rows in (
        ("threshold", {"threshold": 0.9}, [0]),
        ("threshold", {"threshold": 0.2}, [0, 1, 2, 3, 4, 5]),
        ("factor", {"factor": 3.3}, [0, 1, 2]),  # (3 + 1) * 0.8 = 3.2 and (4 + 1) * 0.8 = 4
        ("entropy-bounded", {"entropy_bound": 3.3}, [0, 1, 2]),  # 2 log 5 = 3.2 besides the last
    ):
        turn = turn_of(even, name, draw="argmax", **values)
        assert filled(turn, take(turn)) == rows


def test_a_bound_of_nothing_fills_one_and_a_bound_of_all_fills_all():
    logits = random_logits(9, seed=3)
    for name, one, all_of_them in (
        ("threshold", {"threshold": 1.0}, {"threshold": 0.0}),
        ("factor", {"factor": 0.0}, {"factor": 1000.0}),
        ("entropy-bounded", {"entropy_bound": 0.0}, {"entropy_bound": 1000.0}),
    ):
        turn = turn_of(logits, name, **one)
        assert len(filled(turn, take(turn))) == 1
        turn = turn_of(logits, name, **all_of_them)
        assert len(filled(turn, take(turn))) == 9


@pytest.mark.parametrize("name", ["threshold", "factor", "entropy-bounded"])
def test_rows_are_of_the_masks_that_are_open(name):
    tokens = canvas_with([1, 4, 5, 8, 9], 10)
    open = tokens == MASK
    open[9] = False
    turn = turn_of(random_logits(4, seed=1, spread=7.0), name, tokens=tokens, open=open)
    assert turn.belief.positions.tolist() == [1, 4, 5, 8]
    drafts, config = turn.draw(turn.every), turn.config
    sure = turn.belief.probability(drafts, turn.every).tolist()
    rows = {
        "threshold": lambda: threshold(sure, config.threshold),
        "factor": lambda: factor(sure, config.factor),
        "entropy-bounded": lambda: entropy_bounded(laws_of(turn), config.entropy_bound),
    }[name]()
    assert 1 < len(rows) < 4
    check(turn, rows, drafts)


@pytest.mark.parametrize("name", ["threshold", "factor", "entropy-bounded"])
def test_tokens_that_end_the_text_are_put_off(name):
    """They are filled when there is nothing else, one at a time."""
    logits, ends = sure_rows(0.99, 0.9, 0.95), torch.tensor([0])
    turn = turn_of(logits, name, draw="argmax", end_of_text="late", ends=ends)
    assert len(filled(turn, take(turn))) == 1
    logits[1, [0, 2]] = logits[1, [2, 0]]  # so that its likeliest token is another
    turn = turn_of(logits, name, draw="argmax", end_of_text="late", ends=ends)
    assert logits[1].argmax() != 0 and filled(turn, take(turn)) == [1]


@pytest.mark.parametrize("name", ["threshold", "factor", "entropy-bounded"])
def test_a_run_fills_at_least_one_mask_a_call_until_none_is_left(name, fake):
    canvas = canvas_of(torch.tensor([11] * 15 + [3] * 3))
    lane = Lane.fresh(canvas, SamplerConfig(sampler=name, steps=1), 11)
    counts = [len(frame.written) for turn in denoise(fake, [lane]) for _, frame in turn]
    assert lane.failure is None and sum(counts) == 15 and min(counts) >= 1
    assert lane.nfe == len(counts)  # what it saves, against one a mask, is told by the calls


def test_a_model_that_is_sure_takes_few_calls(make_fake):
    """The steps saved are the calls not made."""
    canvas = canvas_of(torch.full((24,), 11))

    def calls(sharper: float) -> int:
        fake = make_fake(seed=1)
        fake.table *= sharper
        lane = Lane.fresh(canvas, SamplerConfig(sampler="threshold", draw="argmax"), 11)
        for _ in denoise(fake, [lane]):
            pass
        return lane.nfe

    assert calls(0.1) == 24 > calls(3.0) > calls(100.0) >= 1
