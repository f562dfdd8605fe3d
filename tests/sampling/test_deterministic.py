"""The three steps that are called deterministic, told apart."""

import pytest
import torch

from ddemo.processes import SCHEDULES
from ddemo.sampling import SAMPLERS, Lane, SamplerConfig, denoise
from tests.processes import dense
from tests.sampling.drive import canvas_of
from tests.sampling.laws import mask_step, one_hot, times_of
from tests.sampling.turns import MASK, V, filled, random_logits, take, turn_of

K = V - 1


def runs(denoiser, seeds: int, length: int = 12, **values) -> list[tuple[list[int], list[int]]]:
    """For each seed the text, and how many masks each step filled."""
    told = []
    for seed in range(seeds):
        lane = Lane.fresh(canvas_of(torch.full((length,), 11)), SamplerConfig(seed=seed, **values), 11)
        counts = [len(frame.written) for turn in denoise(denoiser, [lane]) for _, frame in turn]
        assert lane.failure is None
        told.append((lane.tokens.tolist(), counts))
    return told


# The literal argmax of p(x_s | x_t)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 64])
def test_the_literal_argmax_leaves_all_masks_until_the_last_step(steps, fake):
    """On the linear schedule, however sure the model is: with a step left after this one, staying is as likely."""
    fake.table *= 50.0
    ((_, counts),) = runs(fake, 1, sampler="posterior-argmax", steps=steps)
    assert counts == [0] * (steps - 1) + [12]


def test_it_then_commits_every_position_by_itself_and_asks_once(fake):
    lane = Lane.fresh(canvas_of(torch.full((12,), 11)), SamplerConfig(sampler="posterior-argmax", steps=9), 11)
    for _ in denoise(fake, [lane]):
        pass
    everything = torch.ones(1, 12, dtype=torch.bool)
    logits = fake(torch.full((1, 12), 11), torch.ones(1, 12), torch.tensor([12]), everything)
    logits[:, 11] = -torch.inf
    assert torch.equal(lane.tokens, logits.argmax(-1)) and lane.nfe == 1


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_the_literal_argmax_is_the_mode_of_bayes_rule_under_masks(schedule, spread):
    """Over the mask and every word, at each step of every schedule."""
    revealed = 0
    for index, (t, s) in enumerate(times_of("posterior-argmax", 8)):
        turn = turn_of(
            random_logits(100, spread=spread).double(), "posterior-argmax", index=index, steps=8, schedule=schedule
        )
        alpha_t, alpha_s = SCHEDULES[schedule].alpha(t), 1.0 if s == 0.0 else SCHEDULES[schedule].alpha(s)
        to_s, between = (dense.absorbing_matrix(alpha, V) for alpha in (alpha_s, alpha_t / alpha_s))
        laws = [dense.mean_posterior(p, MASK, to_s, between) for p in turn.belief.logits.softmax(-1)]
        assert take(turn).after.tolist() == [int(law.argmax()) for law in laws]
        revealed += len(filled(turn, take(turn))) * (s > 0)
    assert (revealed > 0) == (schedule not in ("linear", "quadratic"))


def test_a_schedule_that_ends_steeply_commits_a_little_before_the_last_step(fake):
    """As the docstring says: (alpha_s - alpha_t) p > 1 - alpha_s becomes possible on the cosine schedule."""
    fake.table *= 50.0
    ((_, counts),) = runs(fake, 1, sampler="posterior-argmax", steps=10, schedule="cosine")
    assert counts == [0] * 7 + [12]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_literal_argmax_is_the_mode_of_bayes_rule_under_uniform_noise(schedule):
    """Of the belief as it is. An argmax of x0 made first would give another mode."""
    differs = 0
    for index, (t, s) in enumerate(times_of("posterior-argmax", 6)):
        logits = random_logits(300, seed=index, spread=0.7).double()
        tokens = torch.randint(K, (300,), generator=torch.Generator().manual_seed(index))
        turn = turn_of(logits, "posterior-argmax", tokens=tokens, index=index, steps=6, schedule=schedule)
        alpha_t, alpha_s = SCHEDULES[schedule].alpha(t), 1.0 if s == 0.0 else SCHEDULES[schedule].alpha(s)
        to_s, between = (dense.uniform_matrix(alpha, K) for alpha in (alpha_s, alpha_t / alpha_s))
        p = logits.softmax(-1)[:, :K]
        expected = [dense.mean_posterior(q, seen, to_s, between) for q, seen in zip(p, tokens.tolist(), strict=True)]
        plugged = [
            dense.mean_posterior(q, seen, to_s, between) for q, seen in zip(one_hot(p), tokens.tolist(), strict=True)
        ]
        expected, plugged = torch.stack(expected).argmax(-1), torch.stack(plugged).argmax(-1)
        assert torch.equal(take(turn, "uniform").after, expected)
        differs += int((expected != plugged).sum())
    assert differs > 0


# The plug-in posterior, and the argmax draw


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_plug_in_reveals_at_random_what_is_not_random(schedule):
    logits = random_logits(200)
    steps, texts = times_of("plug-in", 5), set()
    for seed in range(3):
        turn = turn_of(logits, "plug-in", index=1, steps=5, schedule=schedule, seed=seed)
        reveal, _ = mask_step("plug-in", *steps[1], schedule)
        rows = filled(turn, take(turn))
        assert rows == (turn.uniform("select") >= 1.0 - reveal).nonzero().flatten().tolist()
        assert torch.equal(take(turn).after[rows], turn.belief.likeliest[rows])
        texts.add(tuple(rows))
    assert len(texts) == 3


def test_the_plug_in_is_ancestral_with_an_argmax_draw_in_whole_runs(fake):
    plugged = runs(fake, 10, sampler="plug-in", steps=8)
    assert plugged == runs(fake, 10, sampler="ancestral", draw="argmax", steps=8)
    assert len({tuple(text) for text, _ in plugged}) > 1  # the order is random, and the model looks at neighbours


def test_the_three_differ_in_what_a_run_does(fake):
    """The literal one waits and does not depend on the seed; the plug-in's order does; LLaDA's argmax is settled."""
    literal = runs(fake, 5, sampler="posterior-argmax", steps=6)
    plugged = runs(fake, 5, sampler="plug-in", steps=6)
    settled = runs(fake, 5, sampler="confidence", draw="argmax", steps=6)
    assert all(run == literal[0] for run in literal) and all(run == settled[0] for run in settled)
    assert len({str(run) for run in plugged}) == 5
    assert literal[0][1] == [0, 0, 0, 0, 0, 12] and settled[0][1] == [2] * 6
    assert literal[0][0] != settled[0][0]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_that_is_called_deterministic_does_not_know_its_seed(sampler, make_fake):
    """And one that is not, does, with the same settings and 40 positions."""
    process = "absorbing" if "absorbing" in SAMPLERS[sampler].processes else "uniform"
    if process == "uniform":
        assert not SamplerConfig(sampler=sampler, draw="argmax").deterministic
        return
    fake = make_fake(seed=2)
    values = {"sampler": sampler, "draw": "argmax", "steps": 8}
    if SAMPLERS[sampler].knob("order_temperature"):
        values["order_temperature"] = 0.0
    different = {tuple(text) for text, _ in runs(fake, 6, length=40, **values)}
    assert (len(different) == 1) == SamplerConfig(**values, seed=1).deterministic
