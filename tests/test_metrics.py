"""The bound, against a world where likelihoods are known."""

import itertools
import math

import pytest
import torch

from ddemo.denoisers.exact_world import ExactWorldDenoiser
from ddemo.errors import InputError
from ddemo.metrics import answer_bound, bound, evaluate, text_windows
from ddemo.processes.exact import ExactWorld
from tests.toy_latents import three_places, two_words
from tests.toy_world import ToyWorld


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_brute_force_bound_is_tight_for_true_conditionals_and_loose_for_wrong_ones():
    """With true conditionals every order of unmasking has the probability of the text, so that nothing is lost."""
    true, wrong = ToyWorld(seed=1), ToyWorld(seed=1, temperature=2.0)
    for text in true.texts()[::7]:
        assert true.brute_force_bound(text) == pytest.approx(true.nats(text), rel=1e-9)
    entropy = sum(math.exp(-true.nats(text)) * true.nats(text) for text in true.texts())
    expected = sum(math.exp(-true.nats(text)) * wrong.brute_force_bound(text) for text in true.texts())
    assert expected > entropy + 0.05


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_estimate_agrees_with_brute_force_within_its_standard_error(temperature):
    """The same text over and over, so that the standard error is that of the draws alone."""
    world = ToyWorld(seed=2, temperature=temperature)
    for text in (torch.tensor([2, 0, 1, 0]), torch.tensor([1, 1, 2])):
        result = bound(world, [text] * 300, [5] * 300, times=8, generator=generator(7))
        exact = world.brute_force_bound(text) / len(text)
        assert result.nats_per_token_stderr < 0.03 * exact
        # false alarm: once in 16,000 seeds, and the seed is fixed
        assert abs(result.nats_per_token - exact) < 4 * result.nats_per_token_stderr
        nats = result.nats_per_token * len(text)
        assert result.bits_per_char == pytest.approx(nats / math.log(2) / 5)
        assert result.bits_per_char_stderr / result.bits_per_char == pytest.approx(
            result.nats_per_token_stderr / result.nats_per_token
        )
        assert (result.characters, result.tokens, result.windows) == (1500, 300 * len(text), 300)


def brute_force_answer(world: ToyWorld, prompt: list[int], answer: list[int]) -> float:
    """E_l [(L/l) sum over masked of -log p], over every count l and every choice of l of the L tokens."""
    size, total = len(answer), 0.0
    for count in range(1, size + 1):
        choices = list(itertools.combinations(range(size), count))
        for masked in choices:
            noised = tuple(prompt + [world.mask_id if i in masked else token for i, token in enumerate(answer)])
            nats = -sum(world.conditional(noised, len(prompt) + i)[answer[i]].item() for i in masked)
            total += nats * size / count / len(choices) / size
    return total


@pytest.mark.parametrize("prompt, answer", [([2], [0, 1, 0]), ([], [1, 1, 2, 0]), ([1, 2], [2, 1])], ids=str)
def test_the_bound_with_a_fixed_count_of_masks_agrees_with_brute_force(prompt, answer):
    world = ToyWorld(seed=2, temperature=2.0)
    exact = brute_force_answer(world, prompt, answer)
    given = torch.tensor(prompt, dtype=torch.int64)
    result = answer_bound(world, given, torch.tensor(answer), draws=3200, rows=16, generator=generator(3))
    assert 0 < result.stderr < 0.02 * exact and (result.tokens, result.draws) == (len(answer), 3200)
    assert abs(result.nats - exact) < 4 * result.stderr  # false alarm: once in 16,000 seeds, and the seed is fixed
    if not prompt:
        assert exact == pytest.approx(world.brute_force_bound(torch.tensor(answer)), rel=1e-9)


def test_the_bound_with_a_fixed_count_is_tight_for_true_conditionals_and_exact_for_one_token():
    world = ToyWorld(seed=1)
    for text in world.texts()[::11]:
        prompt, answer = text[:2].tolist(), text[2:].tolist()
        truth = world.nats(text) - world.nats(text[:2])
        assert brute_force_answer(world, prompt, answer) == pytest.approx(truth, rel=1e-9)
        alone = answer_bound(world, text[:3], text[3:], draws=1, rows=1)
        assert alone.nats == pytest.approx(world.nats(text) - world.nats(text[:3]), rel=1e-5)
        assert math.isnan(alone.stderr)


def test_counts_are_spread_over_the_answer():
    """With as many rows as tokens a group has each count once, so that only the choice of masks is left to chance."""
    seen = []

    class Watched(ToyWorld):
        def __call__(self, tokens, times, lengths, wanted, exclude_mask=False):
            seen.append((sorted(wanted.sum(1).tolist()), sorted(times[:, 0].tolist())))
            return super().__call__(tokens, times, lengths, wanted)

    answer_bound(Watched(seed=1), torch.tensor([0]), torch.tensor([1, 2, 0]), draws=12, rows=3)
    assert [counts for counts, _ in seen] == [[1, 2, 3]] * 4
    assert seen[0][1] == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_what_has_no_bound_with_a_fixed_count():
    world, some = ToyWorld(seed=1), torch.tensor([1, 0])
    for prompt, answer, more, says in (
        (some, some[:0], {}, "one of them the answer's"),
        (some, torch.tensor([1, 0, 2]), {}, "1 to 4 tokens"),
        (some, some, {"draws": 10, "rows": 4}, "multiple of rows"),
        (some, some, {"draws": 0}, "at least 1"),
    ):
        with pytest.raises(InputError, match=says):
            answer_bound(world, prompt, answer, **more)
    world.unnormalised = True
    with pytest.raises(InputError, match="toy does not fill masks in any order"):
        answer_bound(world, some, some)


def test_the_bound_of_a_text_drawn_from_the_world_is_at_least_its_entropy():
    world = ToyWorld(seed=4)
    entropy = sum(math.exp(-world.nats(text)) * world.nats(text) for text in world.texts()) / 4
    result = bound(world, list(world.sample(300, generator(1))), [4] * 300, times=4, generator=generator(2))
    assert result.nats_per_token == pytest.approx(entropy, abs=4 * result.nats_per_token_stderr)
    loose = bound(ToyWorld(seed=4, temperature=3.0), list(world.sample(300, generator(1))), [4] * 300, times=4)
    assert loose.nats_per_token > entropy + 2 * loose.nats_per_token_stderr


@pytest.mark.parametrize("predicts", ["posterior", "leave-one-out"])
def test_the_uniform_bound_of_an_exact_denoiser_is_the_entropy(predicts):
    """With the true reverse process nothing is lost, in expectation over texts; with a coarser belief something is.

    False alarm below 4 standard errors: once in 16,000 seeds, and the seeds are fixed.
    """
    joint = torch.rand(4, 4, 4, generator=generator(5), dtype=torch.float64) ** 6
    world = ExactWorld(joint / joint.sum())
    flat = torch.multinomial(world.joint.flatten(), 600, replacement=True, generator=generator(1))
    texts = list(torch.stack(torch.unravel_index(flat, world.joint.shape), 1))
    words = torch.arange(6) < 4
    result = bound(
        ExactWorldDenoiser(world, "w", "uniform", predicts),
        texts,
        [3] * 600,
        times=8,
        generator=generator(2),
        words=words,
    )
    assert result.nats_per_token == pytest.approx(world.entropy() / 3, abs=4 * result.nats_per_token_stderr)
    assert result.nats_per_token_stderr < 0.05 * result.nats_per_token
    marginals = [world.marginal([i]) for i in range(3)]
    apart = ExactWorld(torch.einsum("a,b,c->abc", *marginals))  # knows each position, but not how they depend
    loose = bound(
        ExactWorldDenoiser(apart, "a", "uniform", predicts),
        texts,
        [3] * 600,
        times=8,
        generator=generator(2),
        words=words,
    )
    assert loose.nats_per_token > result.nats_per_token + 4 * result.nats_per_token_stderr


@pytest.mark.parametrize("text", [[0], [1]])
def test_the_latent_bound_of_one_exactly_known_token_is_its_information(text):
    """What a diffusion of exact means adds up to over all times is -log p, whichever token it is."""
    world, windows = two_words(), [torch.tensor(text)] * 400
    result = bound(world, windows, [1] * 400, times=8, generator=generator(7))
    assert result.nats_per_token_stderr < 0.05 * world.nats(windows[0]) + 0.01
    # false alarm: once in 16,000 seeds, and the seed is fixed
    assert abs(result.nats_per_token - world.nats(windows[0])) < 4 * result.nats_per_token_stderr


def test_the_latent_bound_of_an_exact_denoiser_is_tight_for_every_text_and_a_wrong_ones_is_not():
    world, flat, sharp = three_places(), three_places(temperature=3.0), three_places(temperature=0.25)
    likely = world.texts[world.joint.argmax()]
    for text in (likely, torch.tensor([2, 0, 1])):
        result = bound(world, [text] * 300, [1] * 300, times=8, generator=generator(7))
        assert result.nats_per_token_stderr < 0.04 * world.nats(text)
        assert abs(result.nats_per_token * 3 - world.nats(text)) < 4 * 3 * result.nats_per_token_stderr
    picked = torch.multinomial(world.joint.flatten(), 300, replacement=True, generator=generator(1))
    texts = list(world.texts[picked])
    nats = [bound(w, texts, [1] * 300, times=8, generator=generator(2)) for w in (world, flat, sharp)]
    entropy = -(world.joint * world.joint.log()).sum().item() / 3
    assert nats[0].nats_per_token == pytest.approx(entropy, abs=4 * nats[0].nats_per_token_stderr)
    for wrong in nats[1:]:
        assert wrong.nats_per_token > nats[0].nats_per_token + 4 * nats[0].nats_per_token_stderr


def test_how_rows_of_latents_are_batched_changes_nothing():
    windows = [torch.tensor(text) for text in ([0, 1, 2], [2, 2, 0], [1, 1, 1])]
    results = [
        bound(three_places(), windows, [3] * 3, times=4, rows=rows, generator=generator(3)) for rows in (1, 7, 64)
    ]
    assert results[0].nats_per_token == pytest.approx(results[2].nats_per_token, rel=1e-6)
    assert results[1].nats_per_token_stderr == pytest.approx(results[2].nats_per_token_stderr, rel=1e-6)


def test_how_rows_are_batched_changes_nothing():
    """Windows of unequal lengths share a batch: padding must not count, nor the order of draws change."""
    world = ToyWorld(seed=5)
    windows = [torch.tensor(w) for w in ([0, 1, 2, 0], [1], [2, 2], [0, 0, 1])]
    done = []
    results = [
        bound(world, windows, [4, 1, 2, 3], times=4, rows=rows, generator=generator(3), progress=progress)
        for rows, progress in ((1, None), (6, None), (64, lambda *of: done.append(of)))
    ]
    assert results[0].nats_per_token == pytest.approx(results[2].nats_per_token, rel=1e-6)
    assert results[1].nats_per_token_stderr == pytest.approx(results[2].nats_per_token_stderr, rel=1e-6)
    assert done[-1] == (4, 4)
    assert bound(world, windows, [4, 1, 2, 3], generator=generator(8)) != results[0]


def test_the_bound_of_a_table_of_frequencies_is_its_cross_entropy():

    class Table(ToyWorld):
        def __call__(self, tokens, times, lengths, wanted):
            return torch.tensor([0.7, 0.2, 0.1, 0.0]).log().expand(int(wanted.sum()), -1)

    windows = [torch.tensor([0]), torch.tensor([1]), torch.tensor([2])] * 200
    result = bound(Table(seed=0), windows, [1] * 600, times=1, generator=generator())
    cost = -torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64).log()
    # One token and one t: masked with probability t and weighted by 1/t, so each window is cost/t or 0.
    assert result.nats_per_token == pytest.approx(cost.mean().item(), abs=4 * result.nats_per_token_stderr)
    assert math.isnan(bound(Table(seed=0), windows[:1], [1]).nats_per_token_stderr)


def test_windows_hold_all_of_the_text_once(tiny):
    texts = [
        "The old sailor said nothing.\n" * 5,
        "",
        "Caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{GRINNING FACE}",
    ]
    windows, characters = text_windows(tiny.codec, texts, 8)
    assert sum(characters) == sum(map(len, texts))
    assert max(map(len, windows)) == 8
    assert tiny.codec.decode(torch.cat(windows).tolist()) == "".join(texts)


def test_a_limit_takes_windows_from_all_over(tiny):
    texts = [letter * 400 for letter in "abcd"]
    windows, characters = text_windows(tiny.codec, texts, 10, limit=200)
    assert 150 <= sum(characters) <= 250
    assert {tiny.codec.decode(w.tolist())[0] for w in windows} == set("abcd")


def test_a_checkpoint_is_measured_and_repeats(tiny):
    text = ["She took the letter, read it twice, and put it into the fire. " * 8]
    first = evaluate(tiny, text, window=32, times=4)
    assert first == evaluate(tiny, text, window=32, times=4)
    assert first.characters == len(text[0])
    # untrained, so about as good as guessing among its tokens
    assert first.nats_per_token == pytest.approx(math.log(tiny.denoiser.vocab_size), rel=0.1)
    assert first != evaluate(tiny, text, window=32, times=4, seed=1)
    assert {"nats_per_token", "bits_per_char", "bits_per_char_stderr", "characters"} <= first.to_dict().keys()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"window": 65}, "at most 64"), ({"window": 0}, "window"), ({"limit": 0}, "limit"), ({"times": 0}, "times")],
)
def test_numbers_out_of_range_are_named(tiny, options, complaint):
    with pytest.raises(InputError, match=complaint):
        evaluate(tiny, ["Some text."], **({"window": 8} | options))


def test_no_text_is_said_to_be_no_text(tiny):
    with pytest.raises(InputError, match="no text"):
        evaluate(tiny, [""], window=8)
