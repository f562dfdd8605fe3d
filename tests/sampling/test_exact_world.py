"""Whole runs of `denoise` in worlds whose every probability is known.

A sampler is exact when its texts have the law of the world. Draws are held against laws by chi-square; where no other
chance is named, a test raises a false alarm for one seed in a million, and the seeds are fixed.
"""

import itertools
import math
from functools import cache

import pytest
import torch

from ddemo.denoisers.exact_world import ExactWorldDenoiser
from ddemo.processes.exact import SENTENCES, ExactWorld, split_words
from ddemo.sampling import Lane, SamplerConfig, denoise
from tests.sampling.laws import (
    chance_of,
    counts_in_lanes,
    counts_in_one_lane,
    distance,
    law_of_masks,
    law_of_words,
    leave_one_out_for_both,
    masks,
    posterior_for_both,
    run_lanes,
    small_world,
    words_only,
)

RARE = 1e-6
COPIES, LANES = 1500, 800
LOOP = {"eta": 0.02, "t_on": 0.55, "t_off": 0.05, "alpha_on": 0.9}
WORLD = small_world()  # three words long, three words wide
INDEPENDENT = torch.einsum("i,j,k->ijk", *(WORLD.marginal([i]) for i in range(3)))


def test_the_world_of_these_tests_has_strong_dependencies():
    assert distance(WORLD.joint, INDEPENDENT) > 0.4 and WORLD.joint.min() > 0


# Masks filled one at a time are exact, in every order that does not look at the drafts


ONE_AT_A_TIME = {
    "random": {},
    "left-to-right": {},
    "first-hitting": {},
    "p2": {"planner": "random", "eta": 0.0},
    "entropy-bounded": {"entropy_bound": 0.0},
}


@pytest.mark.parametrize("sampler, knobs", ONE_AT_A_TIME.items(), ids=list(ONE_AT_A_TIME))
def test_one_mask_at_a_time_reproduces_the_joint(sampler, knobs):
    """Among them P2's identity with random order, and first hitting as the limit of ancestral steps."""
    seen = counts_in_lanes(WORLD, LANES, sampler=sampler, steps=3, **knobs)
    assert chance_of(seen, WORLD.joint) > RARE
    assert chance_of(seen, INDEPENDENT) < RARE


def test_an_order_that_looks_at_the_drafts_is_not_exact():
    """Keeping the likeliest draft favours likely words; that, not haste, is what confidence gets wrong."""
    assert chance_of(counts_in_lanes(WORLD, LANES, sampler="confidence", steps=3), WORLD.joint) < RARE


def test_first_hitting_is_the_limit_of_many_ancestral_steps():
    limit = law_of_masks(WORLD, "ancestral", 4000)
    assert distance(limit, WORLD.joint) < 2e-4
    gaps = [distance(law_of_masks(WORLD, "ancestral", steps), limit) for steps in (10, 20, 40, 80)]
    assert all(1.7 < few / more < 2.3 for few, more in itertools.pairwise(gaps))  # falls as 1 / steps
    assert chance_of(counts_in_lanes(WORLD, LANES, sampler="first-hitting", seed=1, schedule="cosine"), limit) > RARE


def test_argmax_collapses_to_one_text():
    texts = {
        tuple(lane.tokens.tolist()) for lane in run_lanes(WORLD, 40, sampler="confidence", steps=3, draw="argmax")
    }
    assert len(texts) == 1
    seen = counts_in_lanes(WORLD, 40, sampler="random", steps=3, draw="argmax")
    assert (seen > 0).sum() <= 6  # one for each order at most


# What parallel commits cost


@cache
def random_groups(steps: int) -> list[tuple[tuple[int, ...], ...]]:
    """Every way to cut three positions into the groups that random order fills in so many steps."""
    sizes = [3 // steps + (i < 3 % steps) for i in range(steps)]
    ends = [0, *itertools.accumulate(sizes)]
    cuts = {
        tuple(tuple(sorted(order[a:b])) for a, b in itertools.pairwise(ends))
        for order in itertools.permutations(range(3))
    }
    return sorted(cuts)


@pytest.mark.parametrize("steps", [1, 2])
def test_random_order_in_few_steps_has_the_law_of_its_groups(steps):
    """The mixture of `law_in_groups` over the groups that may come up, and nothing else."""
    groups = random_groups(steps)
    law = sum(WORLD.law_in_groups(cut) for cut in groups) / len(groups)
    seen = counts_in_lanes(WORLD, LANES, sampler="random", steps=steps, seed=2)
    assert chance_of(seen, law) > RARE > chance_of(seen, WORLD.joint)


def test_its_parallel_error_is_the_predicted_one_and_falls_with_steps():
    """Group by group: what a run says it chose is the law in its groups, and groups cost what the world says.

    The mean cost of the groups that came up lies within five standard deviations of `average_parallel_cost`: a false
    alarm in two million.
    """
    costs = [WORLD.average_parallel_cost(sizes) for sizes in ([3], [2, 1], [1, 1, 1])]
    assert costs[0] > 2 * costs[1] > 0.1 and math.isclose(costs[2], 0.0, abs_tol=1e-12)
    denoiser = ExactWorldDenoiser(WORLD, "one", "absorbing")
    config = SamplerConfig(sampler="random", steps=2, candidates=0)
    lanes = [Lane.fresh(masks(3, denoiser.mask_id), config, denoiser.mask_id, number) for number in range(150)]
    groups, chosen = {lane: [] for lane in lanes}, dict.fromkeys(lanes, 1.0)
    for turn in denoise(denoiser, lanes, words_only(denoiser)):
        for lane, frame in turn:
            groups[lane].append(frame.written.tolist())
            chosen[lane] *= math.prod(frame.chosen.tolist())
    for lane in lanes:
        law = WORLD.law_in_groups(groups[lane])
        assert math.isclose(chosen[lane], law[tuple(lane.tokens.tolist())], rel_tol=1e-5)
    paid = torch.tensor([WORLD.parallel_cost(groups[lane]) for lane in lanes], dtype=torch.float64)
    possible = torch.tensor([WORLD.parallel_cost(cut) for cut in random_groups(2)], dtype=torch.float64)
    bound = 5 * possible.std(correction=0).item() / math.sqrt(len(lanes))
    assert abs(paid.mean().item() - costs[1]) < bound < costs[1]


# Time-driven samplers of masks: name, knobs, and how far from the world the law of many steps may be


TIMED = {
    "ancestral": ("ancestral", {}, 0.015),
    "ancestral, cosine": ("ancestral", {"schedule": "cosine"}, 0.015),
    "ancestral, d3pm": ("ancestral", {"schedule": "d3pm-cosine"}, 0.015),
    "dream-origin": ("dream-origin", {}, 0.015),
    "sedd-analytic": ("sedd-analytic", {"schedule": "cosine-squared"}, 0.015),
    "sedd-euler": ("sedd-euler", {"schedule": "cosine"}, 0.015),
    "tau-leaping": ("tau-leaping", {}, 0.015),
    "flow": ("flow", {"schedule": "quadratic"}, 0.015),
    "flow, corrected": ("flow", {"corrector": 1.0}, 0.015),
    "remdm-cap": ("remdm-cap", {"eta": 0.01}, 0.015),
    "remdm-rescale": ("remdm-rescale", {"eta": 0.02}, 0.015),
    "remdm-loop": ("remdm-loop", LOOP, 0.015),
}


def every(cases: dict[str, tuple], *names: str):
    """Runs a test for every case, with the first of its values under these names."""
    values = [case[: len(names)] for case in cases.values()]
    return pytest.mark.parametrize(names, values, ids=list(cases))


@every(TIMED, "sampler", "knobs")
def test_few_steps_have_the_published_law_parallel_error_included(sampler, knobs):
    """Against the law multiplied out from the formulas of the source, which is measurably not the world's."""
    law = law_of_masks(WORLD, sampler, 4, **knobs)
    seen = counts_in_one_lane(WORLD, COPIES, sampler=sampler, steps=4, seed=1, **knobs)
    assert chance_of(seen, law) > RARE
    assert chance_of(seen, WORLD.joint) < RARE and distance(law, WORLD.joint) > 0.05


@every(TIMED, "sampler", "knobs", "near")
def test_many_steps_reproduce_the_joint(sampler, knobs, near):
    """Their law is all but the world's, and the draws have it; so they seem drawn from the world as well."""
    laws = [law_of_masks(WORLD, sampler, steps, **knobs) for steps in (4, 16, 64)]
    few, more, many = (distance(law, WORLD.joint) for law in laws)
    assert few > 2 * more > 4 * many and many < near
    seen = counts_in_one_lane(WORLD, COPIES, sampler=sampler, steps=64, seed=3, **knobs)
    assert chance_of(seen, laws[-1]) > RARE and chance_of(seen, WORLD.joint) > RARE


def test_the_plug_in_does_not_come_near_with_any_number_of_steps():
    law = law_of_masks(WORLD, "plug-in", 64)
    assert distance(law, WORLD.joint) > 0.4
    seen = counts_in_one_lane(WORLD, COPIES, sampler="plug-in", steps=64, seed=1)
    assert chance_of(seen, law) > RARE > chance_of(seen, WORLD.joint)


# Uniform noise


# Under the cosine schedule the same number of steps is more exact than under the linear one.
WORDS = {
    "mean posterior": ("uniform-ancestral", {}, 0.015),
    "mean posterior, cosine": ("uniform-ancestral", {"schedule": "cosine"}, 0.01),
    "joint-weighted": ("uniform-joint", {"schedule": "cosine"}, 0.01),
    "sedd-analytic": ("sedd-analytic", {"schedule": "cosine-squared"}, 0.01),
    "sedd-euler": ("sedd-euler", {"schedule": "cosine"}, 0.01),
    "tau-leaping": ("tau-leaping", {"schedule": "cosine"}, 0.01),
    "flow": ("flow", {"schedule": "cosine"}, 0.015),
    "flow, corrected": ("flow", {"schedule": "cosine", "corrector": 0.5}, 0.02),
}


def knows(sampler: str) -> str:
    """The belief that it is exact for."""
    return "leave-one-out" if sampler == "uniform-joint" else "posterior"


@every(WORDS, "sampler", "knobs")
def test_few_steps_of_words_have_the_published_law(sampler, knobs):
    law = law_of_words(WORLD, sampler, 4, **knobs)
    seen = counts_in_one_lane(WORLD, COPIES, "uniform", knows(sampler), sampler=sampler, steps=4, seed=1, **knobs)
    assert chance_of(seen, law) > RARE
    assert chance_of(seen, WORLD.joint) < RARE and distance(law, WORLD.joint) > 0.05


@every(WORDS, "sampler", "knobs", "near")
def test_many_steps_of_words_reproduce_the_joint(sampler, knobs, near):
    """As for masks."""
    laws = [law_of_words(WORLD, sampler, steps, **knobs) for steps in (4, 16, 64)]
    distances = [distance(law, WORLD.joint) for law in laws]
    assert distances[0] > 2 * distances[1] > 4 * distances[2] and distances[2] < near
    seen = counts_in_one_lane(WORLD, COPIES, "uniform", knows(sampler), sampler=sampler, steps=64, seed=3, **knobs)
    assert chance_of(seen, laws[-1]) > RARE and chance_of(seen, WORLD.joint) > RARE


def test_a_leave_one_out_denoiser_serves_the_others_as_well():
    """They make the posterior of it, so that the draws are the same, but for rounding in float32."""
    for sampler in ("uniform-ancestral", "flow"):
        settings = {"sampler": sampler, "steps": 5, "seed": 4}
        from_posterior = counts_in_one_lane(WORLD, 500, "uniform", "posterior", **settings)
        from_leave_one_out = counts_in_one_lane(WORLD, 500, "uniform", "leave-one-out", **settings)
        assert (from_posterior - from_leave_one_out).abs().sum() <= 4


@pytest.mark.parametrize("sampler, answer, feed", [
    ("uniform-ancestral", "leave-one-out", leave_one_out_for_both),
    ("uniform-joint", "posterior", posterior_for_both),
])  # fmt: skip
def test_fed_with_the_other_belief_the_two_reverses_are_wrong(sampler, answer, feed):
    """By just as much as the law says, however many steps are taken."""
    laws = [law_of_words(WORLD, sampler, steps, feed=feed) for steps in (16, 48)]
    assert min(distance(law, WORLD.joint) for law in laws) > 0.1
    seen = counts_in_one_lane(WORLD, COPIES, "uniform", answer, says="posterior", sampler=sampler, steps=48, seed=3)
    assert chance_of(seen, laws[1]) > RARE > chance_of(seen, WORLD.joint)


# The shipped world


def test_the_shipped_world_comes_out_in_its_shares_and_as_nonsense_when_all_is_filled_at_once():
    """Ten sentences and the rest, 200 lanes of six steps; at once, hardly any lane ends in a sentence."""
    world = ExactWorld.sentences()
    index = {word: i for i, word in enumerate(world.words)}
    texts = {tuple(index[word] for word in split_words(text)): i for i, text in enumerate(SENTENCES)}
    law = [world.joint[text].item() for text in texts]
    law = torch.tensor([*law, 1.0 - sum(law)], dtype=torch.float64)

    def shares(steps: int) -> torch.Tensor:
        lanes = run_lanes(world, 200, sampler="random", steps=steps, seed=6)
        found = torch.tensor([texts.get(tuple(lane.tokens.tolist()), 10) for lane in lanes])
        return torch.bincount(found, minlength=11)

    assert chance_of(shares(6), law) > RARE
    assert chance_of(at_once := shares(1), law) < RARE and at_once[10] > 100
