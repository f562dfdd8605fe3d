"""Samplers that fill a set number of masks, against plain renderings of their rules: lists, loops and sorted()."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.sampling import SAMPLERS, Lane, SamplerConfig, denoise
from ddemo.sampling.randomness import uniforms
from ddemo.sampling.samplers.quotas import MASK_SCHEDULES, quota
from tests.sampling.drive import canvas_of
from tests.sampling.laws import chance_of, times_of
from tests.sampling.turns import MASK, V, canvas_with, filled, random_logits, remasked, take, turn_of

SHAPES = [{}, {"draw": "argmax"}, {"temperature": 4.0}, {"top_k": 2, "top_p": 0.7}]
MANY = pytest.mark.parametrize("shape", SHAPES, ids=["sample", "argmax", "hot", "cut"])


def highest(scores: list[float], count: int) -> list[int]:
    """Indices of the `count` highest, ties from the left, ascending."""
    return sorted(sorted(range(len(scores)), key=lambda i: -scores[i])[:count])


def log_p(turn, ids: torch.Tensor) -> list[float]:
    """log p of a token at each row, before temperature, top-k and top-p."""
    law = turn.belief.logits.double().log_softmax(-1)
    return law[torch.arange(len(law)), ids].tolist()


def check(turn, rows: list[int], drafts: torch.Tensor) -> None:
    """The step fills these rows with their drafts, and nothing else happens."""
    move = take(turn)
    expected = turn.standing.clone()
    expected[rows] = drafts[rows]
    assert torch.equal(move.after, expected) and move.remask is None
    assert filled(turn, move) == turn.belief.positions[rows].tolist()


def fill_counts(denoiser, masks: int, **values) -> list[int]:
    """How many masks each step of a whole run fills."""
    config = SamplerConfig(candidates=0, **values)
    lane = Lane.fresh(canvas_of(torch.full((masks,), denoiser.mask_id)), config, denoiser.mask_id)
    counts = [len(frame.written) for turn in denoise(denoiser, [lane]) for _, frame in turn]
    assert lane.failure is None and not (lane.tokens == denoiser.mask_id).any()
    return counts


# LLaDA, random order, left to right


@given(st.integers(0, 300), st.integers(1, 64))
@settings(max_examples=60, deadline=None)
def test_quotas_share_the_masks_out_evenly(masks, steps):
    shares = [quota(turn_of(random_logits(1), "random", index=i, steps=steps, size=masks)) for i in range(steps)]
    assert sum(shares) == masks
    assert max(shares) - min(shares) <= 1
    assert shares == sorted(shares, reverse=True)  # what is left over goes to the first steps


def test_each_lane_has_the_quotas_of_its_own_masks(fake):
    """Where the published loop takes the batch's: 7, 12 and 3 masks over four steps."""
    lanes = [
        Lane.fresh(canvas_of(torch.tensor([11] * n + [1] * (12 - n))), SamplerConfig(sampler=name, steps=4), 11)
        for n, name in ((7, "confidence"), (12, "random"), (3, "left-to-right"))
    ]
    counts = {lane: [] for lane in lanes}
    for turn in denoise(fake, lanes):
        for lane, frame in turn:
            counts[lane].append(len(frame.written))
    assert list(counts.values()) == [[2, 2, 2, 1], [3, 3, 3, 3], [1, 1, 1]]


@MANY
def test_confidence_keeps_the_drafts_the_model_is_surest_of(shape):
    """And is surest before temperature, top-k and top-p."""
    turn = turn_of(random_logits(30), "confidence", seed=3, **shape)
    drafts = turn.draw(turn.every)
    check(turn, highest(log_p(turn, drafts), 8), drafts)  # 30 masks over 4 steps: 8, 8, 7, 7


def test_reading_confidence_after_tempering_would_choose_otherwise():
    """So that the test above can tell."""
    turn = turn_of(random_logits(30), "confidence", seed=3, top_k=2, top_p=0.7)
    drafts = turn.draw(turn.every)
    after = turn.belief.shaped(turn.config)[turn.every, drafts].tolist()
    assert filled(turn, take(turn)) != highest(after, 8)


def test_equally_sure_drafts_are_kept_from_the_left():
    logits = torch.zeros(9, V).index_fill(1, torch.tensor([MASK]), -torch.inf)
    turn = turn_of(logits, "confidence", draw="argmax", steps=3)
    assert filled(turn, take(turn)) == [0, 1, 2]


def test_tokens_that_end_the_text_can_be_put_off():
    turn = turn_of(random_logits(30), "confidence", seed=3, end_of_text="late", ends=torch.tensor([0, 1]))
    drafts = turn.draw(turn.every)
    scores = [-math.inf if d in (0, 1) else score for d, score in zip(drafts, log_p(turn, drafts), strict=True)]
    rows = highest(scores, 8)
    check(turn, rows, drafts)
    assert rows != highest(log_p(turn, drafts), 8)


def test_random_order_fills_the_rows_of_the_greatest_numbers():
    for lane in range(5):
        tokens = canvas_with([1, 2, 5, 6, 7, 9, 12], 14)
        turn = turn_of(random_logits(7), "random", tokens=tokens, open=tokens == MASK, steps=3, lane=lane)
        u = uniforms(0, lane, 1, "select", 14)[[1, 2, 5, 6, 7, 9, 12]].tolist()
        check(turn, highest(u, 3), turn.draw(turn.every))


def test_random_order_takes_every_set_of_masks_equally_often():
    """1,000 steps, ten sets of two out of five; a false alarm once in a million."""
    sets = {pair: i for i, pair in enumerate(itertools.combinations(range(5), 2))}
    seen = torch.zeros(10)
    for lane in range(1000):
        turn = turn_of(random_logits(5), "random", steps=3, lane=lane)
        seen[sets[tuple(filled(turn, take(turn)))]] += 1
    assert chance_of(seen, torch.full((10,), 0.1)) > 1e-6


def test_left_to_right_fills_the_leftmost():
    tokens = canvas_with([1, 4, 5, 8, 9], 10)
    turn = turn_of(random_logits(5), "left-to-right", tokens=tokens, open=tokens == MASK, steps=2)
    check(turn, [0, 1, 2], turn.draw(turn.every))


# MaskGIT


PLAIN_SCHEDULES = {
    "cosine": lambda r, n: math.cos(r * math.pi / 2),
    "uniform": lambda r, n: 1 - r,
    "pow2": lambda r, n: 1 - r * r,
    "pow3": lambda r, n: 1 - r * r * r,
    "pow0.5": lambda r, n: 1 - r**0.5,
    "log": lambda r, n: -math.log(r, 2) / math.log(n, 2) if n > 1 else 0,
    "exp": lambda r, n: 1 - 2 ** (-math.log(n, 2) * (1 - r)),
}


def maskgit_counts(n: int, steps: int, schedule: str) -> list[int]:
    """The published loop: keep floor(n * gamma(r)) masked, at least 1 and at most one fewer than there are."""
    counts, masks = [], n
    for i in range(steps):
        r = (i + 1) / steps
        gamma = min(1.0, max(0.0, PLAIN_SCHEDULES[schedule](r, n)))
        stay = max(1, min(masks - 1, math.floor(n * gamma)))
        if i == steps - 1:
            stay = 0  # its last draft is the result
        counts.append(masks - stay)
        masks = stay
    return counts


@pytest.mark.parametrize("schedule", MASK_SCHEDULES)
@pytest.mark.parametrize("masks, steps", [(1, 1), (1, 4), (2, 5), (16, 8), (24, 7), (23, 3), (5, 12), (24, 24)])
def test_maskgit_fills_as_many_as_its_mask_schedule_says(schedule, masks, steps, fake):
    counts = fill_counts(fake, masks, sampler="maskgit", mask_schedule=schedule, steps=steps)
    assert counts == maskgit_counts(masks, steps, schedule)
    assert sum(counts) == masks


def test_maskgit_waits_with_its_last_mask_for_the_last_step(fake):
    assert fill_counts(fake, 1, sampler="maskgit", steps=4) == [0, 0, 0, 1]
    assert fill_counts(fake, 3, sampler="maskgit", steps=6)[-2:] == [0, 1]


def test_the_table_of_mask_schedules_is_the_published_one():
    assert set(MASK_SCHEDULES) == set(PLAIN_SCHEDULES)
    assert SAMPLERS["maskgit"].defaults() == {"order_temperature": 4.5, "mask_schedule": "cosine"}


@MANY
@pytest.mark.parametrize("tau", [0.0, 0.5, 4.5])
@pytest.mark.parametrize("index", [0, 2, 3])
def test_maskgit_ranks_by_log_probability_and_annealed_gumbel_noise(shape, tau, index):
    n, steps = 20, 4
    turn = turn_of(random_logits(n), "maskgit", index=index, steps=steps, order_temperature=tau, seed=5, **shape)
    drafts, r = turn.draw(turn.every), (index + 1) / steps
    gumbel = [-math.log(-math.log(u)) for u in uniforms(5, 0, index + 1, "order", n).tolist()]
    scores = [score + tau * (1 - r) * noise for score, noise in zip(log_p(turn, drafts), gumbel, strict=True)]
    stay = 0 if index == 3 else max(1, min(n - 1, math.floor(n * math.cos(math.pi / 2 * r))))
    check(turn, highest(scores, n - stay), drafts)


# Dream


@pytest.mark.parametrize("masks, steps", [(1, 1), (1, 5), (3, 3), (7, 4), (24, 8), (20, 30)])
@pytest.mark.parametrize("name", ["dream-maskgit-plus", "dream-margin", "dream-entropy"])
def test_dream_fills_the_share_of_the_masks_left_that_time_takes(name, masks, steps, fake):
    """int(M (1 - s / t)), per lane, and the rest at the last step."""
    left, expected = masks, []
    for t, s in times_of(name, steps):
        expected.append(left if s == 0.0 else int(left * (1 - s / t)))
        left -= expected[-1]
    counts = fill_counts(fake, masks, sampler=name, steps=steps)
    assert counts == expected[: len(counts)] and sum(counts) == masks


def dream_scores(turn, name: str, drafts: torch.Tensor) -> list[float]:
    """Plain renderings: probability of the draft, lead of the first over the second, minus entropy."""
    laws = [[math.exp(x) for x in row] for row in turn.belief.logits.double().log_softmax(-1).tolist()]
    if name == "dream-maskgit-plus":
        return [law[draft] for law, draft in zip(laws, drafts.tolist(), strict=True)]
    if name == "dream-margin":
        return [sorted(law)[-1] - sorted(law)[-2] for law in laws]
    return [sum(p * math.log(p) for p in law if p > 0) for law in laws]


@MANY
@pytest.mark.parametrize("index, count", [(0, 4), (1, 6), (2, 9), (3, 20)])
@pytest.mark.parametrize("name", ["dream-maskgit-plus", "dream-margin", "dream-entropy"])
def test_dream_keeps_the_best_by_its_score(name, index, count, shape):
    """Read before temperature, top-k and top-p. 20 masks are left, where t goes in four steps."""
    turn = turn_of(random_logits(20), name, index=index, seed=2, **shape)
    drafts = turn.draw(turn.every)
    check(turn, highest(dream_scores(turn, name, drafts), count), drafts)


def test_ties_of_dream_go_from_the_left():
    logits = torch.zeros(9, V).index_fill(1, torch.tensor([MASK]), -torch.inf)
    for name in ("dream-maskgit-plus", "dream-margin", "dream-entropy"):
        turn = turn_of(logits, name, index=2)
        assert filled(turn, take(turn)) == [0, 1, 2, 3]  # int(9 * 0.499)


@pytest.mark.parametrize("name", ["dream-margin", "dream-entropy"])
def test_an_order_temperature_draws_without_replacement_from_the_softmax_of_scores(name):
    """Two of four masks, 1,500 times, against every order of a multinomial draw; a false alarm once in a million.

    As `torch.multinomial(softmax(score / T), 2)` of the published code does.
    """
    logits, temperature, count = random_logits(4, seed=8), 0.4, 1500
    scores = torch.tensor(dream_scores(turn_of(logits, name), name, torch.zeros(4)), dtype=torch.float64)
    p = (scores / temperature).softmax(0).tolist()
    sets = {pair: i for i, pair in enumerate(itertools.combinations(range(4), 2))}
    law, seen = torch.zeros(6, dtype=torch.float64), torch.zeros(6)
    for first, second in itertools.permutations(range(4), 2):
        law[sets[tuple(sorted((first, second)))]] += p[first] * p[second] / (1 - p[first])
    for lane in range(count):
        turn = turn_of(logits, name, times=(1.0, 0.4), order_temperature=temperature, lane=lane)
        seen[sets[tuple(filled(turn, take(turn)))]] += 1  # int(4 * 0.6) = 2
    assert chance_of(seen, law) > 1e-6
    assert chance_of(seen, torch.full((6,), 1 / 6)) < 1e-6 and seen.min() > 0  # neither even nor the best alone


# P2


def path_planning(turn, eta: float, planner: str) -> list[int]:
    """What stands at each row afterwards, by the rule of the paper in plain Python."""
    drafts, masked, standing = turn.draw(turn.every), turn.masked.tolist(), turn.standing.tolist()
    scores = log_p(turn, drafts)
    if planner == "random":
        scores = [math.log(u) for u in turn.uniform("order").tolist()]
    scores = [score if hidden else score * eta for score, hidden in zip(scores, masked, strict=True)]
    if eta == 0:
        scores = [score if hidden else math.inf for score, hidden in zip(scores, masked, strict=True)]
    stay = math.floor(round(turn.size * (1 - (turn.index + 1) / turn.steps), 9))
    worst = sorted(range(len(scores)), key=lambda i: scores[i])[:stay]
    written = [
        draft if hidden else token for draft, hidden, token in zip(drafts.tolist(), masked, standing, strict=True)
    ]
    return [MASK if i in worst else token for i, token in enumerate(written)]


@MANY
@pytest.mark.parametrize("planner", ["self", "random"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("index, masks", [(0, 12), (1, 9), (2, 6), (3, 3)])
def test_path_planning_masks_the_worst_of_all(shape, planner, eta, index, masks):
    """12 free positions of 15, of which so many are masked when the step begins."""
    free = [0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 13, 14]
    open = torch.zeros(15, dtype=torch.bool).index_fill(0, torch.tensor(free), True)
    tokens = canvas_with(free[:masks], 15)
    turn = turn_of(
        random_logits(12), "p2", tokens=tokens, open=open, positions=torch.tensor(free), index=index, eta=eta,
        planner=planner, seed=6, **shape,
    )  # fmt: skip
    move = take(turn)
    assert move.after.tolist() == path_planning(turn, eta, planner)
    left = (move.after == MASK).sum()
    assert left == 12 - 3 * (index + 1)
    if eta == 0.0:
        assert remasked(turn, move) == []
    kept = ~turn.masked & (move.after != MASK)
    assert torch.equal(move.after[kept], turn.standing[kept])  # a token that stands is never replaced by another


def test_a_high_eta_gives_up_more_of_what_stands():
    def given_up(eta: float) -> int:
        open = torch.ones(40, dtype=torch.bool)
        turn = turn_of(
            random_logits(40), "p2", tokens=canvas_with(list(range(20)), 40), open=open, index=1, eta=eta,
            positions=torch.arange(40),
        )  # fmt: skip
        return len(remasked(turn, take(turn)))

    counts = [given_up(eta) for eta in (0.0, 0.1, 1.0, 10.0)]
    assert counts == sorted(counts) and counts[0] == 0 < counts[2] < counts[3]


def test_without_eta_a_token_stands_even_where_the_model_is_certain_of_the_masks():
    """log p of such a draft is 0, which is what 0 times any score is as well; the token must win all the same."""
    logits = torch.full((8, V), -1000.0).index_fill(1, torch.tensor([1]), 0.0)
    open = torch.ones(8, dtype=torch.bool)
    turn = turn_of(
        logits, "p2", tokens=canvas_with([4, 5, 6, 7], 8), open=open, positions=torch.arange(8), index=2, eta=0.0
    )
    move = take(turn)
    assert remasked(turn, move) == [] and (move.after == MASK).sum() == 2


@pytest.mark.parametrize("steps, pace", [(5, [2, 1, 2, 1, 1]), (7, [1] * 7), (3, [3, 2, 2])])
def test_path_planning_keeps_an_even_pace(steps, pace, fake):
    """floor(7 (1 - i / steps)) stay masked after step i."""
    assert fill_counts(fake, 7, sampler="p2", steps=steps, eta=0.0) == pace


def test_one_row_and_one_step():
    """The least there is: every sampler of this file fills it."""
    for name in ("confidence", "random", "left-to-right", "maskgit", "p2", "dream-margin", "dream-entropy"):
        turn = turn_of(random_logits(1), name, steps=1)
        assert filled(turn, take(turn)) == [0]


def test_a_position_draws_with_its_own_number():
    """The same numbers whether or not other positions are masked, so that settings can be compared."""
    logits, some = random_logits(20, seed=2), torch.tensor([1, 4, 19])
    whole, part = turn_of(logits), turn_of(logits[some], tokens=canvas_with([1, 4, 19], 20), positions=some)
    assert torch.equal(part.draw(part.every), whole.draw(whole.every)[some])
    assert torch.equal(part.uniform("select"), whole.uniform("select")[some])
