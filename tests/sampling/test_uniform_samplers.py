"""Samplers of uniform noise: every position's law against dense matrices, and tokens that are drawn from that law."""

import bisect
import math
from itertools import accumulate

import pytest
import torch

from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS
from ddemo.sampling.randomness import uniforms
from ddemo.sampling.samplers import of_process
from ddemo.sampling.samplers.turn import Turn
from ddemo.sampling.samplers.uniform import (
    analytic_law,
    joint_weighted_law,
    mean_posterior_law,
    posterior,
    posterior_belief,
)
from tests.processes import dense
from tests.processes.dense import DERIVABLE
from tests.sampling.laws import chance_of, flow_law, noise_at, one_hot, times_of, word_step
from tests.sampling.turns import MASK, V, random_logits, take, turn_of

K, ROWS, STEPS = V - 1, 60, 6
KNOBS = {"flow": ({}, {"corrector": 0.7})}
NAMES = [sampler.name for sampler in of_process("uniform")]
CASES = [
    (name, schedule, knobs)
    for name in NAMES
    for schedule in (DERIVABLE if SAMPLERS[name].differentiates else SCHEDULES)
    for knobs in KNOBS.get(name, ({},))
]


def noisy_turn(sampler: str, rows: int = ROWS, seed: int = 0, **values) -> Turn:
    """Every position holds a word; the belief is in float64, so that only the laws are left to differ."""
    tokens = torch.randint(K, (rows,), generator=torch.Generator().manual_seed(seed))
    return turn_of(random_logits(rows, seed).double(), sampler, tokens=tokens, seed=seed, **values)


def laws_of(turn: Turn, p: torch.Tensor, alone: torch.Tensor, **knobs) -> torch.Tensor:
    """[M, K] by the published rules, for p(x0 | x_t) and the leave-one-out belief [M, K]."""
    name, schedule = turn.config.sampler, turn.schedule.name
    rows = zip(p, alone, turn.standing.tolist(), strict=True)
    return torch.stack([word_step(name, q, a, seen, turn.t, turn.s, schedule, **knobs) for q, a, seen in rows])


def plain_draws(laws: torch.Tensor, numbers: torch.Tensor) -> list[int]:
    """The word at which the summed law passes the number, row by row."""
    return [
        bisect.bisect_right(list(accumulate(row)), u * sum(row))
        for row, u in zip(laws.tolist(), numbers.tolist(), strict=True)
    ]


def believed(turn: Turn) -> torch.Tensor:
    """[M, K] float64 what the denoiser says."""
    return turn.belief.logits.double().softmax(-1)[:, :K]


# Laws and draws


@pytest.mark.parametrize("sampler, schedule, knobs", CASES)
def test_a_step_draws_from_the_published_law(sampler, schedule, knobs):
    """At every step of a run, with the position's own number; a token that is drawn elsewhere has another law."""
    moments, changed = times_of(sampler, STEPS), 0
    for index, (t, s) in enumerate(moments):
        turn = noisy_turn(sampler, seed=index, index=index, steps=len(moments), schedule=schedule, **knobs)
        assert (turn.t, turn.s) == (pytest.approx(t, abs=1e-12), pytest.approx(s, abs=1e-12))
        p, move = believed(turn), take(turn, "uniform")
        assert move.remask is None and (move.after != MASK).all()
        if sampler == "flow":
            continue  # which draws twice; see below
        laws = laws_of(turn, p, p)
        assert move.after.tolist() == plain_draws(laws, uniforms(index, 0, index + 1, "draw", ROWS))
        changed += int((move.after != turn.standing).sum())
    assert changed > 20 or sampler == "flow"


@pytest.mark.parametrize("schedule", DERIVABLE)
@pytest.mark.parametrize("corrector", [0.0, 0.7])
def test_flow_draws_a_target_and_whether_it_jumps(schedule, corrector):
    for index in range(STEPS):
        turn = noisy_turn("flow", seed=index, index=index, steps=STEPS, schedule=schedule, corrector=corrector)
        p, after = believed(turn), take(turn, "uniform").after.tolist()
        targets = plain_draws(p, uniforms(index, 0, index + 1, "draw", ROWS))
        if turn.last:
            assert after == targets
            continue
        growth = -SCHEDULES[schedule].derivative(turn.t)
        aims = one_hot_rows(targets)
        laws = torch.stack([
            flow_law(aim, seen, turn.t - turn.s, SCHEDULES[schedule].alpha(turn.t), growth, corrector)
            for aim, seen in zip(aims, turn.standing.tolist(), strict=True)
        ])  # fmt: skip
        assert after == plain_draws(laws, uniforms(index, 0, index + 1, "select", ROWS))
        if corrector == 0.0:
            assert all(x in (now, aim) for x, now, aim in zip(after, turn.standing.tolist(), targets, strict=True))


def one_hot_rows(ids: list[int]) -> torch.Tensor:
    return torch.eye(K, dtype=torch.float64)[ids]


@pytest.mark.parametrize("corrector", [0.0, 0.7])
def test_flow_has_its_law_when_targets_are_averaged_out(corrector):
    """20,000 positions of one belief and one token; a false alarm once in a million."""
    count, seen = 20_000, 3
    logits, tokens = random_logits(1, seed=5).double(), torch.full((count,), seen)
    turn = turn_of(logits.repeat(count, 1), "flow", tokens=tokens, index=1, corrector=corrector)
    law = flow_law(believed(turn)[0], seen, 0.25, 0.25, 1.0, corrector)
    assert chance_of(torch.bincount(take(turn, "uniform").after, minlength=K), law) > 1e-6


@pytest.mark.parametrize("law, sampler", [
    (mean_posterior_law, "uniform-ancestral"),
    (joint_weighted_law, "uniform-joint"),
    (analytic_law, "sedd-analytic"),
])  # fmt: skip
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_laws_equal_dense_bayes_to_twelve_digits(law, sampler, schedule):
    """SEDD's inverse noise has e^D up to 1,000 in it, which costs the dense matrices three of them."""
    moments = times_of(sampler, STEPS)
    for index in range(len(moments)):
        turn = noisy_turn(sampler, seed=index, index=index, steps=len(moments), schedule=schedule)
        got, p = law(turn), believed(turn)
        bound = 1e-9 if sampler == "sedd-analytic" else 1e-12
        torch.testing.assert_close(got[:, :K], laws_of(turn, p, p), rtol=0, atol=bound)
        assert (got[:, MASK] == 0).all()
        torch.testing.assert_close(got.sum(-1), torch.ones(ROWS, dtype=torch.float64), rtol=0, atol=1e-12)
        assert index > 0 or turn.alpha_t <= 0.0011


def test_a_denoise_step_can_follow_where_next_to_nothing_is_noised():
    """At 0.00001 a table of discrete steps may have no noise at all, and the noise is divided by."""
    for schedule in SCHEDULES:
        for name in ("sedd-analytic", "uniform-ancestral", "uniform-joint"):
            turn = noisy_turn(name, times=(1e-5, 0.0), schedule=schedule)
            assert take(turn, "uniform").after.max() < K
            assert turn.alpha_t < 1.0 and mean_posterior_law(turn).isfinite().all()


# The two beliefs


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("index", range(4))
def test_joint_weighted_on_leave_one_out_is_mean_posterior_on_the_posterior(schedule, index):
    """The same denoiser, asked in its two ways."""
    turn = noisy_turn("uniform-joint", index=index, schedule=schedule, predicts="leave-one-out")
    to_t = dense.uniform_matrix(turn.alpha_t, K)
    rows = [dense.posterior(q, seen, to_t) for q, seen in zip(believed(turn), turn.standing.tolist(), strict=True)]
    torch.testing.assert_close(posterior(turn)[:, :K], torch.stack(rows), rtol=0, atol=1e-12)
    torch.testing.assert_close(joint_weighted_law(turn), mean_posterior_law(turn), rtol=0, atol=1e-12)
    if turn.alpha_t > 0.01:
        wrong = noisy_turn("uniform-joint", index=index, schedule=schedule)  # the same numbers as a posterior
        assert (joint_weighted_law(wrong) - mean_posterior_law(wrong)).abs().max() > 0.01


@pytest.mark.parametrize("sampler", [name for name in NAMES if name != "uniform-joint"])
def test_every_other_sampler_takes_either_belief_for_what_it_is(sampler):
    """The moves of a leave-one-out denoiser are those of the posterior that follows from it."""
    steps = len(times_of(sampler, STEPS))
    differs = False
    for index in range(steps):
        turn = noisy_turn(sampler, rows=400, index=index, steps=steps, predicts="leave-one-out")
        logits = torch.full((400, V), -math.inf, dtype=torch.float64)
        logits[:, :K] = posterior_belief(turn).shaped()[:, :K].log()
        twin = turn_of(logits, sampler, tokens=turn.tokens, index=index, steps=steps)
        assert torch.equal(take(turn, "uniform").after, take(twin, "uniform").after)
        raw = turn_of(turn.belief.logits, sampler, tokens=turn.tokens, index=index, steps=steps)
        differs |= not torch.equal(take(turn, "uniform").after, take(raw, "uniform").after)
    assert differs  # from taking the one for the other


# Identities and settings


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_analytic_step_is_the_mean_posterior(schedule):
    """With the same alphas. Near t = 1 there is e^D to be rounded, at 0.00001 a noise of 1 - alpha = 1e-10."""
    for times, bound in (((1.0, 0.8), 1e-11), ((0.6, 0.4), 1e-12), ((1e-5, 0.0), 1e-8)):
        turn = noisy_turn("sedd-analytic", schedule=schedule, times=times)
        torch.testing.assert_close(analytic_law(turn), mean_posterior_law(turn), rtol=0, atol=bound)


@pytest.mark.parametrize("shape", [{"temperature": 2.5}, {"temperature": 0.3}, {"top_k": 2}, {"top_p": 0.6}])
def test_settings_shape_the_belief_before_the_law_is_made_of_it(shape):
    turn = noisy_turn("uniform-ancestral", index=2, **shape)
    logits = turn.belief.logits[:, :K].double() / shape.get("temperature", 1.0)
    p = logits.softmax(-1)
    order = p.argsort(-1, descending=True)
    for row, ranks in zip(p, order.tolist(), strict=True):
        if "top_k" in shape:
            row[ranks[2:]] = 0.0
        if "top_p" in shape:
            before = [0.0, *accumulate(row[ranks].tolist())][:-1]
            row[[i for i, sum_before in zip(ranks, before, strict=True) if sum_before >= 0.6]] = 0.0
    p = p / p.sum(-1, keepdim=True)
    torch.testing.assert_close(mean_posterior_law(turn)[:, :K], laws_of(turn, p, p), rtol=0, atol=1e-6)


def test_an_argmax_draw_is_the_plug_in_posterior():
    """It takes the likeliest text for the truth, and still draws from the noise's posterior of it."""
    turn, twin = noisy_turn("uniform-ancestral", index=1, draw="argmax"), noisy_turn("plug-in", index=1)
    assert torch.equal(take(turn, "uniform").after, take(twin, "uniform").after)
    p = one_hot(believed(turn))
    torch.testing.assert_close(mean_posterior_law(turn)[:, :K], laws_of(turn, p, p), rtol=0, atol=1e-12)


def test_euler_and_analytic_differ():
    turn, twin = noisy_turn("sedd-euler", rows=2000, index=1), noisy_turn("sedd-analytic", rows=2000, index=1)
    assert not torch.equal(take(turn, "uniform").after, take(twin, "uniform").after)


def test_the_first_step_knows_nothing_of_what_stands():
    """At t = 1 the noise is all there is: x_s is drawn from the marginal that the belief makes."""
    turn = noisy_turn("uniform-ancestral", index=0)
    law = mean_posterior_law(turn)[:, :K]
    torch.testing.assert_close(law, 0.25 * believed(turn) + 0.75 / K, rtol=0, atol=1e-12)
    assert noise_at("uniform-ancestral", "linear", 1.0)[0] == turn.alpha_t == 0.0
