"""The exact world against enumeration: every text of a small world is visited, nothing is taken on trust."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ddemo.processes.exact import SENTENCES, WORDS, ExactWorld, split_words

SHAPES = [(2, 1), (3, 2), (5, 3), (3, 4), (2, 5)]  # K, L
EXACTLY = {"rtol": 0, "atol": 1e-12}
PARTITIONS = [
    [[0, 1, 2, 3]],
    [[0, 1], [2, 3]],
    [[3, 1], [0], [2]],
    [[2], [3, 0, 1]],
    [[1], [3], [0], [2]],
]


def random_world(size: int, length: int, seed: int = 0) -> ExactWorld:
    """Uneven and far from independent, with nothing impossible."""
    generator = torch.Generator().manual_seed(seed)
    joint = torch.rand((size,) * length, generator=generator, dtype=torch.float64) ** 4 + 1e-3
    return ExactWorld(joint / joint.sum())


def texts_of(world: ExactWorld, length: int | None = None) -> list[tuple[int, ...]]:
    return list(itertools.product(range(world.size), repeat=world.length if length is None else length))


def by_enumeration(world: ExactWorld, likelihood, length: int) -> Tensor:
    """p(x0_i = k | what was seen) [length, K], summing p(x0) * likelihood(x0's first tokens) text by text."""
    sums = [[0.0] * world.size for _ in range(length)]
    for text in texts_of(world):
        mass = world.joint[text].item() * likelihood(text[:length])
        for i, word in enumerate(text[:length]):
            sums[i][word] += mass
    odds = torch.tensor(sums, dtype=torch.float64)
    return odds / odds.sum(1, keepdim=True)


def survived(x_t, alpha: float, size: int, skip: int | None = None):
    """q(x_t | x0) of uniform noise, as a function of x0; position `skip` is not looked at."""
    return lambda text: math.prod(
        alpha * (seen == word) + (1 - alpha) / size
        for i, (seen, word) in enumerate(zip(x_t, text, strict=True))
        if i != skip
    )


# Given a noised text


@pytest.mark.parametrize("size, length", SHAPES)
def test_conditionals_under_absorbing_noise_are_those_of_enumeration(size, length):
    world, checked = random_world(size, length), 0
    for text in texts_of(world)[:: max(1, size**length // 6)]:
        for masked in itertools.product([False, True], repeat=length):
            agrees = lambda x0, text=text, masked=masked: all(  # noqa: E731
                hidden or a == b for a, b, hidden in zip(text, x0, masked, strict=True)
            )
            given = world.given(torch.tensor(text), torch.tensor(masked))
            torch.testing.assert_close(given, by_enumeration(world, agrees, length), **EXACTLY)
            for i in range(length):
                if not masked[i]:
                    assert given[i, text[i]] == 1.0
            checked += 1
    assert checked >= 2 * 2**length


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size, length", SHAPES)
def test_posteriors_under_uniform_noise_are_those_of_enumeration(size, length, alpha):
    world = random_world(size, length, seed=1)
    for text in texts_of(world)[:: max(1, size**length // 8)]:
        x_t = torch.tensor(text)
        expected = by_enumeration(world, survived(text, alpha, size), length)
        torch.testing.assert_close(world.given_uniform(x_t, alpha), expected, **EXACTLY)
        without = world.leave_one_out_uniform(x_t, alpha)
        for i in range(length):
            expected = by_enumeration(world, survived(text, alpha, size, skip=i), length)[i]
            torch.testing.assert_close(without[i], expected, **EXACTLY)


def test_a_posterior_is_leave_one_out_times_the_likelihood_of_the_position():
    world, alpha = random_world(5, 3), 0.4
    for text in texts_of(world):
        x_t = torch.tensor(text)
        likelihood = alpha * torch.eye(5, dtype=torch.float64)[x_t] + (1 - alpha) / 5
        odds = world.leave_one_out_uniform(x_t, alpha) * likelihood
        posterior = world.given_uniform(x_t, alpha)
        torch.testing.assert_close(posterior, odds / odds.sum(1, keepdim=True), **EXACTLY)
        assert not torch.allclose(posterior, world.leave_one_out_uniform(x_t, alpha), atol=1e-3)


def test_all_noise_leaves_the_marginals_and_no_noise_the_text():
    world, x_t = random_world(3, 4), torch.tensor([2, 0, 1, 1])
    marginals = torch.stack([world.marginal([i]) for i in range(4)])
    torch.testing.assert_close(world.given_uniform(x_t, 0.0), marginals, **EXACTLY)
    torch.testing.assert_close(world.given(x_t, torch.ones(4, dtype=torch.bool)), marginals, **EXACTLY)
    torch.testing.assert_close(world.given_uniform(x_t, 1.0), torch.eye(3, dtype=torch.float64)[x_t], **EXACTLY)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_shorter_text_is_the_beginning_of_one(length):
    world = random_world(3, 4, seed=2)
    shorter = ExactWorld(world.marginal(range(length)))
    for text in texts_of(world, length):
        x_t, mask = torch.tensor(text), torch.arange(length) % 2 == 0
        expected = by_enumeration(world, survived(text, 0.6, 3), length)
        torch.testing.assert_close(world.given_uniform(x_t, 0.6), expected, **EXACTLY)
        torch.testing.assert_close(shorter.given_uniform(x_t, 0.6), expected, **EXACTLY)
        torch.testing.assert_close(world.given(x_t, mask), shorter.given(x_t, mask), **EXACTLY)


def test_rows_of_a_batch_are_answered_as_if_alone():
    world = random_world(3, 4)
    generator = torch.Generator().manual_seed(3)
    x_t = torch.randint(3, (7, 4), generator=generator)
    mask = torch.rand(7, 4, generator=generator) < 0.5
    alpha = torch.rand(7, generator=generator)
    for row in range(7):
        torch.testing.assert_close(world.given(x_t, mask)[row], world.given(x_t[row], mask[row]), **EXACTLY)
        alone = world.given_uniform(x_t[row], alpha[row].item())
        torch.testing.assert_close(world.given_uniform(x_t, alpha)[row], alone, **EXACTLY)
    assert world.given_uniform(x_t[:0], 0.5).shape == (0, 4, 3)


def test_what_stands_under_a_mask_is_not_read():
    world, mask = random_world(3, 3), torch.tensor([True, False, True])
    first = world.given(torch.tensor([0, 1, 2]), mask)
    assert torch.equal(first, world.given(torch.tensor([99, 1, -1]), mask))


# What parallel commits cost


def divergence(world: ExactWorld, law: Tensor) -> float:
    return sum(world.joint[text].item() * math.log(world.joint[text] / law[text]) for text in texts_of(world))


def law_by_enumeration(world: ExactWorld, groups: list[list[int]], text: tuple[int, ...]) -> float:
    """p(text) of a sampler that asks `given` before each group and then fills the group's masks by it."""
    mask, chance = torch.ones(world.length, dtype=torch.bool), 1.0
    for group in groups:
        p = world.given(torch.tensor(text), mask)
        chance *= math.prod(p[i, text[i]].item() for i in group)
        mask[group] = False
    return chance


@pytest.mark.parametrize("groups", PARTITIONS, ids=str)
def test_the_law_in_groups_is_that_of_a_sampler_that_fills_groups(groups):
    world = random_world(3, 4, seed=4)
    law = world.law_in_groups(groups)
    for text in texts_of(world):
        assert law[text].item() == pytest.approx(law_by_enumeration(world, groups, text), abs=1e-12)


def test_one_position_at_a_time_is_the_truth_in_every_order():
    world = random_world(3, 4, seed=5)
    for order in itertools.permutations(range(4)):
        torch.testing.assert_close(world.law_in_groups([[i] for i in order]), world.joint, **EXACTLY)
        assert world.parallel_cost([[i] for i in order]) == pytest.approx(0, abs=1e-12)


def test_everything_at_once_is_the_product_of_the_marginals():
    world = random_world(3, 3, seed=6)
    a, b, c = (world.marginal([i]) for i in range(3))
    product = a[:, None, None] * b[None, :, None] * c[None, None, :]
    torch.testing.assert_close(world.law_in_groups([[0, 1, 2]]), product, **EXACTLY)


@pytest.mark.parametrize("groups", PARTITIONS, ids=str)
def test_the_cost_is_the_divergence_from_the_truth(groups):
    world = random_world(3, 4, seed=7)
    law = world.law_in_groups(groups)
    assert law.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert world.parallel_cost(groups) == pytest.approx(divergence(world, law), abs=1e-12)
    assert world.parallel_cost(groups) > 0.01 or all(len(group) == 1 for group in groups)


@pytest.mark.parametrize("sizes", [[4], [2, 2], [1, 3], [3, 1], [1, 2, 1], [1, 1, 1, 1]], ids=str)
def test_the_average_cost_is_the_mean_over_all_orders(sizes):
    world, costs = random_world(3, 4, seed=8), []
    for order in itertools.permutations(range(4)):
        positions = iter(order)
        costs.append(world.parallel_cost([list(itertools.islice(positions, size)) for size in sizes]))
    assert len(costs) == 24
    assert world.average_parallel_cost(sizes) == pytest.approx(sum(costs) / 24, abs=1e-12)


def test_words_that_never_occur_cost_nothing():
    """A law has zeros where the world has, instead of 0/0."""
    world = ExactWorld(torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(world.law_in_groups([[1], [0]]), world.joint)
    assert world.parallel_cost([[0, 1]]) == pytest.approx(math.log(2), abs=1e-12)


# The shipped world


@pytest.fixture(scope="module")
def sentences() -> ExactWorld:
    return ExactWorld.sentences()


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(WORDS.index(word) for word in split_words(text))


def argmax_text(world: ExactWorld, next_position) -> str:
    """The text that comes of committing the likeliest word, position after position."""
    x, mask = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.bool)
    while mask.any():
        p = world.given(x, mask)
        i = next_position(p.amax(1).where(mask, -1.0), mask)
        x[i], mask[i] = p[i].argmax(), False
    return "".join(WORDS[k] for k in x)


def test_the_shipped_world_is_its_sentences_and_a_share_for_everything(sentences):
    assert sentences.joint.shape == (10,) * 6 and sentences.words == WORDS
    assert sum(SENTENCES.values()) == pytest.approx(1.0)
    shared = torch.full_like(sentences.joint, 0.02 / 10**6)
    for text, weight in SENTENCES.items():
        shared[ids_of(text)] += 0.98 * weight
    torch.testing.assert_close(sentences.joint, shared, **EXACTLY)


def test_far_positions_of_the_shipped_world_agree(sentences):
    who_and_whose = sentences.marginal([1, 3])
    men, women = [WORDS.index(" king"), WORDS.index(" son")], [WORDS.index(" queen"), WORDS.index(" daughter")]
    his, her = WORDS.index(" his"), WORDS.index(" her")
    assert who_and_whose[men, her].sum() + who_and_whose[women, his].sum() < 0.02
    torn = torch.outer(who_and_whose.sum(1), who_and_whose.sum(0))  # the two committed at once
    assert torn[men, her].sum() + torn[women, his].sum() > 0.45


def test_argmax_in_the_shipped_world_does_as_its_docstring_says(sentences):
    best = max(SENTENCES, key=SENTENCES.get)
    assert best == "The queen loves her son."
    assert argmax_text(sentences, lambda confidence, mask: int(confidence.argmax())) == best
    assert argmax_text(sentences, lambda confidence, mask: int(mask.int().argmax())) == best
    at_once = sentences.given(torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.bool)).argmax(1)
    assert "".join(WORDS[k] for k in at_once) == "The queen loves his son." not in SENTENCES


def test_more_steps_cost_less_in_the_shipped_world(sentences):
    costs = [sentences.average_parallel_cost(sizes) for sizes in ([6], [3, 3], [2, 2, 2], [1] * 6)]
    assert costs[0] > 2 and costs[0] > 2 * costs[1] > 3 * costs[2] > 0.5 and costs[3] == pytest.approx(0, abs=1e-12)


# Wrong input


@pytest.mark.parametrize(
    "joint, said",
    [
        (torch.tensor(1.0), "joint must be"),
        (torch.full((2, 3), 1 / 6), "joint must be"),
        (torch.zeros(0), "joint must be"),
        (torch.ones(3), "sum to 1, not 3"),
        (torch.tensor([1.5, -0.5]), "least -0.5"),
        (torch.tensor([1.0, math.nan]), "joint must hold"),
    ],
)
def test_a_joint_that_is_none(joint, said):
    with pytest.raises(ValueError, match=said):
        ExactWorld(joint)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"texts": torch.tensor([[0, 3]])}, "texts must hold words 0 to 2, not 0 to 3"),
        ({"texts": torch.tensor([[0, -1]])}, "not -1 to 0"),
        ({"texts": torch.tensor([0, 1])}, r"texts must be \[S, L\]"),
        ({"texts": torch.tensor([[0.0, 1.0]])}, "float32"),
        ({"texts": torch.zeros(1, 40, dtype=torch.int64)}, r"not 3\^40"),
        ({"weights": torch.tensor([0.0])}, "1 positive numbers"),
        ({"weights": torch.tensor([math.inf])}, "1 positive numbers"),
        ({"weights": torch.ones(2)}, "1 positive numbers"),
        ({"spread": 1.5}, r"spread must be in \[0, 1\], not 1.5"),
        ({"spread": math.nan}, "spread must be"),
    ],
)
def test_a_table_that_is_none(change, said):
    good = {"texts": torch.tensor([[0, 1]]), "weights": torch.ones(1), "spread": 0.1, "words": "abc"}
    assert ExactWorld.from_texts(**good).joint[0, 1] == pytest.approx(0.9 + 0.1 / 9)
    with pytest.raises(ValueError, match=said):
        ExactWorld.from_texts(**good | change)


@pytest.mark.parametrize("groups", [[], [[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2, 3]], [[0], [1], [1, 2]]])
def test_groups_that_are_no_partition(groups):
    world = random_world(2, 3)
    for ask in (world.law_in_groups, world.parallel_cost):
        with pytest.raises(ValueError, match="groups must hold each of the positions 0 to 2 once"):
            ask(groups)


@pytest.mark.parametrize("sizes", [[], [2], [4], [0, 3], [-1, 4]])
def test_sizes_that_do_not_fill_the_text(sizes):
    with pytest.raises(ValueError, match="sizes must be positive and sum to 3"):
        random_world(2, 3).average_parallel_cost(sizes)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_an_alpha_that_is_no_probability(alpha):
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\]"):
        random_world(2, 3).given_uniform(torch.tensor([0, 1]), alpha)


def test_texts_that_are_too_long_or_impossible():
    world = ExactWorld(torch.tensor([[0.5, 0.0], [0.0, 0.5]]))
    with pytest.raises(ValueError, match="evidence must be"):
        world.given_uniform(torch.tensor([0, 1, 0]), 0.5)
    with pytest.raises(ValueError, match="probability 0"):
        world.given(torch.tensor([0, 1]), torch.tensor([False, False]))
    with pytest.raises(ValueError, match="text must be made of"):
        split_words("The king loves his dragon.")
