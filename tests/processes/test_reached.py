"""The law that samplers reach on an exact world: by an independent recursion, and what the theory says of it."""

import itertools
import math

import pytest
import torch

from ddemo.processes import LINEAR, SCHEDULES, reached
from ddemo.processes.exact import ExactWorld
from tests.processes.test_exact import random_world

WORLD = random_world(3, 3)
EXACTLY = {"rtol": 0, "atol": 1e-12}
DRAWS = pytest.mark.parametrize("draw", reached.DRAWS)


def by_recursion(world: ExactWorld, groups_of, draw: str) -> torch.Tensor:
    """Depth first, in Python: from a canvas, every group of positions with its probability, every way to fill it."""
    law = torch.zeros_like(world.joint)

    def go(canvas: tuple, mass: float, step: int) -> None:
        left = [i for i, word in enumerate(canvas) if word is None]
        if not left:
            law[canvas] += mass
            return
        mask = torch.tensor([word is None for word in canvas])
        p = world.given(torch.tensor([word or 0 for word in canvas]), mask)
        for group, chance in groups_of(left, p, step):
            choices = [range(world.size) if draw == "categorical" else [int(p[i].argmax())] for i in group]
            for words in itertools.product(*choices):
                after, share = list(canvas), mass * chance
                for i, word in zip(group, words, strict=True):
                    after[i] = word
                    share *= float(p[i, word]) if draw == "categorical" else 1.0
                if share > 0.0:
                    go(tuple(after), share, step + 1)

    go((None,) * world.length, 1.0, 0)
    return law


def each_by_itself(schedule, steps: int):
    """Groups of an ancestral step: any subset, each mask revealed or not; all in the last step."""

    def groups(left, p, step):
        k = steps - step
        before, after = (1 - schedule.alpha(k / steps), 1 - schedule.alpha((k - 1) / steps))
        reveal = 1.0 if k == 1 else 1 - after / before
        for chosen in itertools.product((False, True), repeat=len(left)):
            chance = math.prod(reveal if yes else 1 - reveal for yes in chosen)
            if chance > 0.0:
                yield [i for i, yes in zip(left, chosen, strict=True) if yes], chance

    return groups


@DRAWS
@pytest.mark.parametrize("name", ["linear", "cosine", "geometric", "d3pm-cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_ancestral_by_recursion(name, steps, draw):
    found = reached.ancestral(WORLD, SCHEDULES[name], steps, draw)
    expected = by_recursion(WORLD, each_by_itself(SCHEDULES[name], steps), draw)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@DRAWS
def test_first_hitting_by_recursion(draw):
    expected = by_recursion(WORLD, lambda left, p, step: [([i], 1 / len(left)) for i in left], draw)
    torch.testing.assert_close(reached.first_hitting(WORLD, draw), expected, **EXACTLY)


@DRAWS
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_top_k_by_recursion(count, draw):
    def surest(left, p, step):
        return [(sorted(left, key=lambda i: -float(p[i].max()))[:count], 1.0)]

    expected = by_recursion(WORLD, surest, draw)
    torch.testing.assert_close(reached.top_k(WORLD, count, draw), expected, **EXACTLY)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_uniform_ancestral_by_matrices_over_texts(name):
    """Texts of two positions: the mean posterior of each, and their product, entry by entry."""
    world, steps = random_world(3, 2), 3
    texts = list(itertools.product(range(3), repeat=2))
    law = torch.full((9,), 1 / 9, dtype=torch.float64)
    for k in range(steps, 0, -1):
        alpha_t, alpha_s = SCHEDULES[name].alpha(k / steps), SCHEDULES[name].alpha((k - 1) / steps)
        to_s = alpha_s * torch.eye(3, dtype=torch.float64) + (1 - alpha_s) / 3
        between = alpha_t / alpha_s * torch.eye(3, dtype=torch.float64) + (1 - alpha_t / alpha_s) / 3
        after = torch.zeros(9, dtype=torch.float64)
        for row, text in enumerate(texts):
            p = world.given_uniform(torch.tensor(text), alpha_t)
            each = []
            for i in range(2):
                q = to_s * between[:, text[i]]  # [x_0, x_s]
                each.append(p[i] @ (q / q.sum(-1, keepdim=True)))
            after += law[row] * torch.outer(each[0], each[1]).flatten()
        law = after
    torch.testing.assert_close(reached.uniform_ancestral(world, SCHEDULES[name], steps).flatten(), law, **EXACTLY)


# What the theory says of them


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_one_reaches_a_law(steps):
    laws = [reached.uniform_ancestral(WORLD, LINEAR, steps), reached.first_hitting(WORLD)]
    laws += [reached.ancestral(WORLD, LINEAR, steps, draw) for draw in reached.DRAWS]
    for law in laws:
        assert law.shape == WORLD.joint.shape and law.min() >= 0 and float(law.sum()) == pytest.approx(1.0, rel=1e-12)


def test_one_at_a_time_is_exact_and_parallel_commits_are_not():
    for exact in (reached.first_hitting(WORLD), reached.top_k(WORLD, 1)):
        torch.testing.assert_close(exact, WORLD.joint, **EXACTLY)
    distances = [reached.distance(WORLD, reached.top_k(WORLD, count)) for count in (1, 2, 3)]
    assert distances[0] < 1e-12 and 0.01 < distances[1] < distances[2]


@pytest.mark.parametrize("sampler", [reached.ancestral, reached.uniform_ancestral])
def test_ancestral_steps_come_closer_as_they_grow_many(sampler):
    """Of first order: two commits meet in one step with a probability of 1 / N."""
    distances = [reached.distance(WORLD, sampler(WORLD, LINEAR, steps)) for steps in (1, 16, 64, 256)]
    assert distances == sorted(distances, reverse=True)
    assert 3.5 < distances[1] / distances[2] < 4.5 and 3.8 < distances[2] / distances[3] < 4.2


def test_more_steps_do_not_help_argmax():
    """Where the mass goes is decided by the likeliest words alone."""
    far = [reached.distance(WORLD, reached.ancestral(WORLD, LINEAR, steps, "argmax")) for steps in (4, 64, 512)]
    assert min(far) > 0.3
    one = reached.top_k(WORLD, 1, "argmax")
    assert float(one.max()) == 1.0 and int((one > 0).sum()) == 1


def test_where_positions_have_nothing_to_do_with_each_other_one_step_is_exact():
    a = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    world = ExactWorld(a[:, None, None] * a[:, None] * a)
    for law in (
        reached.ancestral(world, LINEAR, 1),
        reached.top_k(world, 3),
        reached.uniform_ancestral(world, LINEAR, 1),
    ):
        torch.testing.assert_close(law, world.joint, **EXACTLY)


def test_all_at_once_is_the_worlds_law_in_one_group():
    torch.testing.assert_close(reached.ancestral(WORLD, LINEAR, 1), WORLD.law_in_groups([[0, 1, 2]]), **EXACTLY)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="draw must be one of categorical, argmax, not 'beam'"):
        reached.first_hitting(WORLD, "beam")
    for ask in (reached.ancestral, reached.uniform_ancestral):
        with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
            ask(WORLD, LINEAR, 0)
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        reached.top_k(WORLD, 0)
    with pytest.raises(ValueError, match="at most 20,000 canvases"):
        reached.first_hitting(random_world(5, 6))
    holes = WORLD.joint.clone()
    holes[0, 0, 0] = 0.0
    with pytest.raises(ValueError, match="every text for possible"):
        reached.first_hitting(ExactWorld(holes / holes.sum()))
