"""Samplers that follow the clock: a step reveals the very masks that the published probability picks out."""

import math

import pytest
import torch

from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS, Lane, SamplerConfig, denoise
from ddemo.sampling.clock import Plan
from ddemo.sampling.randomness import uniforms
from ddemo.sampling.samplers.time_driven import looped_alpha
from tests.processes.dense import DERIVABLE
from tests.sampling.drive import canvas_of
from tests.sampling.laws import (
    chance_of,
    furthest,
    furthest_by_chance,
    mask_step,
    noise_at,
    remdm_loop_alpha,
    times_of,
)
from tests.sampling.turns import MASK, V, canvas_with, filled, random_logits, remasked, take, turn_of

STEPS = 7
ROWS = 200
LOOP = {"eta": 0.3, "t_on": 0.6, "t_off": 0.2, "alpha_on": 0.8}
CASES = [
    *(("ancestral", name, {}) for name in SCHEDULES),
    *(("plug-in", name, {}) for name in SCHEDULES),
    *(("sedd-analytic", name, {}) for name in SCHEDULES),
    *(("sedd-euler", name, {}) for name in DERIVABLE),
    *(("tau-leaping", name, {}) for name in DERIVABLE),
    *(("flow", name, {"corrector": c}) for name in DERIVABLE for c in (0.0, 0.7)),
    *(("remdm-cap", name, {"eta": eta}) for name in SCHEDULES for eta in (0.0, 0.008, 0.5)),
    *(("remdm-rescale", name, {"eta": eta}) for name in SCHEDULES for eta in (0.0, 0.3, 1.0)),
    ("remdm-loop", None, LOOP),
    ("remdm-loop", None, LOOP | {"eta": 1.0}),
    ("dream-origin", None, {}),
]


def mixed_turn(sampler: str, schedule: str | None, **values):
    """Masks and tokens in turn, a quarter of the positions fixed; rows are the open masks."""
    tokens = canvas_with(list(range(0, ROWS, 2)), ROWS)
    open = torch.arange(ROWS) % 4 != 3
    named = {"schedule": schedule} if schedule else {}
    logits = random_logits(int((open & (tokens == MASK)).sum()))
    return turn_of(logits, sampler, tokens=tokens, open=open, **named, **values)


# Each step


@pytest.mark.parametrize("sampler, schedule, knobs", CASES)
def test_a_step_reveals_and_remasks_exactly_with_the_published_probabilities(sampler, schedule, knobs):
    """A position's number of the step decides: above 1 - reveal it is filled, below remask it is masked again."""
    moments = times_of(sampler, STEPS)
    moved = 0
    for index, (t, s) in enumerate(moments[:-1]):
        turn = mixed_turn(sampler, schedule, index=index, steps=len(moments), seed=index, **knobs)
        assert (turn.t, turn.s) == (pytest.approx(t, abs=1e-12), pytest.approx(s, abs=1e-12))
        reveal, remask = mask_step(sampler, t, s, schedule or "linear", **knobs)
        assert -1e-12 <= remask <= 1.0 and -1e-12 <= reveal <= 1.0 + 1e-12
        move, positions = take(turn), turn.belief.positions
        u = uniforms(index, 0, index + 1, "select", ROWS)[positions]
        assert filled(turn, move) == positions[u >= 1.0 - reveal].tolist()
        standing = turn.open & (turn.tokens != MASK)
        again = uniforms(index, 0, index + 1, "remask", ROWS) < remask
        assert remasked(turn, move) == (standing & again).nonzero().flatten().tolist()
        changed = move.after != MASK
        assert torch.equal(move.after[changed], turn.draw(turn.every)[changed])
        moved += int(changed.sum()) + len(remasked(turn, move))
    assert moved > 50


@pytest.mark.parametrize("sampler", sorted({name for name, _, _ in CASES} | {"remdm-conf"}))
def test_the_last_step_fills_every_mask_and_masks_nothing(sampler):
    steps = len(times_of(sampler, STEPS))
    turn = mixed_turn(sampler, None, index=steps - 1, steps=steps)
    assert turn.last and turn.s == 0.0 and turn.alpha_s == 1.0
    move = take(turn)
    assert filled(turn, move) == turn.belief.positions.tolist() and remasked(turn, move) == []
    expected = turn.belief.likeliest if sampler == "tau-leaping" else turn.draw(turn.every)
    assert torch.equal(move.after, expected)
    if sampler not in ("tau-leaping", "plug-in"):
        assert not torch.equal(move.after, turn.belief.likeliest)


def test_selection_does_not_look_at_the_belief():
    """Which masks are filled depends on the numbers of the step alone: that is what random order means."""
    logits = random_logits(64)
    one = turn_of(logits, seed=9)
    other = turn_of(random_logits(64, seed=1), seed=9, temperature=0.1)
    assert filled(one, take(one)) == filled(other, take(other)) != []


def test_what_is_revealed_is_drawn_from_the_belief():
    """400 masks of one belief, filled 20 times: a false alarm once in a million."""
    logits = random_logits(1).repeat(400, 1)
    law = logits[0].double().softmax(-1)
    seen = torch.zeros(V, dtype=torch.float64)
    for lane in range(20):
        turn = turn_of(logits, "ancestral", lane=lane)
        after = take(turn).after
        seen += torch.bincount(after[after != MASK], minlength=V)
    assert 1500 < seen.sum() < 2500
    assert chance_of(seen, law) > 1e-6


def test_pairs_of_positions_are_filled_and_drawn_independently():
    """16,000 pairs, over the 36 outcomes of a pair, so that position and independence are both tested.

    A false alarm once in a million.
    """
    lanes, logits = 16, random_logits(2).repeat(1000, 1)
    reveal, _ = mask_step("ancestral", 0.75, 0.5)
    laws = [reveal * row.double().softmax(-1) + (1 - reveal) * torch.eye(V)[MASK] for row in logits[:2]]
    seen = torch.zeros(V * V, dtype=torch.float64)
    for lane in range(lanes):
        pairs = take(turn_of(logits, index=1, lane=lane)).after.view(-1, 2)
        seen += torch.bincount(pairs[:, 0] * V + pairs[:, 1], minlength=V * V)
    assert chance_of(seen, torch.outer(*laws).flatten()) > 1e-6


# Grids and floors, as a run has them


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
@pytest.mark.parametrize("sampler", sorted({name for name, _, _ in CASES} | {"remdm-conf"}))
def test_a_run_takes_the_times_of_its_source(sampler, steps, fake):
    lane = Lane.fresh(canvas_of(torch.full((9,), fake.mask_id)), SamplerConfig(sampler=sampler, steps=steps), 11)
    plan = Plan(lane, fake)
    stages = [plan.stage(step, lane.tokens, 1.0) for step in range(lane.clock.last)]
    moments = times_of(sampler, steps)
    torch.testing.assert_close(
        torch.tensor([(stage.t, stage.s) for stage in stages], dtype=torch.float64),
        torch.tensor(moments, dtype=torch.float64),
        rtol=0,
        atol=1e-12,
    )
    assert stages[0].t == 1.0 and stages[-1].s == 0.0
    for stage in stages:
        alpha, sigma_rate = noise_at(sampler, plan.schedule.name, stage.t)
        assert math.isclose(plan.alpha(stage.t), alpha, rel_tol=0, abs_tol=1e-12)
        if SAMPLERS[sampler].differentiates and alpha > 0:
            turn = turn_of(random_logits(1), sampler, times=(stage.t, stage.s))
            assert math.isclose(-turn.slope / turn.alpha_t, sigma_rate, rel_tol=1e-12)


def test_sedd_has_something_that_survives_at_the_start_and_denoises_at_the_end(fake):
    config = SamplerConfig(sampler="sedd-euler", steps=8)
    lane = Lane.fresh(canvas_of(torch.full((9,), 11)), config, 11)
    assert lane.clock.last == 9
    assert Plan(lane, fake).alpha(1.0) == 0.001


# Identities between samplers


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_analytic_step_is_the_ancestral_step_with_the_same_alphas(schedule):
    """Fed with the score of p(x0 | x_t). In a run the two differ in SEDD's floor and times alone."""
    for t, s in ((1.0, 0.8), (0.7, 0.4), (0.4, 0.39)):
        turn = turn_of(random_logits(300), "sedd-analytic", times=(t, s), schedule=schedule)
        twin = turn_of(random_logits(300), "ancestral", times=(t, s), schedule=schedule)
        for name in ("alpha_t", "alpha_s"):  # with the floor
            object.__setattr__(twin, name, getattr(turn, name))
        assert torch.equal(take(turn).after, take(twin).after)
        assert filled(twin, take(twin))


def test_euler_is_ancestral_on_the_linear_schedule_and_not_on_the_cosine():
    def fills(sampler: str, schedule: str) -> list[int]:
        turn = turn_of(random_logits(3000), sampler, times=(0.7, 0.4), schedule=schedule, index=1)
        return filled(turn, take(turn))

    assert fills("sedd-euler", "linear") == fills("sedd-analytic", "linear") == fills("ancestral", "linear")
    assert fills("sedd-analytic", "cosine") != fills("sedd-euler", "cosine")


@pytest.mark.parametrize("sampler", ["remdm-cap", "remdm-rescale", "remdm-conf"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_remdm_without_remasking_is_ancestral_token_by_token(sampler, schedule, make_fake):
    """Whole runs, of 6 seeds; the frames before the end write the same tokens at the same places."""
    fake = make_fake(seed=3)
    canvas = canvas_of(torch.tensor([11] * 20 + [3, 4] + [11] * 4))

    def frames(name: str, seed: int, **knobs):
        config = SamplerConfig(sampler=name, steps=9, seed=seed, schedule=schedule, **knobs)
        lane = Lane.fresh(canvas, config, fake.mask_id)
        steps = [frame for turn in denoise(fake, [lane]) for _, frame in turn]
        assert lane.failure is None
        return lane.tokens, {frame.step: (frame.written.tolist(), frame.tokens.tolist()) for frame in steps}

    texts = set()
    for seed in range(6):
        tokens, told = frames("ancestral", seed)
        others, told_others = frames(sampler, seed, eta=0.0)
        assert torch.equal(tokens, others)
        assert told == {step: told_others[step] for step in told}  # which may end sooner
        texts.add(tuple(tokens.tolist()))
    assert len(texts) == 6


def test_an_argmax_draw_inside_ancestral_is_the_plug_in_sampler():
    logits = random_logits(100)
    turn, twin = turn_of(logits, "plug-in", index=1), turn_of(logits, "ancestral", index=1, draw="argmax")
    assert torch.equal(take(turn).after, take(twin).after)
    assert len(filled(turn, take(turn))) > 10


# ReMDM


def test_the_loop_writes_holds_and_finishes():
    on, off, held = LOOP["t_on"], LOOP["t_off"], LOOP["alpha_on"]
    for t in (1.0, 0.9, 0.61, 0.6, 0.5, 0.21, 0.2, 0.1, 0.01, 0.0):
        assert math.isclose(looped_alpha(t, on, off, held), remdm_loop_alpha(t, on, off, held), abs_tol=1e-12)
    assert looped_alpha(1.0, on, off, held) == 0.0 and looped_alpha(0.0, on, off, held) == 1.0
    assert looped_alpha(on, on, off, held) == looped_alpha(0.3, on, off, held) == looped_alpha(off, on, off, held)
    phases = []
    for index, (t, s) in enumerate(times_of("remdm-loop", 20)[:-1]):
        turn = mixed_turn("remdm-loop", None, index=index, steps=20, **LOOP)
        masked_again, wrote = len(remasked(turn, take(turn))), len(filled(turn, take(turn)))
        phases.append("hold" if t <= on and t > off else "write")
        assert (masked_again > 0) == (phases[-1] == "hold")
        if phases[-1] == "hold" and s >= off:  # as much is revealed as is masked again: the most, 0.2 / 0.8, of 0.8
            reveal, remask = mask_step("remdm-loop", t, s, **LOOP)
            assert math.isclose(remask * held, reveal * (1.0 - held), abs_tol=1e-12)
        assert wrote > 0
    assert phases == ["write"] * 8 + ["hold"] * 8 + ["write"] * 3


def test_the_share_of_masks_follows_the_schedule_whatever_is_masked_again(make_fake):
    """10,000 masks; each share within five standard deviations of a binomial, of 60 shares: 1 in 29,000."""
    fake = make_fake(max_length=10_000)
    for name, knobs in (("remdm-cap", {"eta": 0.2}), ("remdm-rescale", {"eta": 0.8}), ("remdm-loop", LOOP)):
        config = SamplerConfig(sampler=name, steps=20, candidates=0, **knobs)
        lane = Lane.fresh(canvas_of(torch.full((10_000,), 11)), config, 11)
        again = 0
        for turn in denoise(fake, [lane]):
            frame = turn[0][1]
            alpha = 1.0 - frame.s
            if name == "remdm-loop":
                alpha = remdm_loop_alpha(frame.s, LOOP["t_on"], LOOP["t_off"], LOOP["alpha_on"])
            share = (lane.tokens == 11).double().mean().item()
            assert abs(share - (1 - alpha)) <= 5 * math.sqrt(alpha * (1 - alpha) / 10_000) + 1e-12
            again += int((frame.tokens == 11).sum())
        assert lane.failure is None and again > 1000


def test_confidence_shares_remasking_out_by_doubt_when_written():
    """eta times the most, times softmax(-probability) over the tokens that stand and are not fixed."""
    decoded = torch.rand(ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) ** 2
    hit = 0
    for seed in range(40):
        turn = mixed_turn("remdm-conf", "linear", index=1, steps=STEPS, seed=seed, eta=0.9, decoded=decoded)
        (t, s), u = times_of("remdm-conf", STEPS)[1], uniforms(seed, 0, 2, "remask", ROWS)
        standing = [i for i in range(ROWS) if turn.open[i] and turn.tokens[i] != MASK]
        total = sum(math.exp(-decoded[i]) for i in standing)
        most = min(1.0, s / (1 - t))
        expected = [i for i in standing if u[i] < 0.9 * most * math.exp(-decoded[i]) / total]
        move = take(turn)
        assert remasked(turn, move) == expected
        hit += len(expected)
        twin = mixed_turn("ancestral", "linear", index=1, steps=STEPS, seed=seed)
        assert torch.equal(move.after, take(twin).after)  # masks are revealed as without remasking
    assert hit > 10


def test_confidence_with_nothing_written_yet():
    turn = turn_of(random_logits(30), "remdm-conf", eta=1.0)
    move = take(turn)
    assert filled(turn, move) and remasked(turn, move) == []


# First hitting


@pytest.mark.parametrize("schedule", ["linear", "cosine", "geometric"])
@pytest.mark.parametrize("n", [1, 3, 10])
def test_hitting_times_have_their_distribution(schedule, n, fake):
    """With x = (1 - alpha(t')) / (1 - alpha(t)), all n masks are hit before t' with probability x^n, so x^n is even.

    Kolmogorov's distance of 1,500 numbers, with a false alarm once in a million.
    """
    canvas = canvas_of(torch.full((n,), 11))
    powers = []
    for number in range(1500):
        config = SamplerConfig(sampler="first-hitting", schedule=schedule)
        plan = Plan(Lane.fresh(canvas, config, 11, number), fake)
        stage = plan.stage(0, canvas.tokens, 1.0)
        assert stage.t == stage.s
        alpha = SCHEDULES[schedule].alpha
        powers.append(((1 - alpha(stage.t)) / (1 - alpha(1.0))) ** n)
    assert furthest(torch.tensor(powers)) < furthest_by_chance(1500, 1e-6)


def test_a_run_of_first_hits_reveals_one_mask_at_a_time_as_time_runs_down(fake):
    """The times of a run of n masks, in units of 1 - alpha, are n even numbers in order: ratios are even again.

    60 runs of 10 masks; a false alarm once in a million.
    """
    powers = []
    for number in range(60):
        config = SamplerConfig(sampler="first-hitting", schedule="cosine", candidates=0, seed=7)
        lane = Lane.fresh(canvas_of(torch.tensor([11] * 10 + [2, 3])), config, 11, number)
        frames = [frame for turn in denoise(fake, [lane]) for _, frame in turn]
        assert [len(frame.written) for frame in frames] == [1] * 10 and lane.nfe == 10
        noised = [1.0, *(1 - SCHEDULES["cosine"].alpha(frame.t) for frame in frames)]
        powers += [(now / before) ** n for before, now, n in zip(noised, noised[1:], range(10, 0, -1), strict=False)]
        assert all(frame.s == frame.t for frame in frames)
    assert furthest(torch.tensor(powers)) < furthest_by_chance(600, 1e-6)


def test_first_hits_fall_on_all_masks_alike():
    """1,000 steps; a false alarm once in a million."""
    seen, logits = torch.zeros(5, dtype=torch.float64), random_logits(5)
    for lane in range(1000):
        turn = turn_of(logits, "first-hitting", lane=lane)
        move = take(turn)
        (position,) = filled(turn, move)
        assert move.after[position] == turn.draw(turn.every)[position]
        seen[position] += 1
    assert chance_of(seen, torch.full((5,), 0.2)) > 1e-6
