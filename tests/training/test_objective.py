"""The training losses, against the bound written out over every pattern of masks."""

import math

import pytest
import torch
import torch.nn.functional as F

from ddemo.denoisers.exact_world import ExactWorldDenoiser
from ddemo.processes.exact import ExactWorld
from ddemo.training.objective import (
    absorbing_loss,
    draw_known,
    draw_masks,
    latent_loss,
    noise_uniformly,
    stratified_times,
    uniform_loss,
)
from tests.toy_latents import three_places
from tests.toy_world import ToyWorld


def test_times_take_one_from_each_slice():
    times = stratified_times(50, torch.Generator().manual_seed(0))
    assert torch.equal((times * 50).ceil().long(), torch.arange(1, 51))
    assert times.min() > 0


def test_masks_come_as_often_as_t_says_and_never_none_if_asked():
    generator = torch.Generator().manual_seed(0)
    times = torch.tensor([0.02, 0.5, 1.0])
    draws = torch.stack([draw_masks(times, 20, generator, at_least_one=False) for _ in range(2000)]).float()
    # 40,000 draws a row: three standard errors are at most 0.0075
    assert torch.allclose(draws.mean((0, 2)), times, atol=0.0075)
    assert (draws[:, 0].sum(1) == 0).any()
    forced = torch.stack([draw_masks(times, 20, generator, at_least_one=True) for _ in range(2000)])
    assert forced.any(2).all()
    assert forced[:, 2].all()


def test_the_bound_as_a_loss_is_the_exact_bound_in_expectation():
    world = ToyWorld(seed=3, temperature=2.0)
    sequence = torch.tensor([0, 2, 1, 1])
    tokens = sequence.expand(32, -1)
    generator = torch.Generator().manual_seed(0)

    def logits_at(noised, wanted):
        full = torch.full((len(noised),), noised.shape[1])
        return world(noised, torch.zeros(len(noised)), full, wanted, exclude_mask=True)

    def draw() -> float:
        return absorbing_loss(logits_at, tokens, world.mask_id, "bound", generator)[0].item()

    losses = torch.tensor([draw() for _ in range(150)])
    exact = world.brute_force_bound(sequence) / len(sequence)
    stderr = losses.std() / math.sqrt(len(losses))
    assert stderr < 0.03 * exact
    assert abs(losses.mean() - exact) < 4 * stderr  # false alarm: once in 16,000 seeds


def test_plain_cross_entropy_is_the_mean_over_masked_positions():
    table = torch.randn(5, 5, generator=torch.Generator().manual_seed(1))
    tokens = torch.randint(4, (8, 16), generator=torch.Generator().manual_seed(2))
    seen = {}

    def logits_at(noised, wanted):
        assert torch.equal(noised == 4, wanted)
        assert torch.equal(noised[~wanted], tokens[~wanted])
        seen["nats"] = F.cross_entropy(table[tokens[wanted]], tokens[wanted])
        seen["count"] = int(wanted.sum())
        return table[tokens[wanted]]

    loss, count = absorbing_loss(logits_at, tokens, 4, "ce", torch.Generator().manual_seed(0))
    assert loss.item() == pytest.approx(seen["nats"].item())
    assert count == seen["count"]


WORDS = torch.tensor([True, True, True, False, False])


def small_world() -> ExactWorld:
    joint = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64) ** 4
    return ExactWorld(joint / joint.sum())


def exact_logits(world: ExactWorld):
    denoiser = ExactWorldDenoiser(world, "w", "uniform", "leave-one-out")

    def logits_at(noised, wanted, times):
        return denoiser(noised, times, torch.full((len(noised),), noised.shape[1]), wanted)

    return logits_at


def texts_of(world: ExactWorld, count: int) -> torch.Tensor:
    flat = torch.multinomial(world.joint.flatten(), count, True, generator=torch.Generator().manual_seed(1))
    return torch.stack(torch.unravel_index(flat, world.joint.shape), 1)


def test_uniform_noise_falls_as_often_as_t_says_on_words_alone_and_never_on_what_is_known():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.zeros(3000, 8, dtype=torch.int64)
    times = torch.full(tokens.shape, 0.6)
    times[:, 0] = 0.0
    noised, fell = noise_uniformly(tokens, times, WORDS, generator)
    assert not fell[:, 0].any() and torch.equal(noised[~fell], tokens[~fell])
    assert noised.max() == 2
    # 21,000 positions: a share of 0.6 * 2 / 3 changed, three standard errors are 0.011
    assert (noised[:, 1:] != 0).float().mean().item() == pytest.approx(0.4, abs=0.011)


def test_what_is_known_is_a_beginning_or_all_but_a_stretch_and_never_everything():
    known = draw_known(4000, 12, torch.Generator().manual_seed(0))
    assert not known.all(1).any()
    assert (~known.any(1)).float().mean().item() == pytest.approx(0.5, abs=0.06)  # a beginning may be empty, too
    changes = (known[:, 1:] != known[:, :-1]).sum(1)
    assert changes.max() == 2 and (changes == 1).any()


def test_the_uniform_bound_as_a_loss_is_tight_for_the_true_world():
    """Averaged over texts, draws and what is known: -log p of what is not known, given what is, per token of it.

    With nothing known that is the entropy; so rows with known parts are left out here, by asking for none.
    """
    world = small_world()
    generator = torch.Generator().manual_seed(2)
    losses = []
    for texts in texts_of(world, 6400).split(64):
        loss, read = uniform_loss(exact_logits(world), texts, WORDS, "bound", generator, known_rows=False)
        assert read == texts.numel()
        losses.append(loss.item())
    losses = torch.tensor(losses)
    error = losses.std().item() / len(losses) ** 0.5
    assert losses.mean().item() == pytest.approx(world.entropy() / 3, abs=4 * error)  # once in 16,000 seeds
    assert error < 0.02


def test_the_uniform_cross_entropy_is_lowest_for_the_true_world():
    """Reading only some of the spared positions is unbiased; a wrong world has a higher loss."""
    world = small_world()
    wrong = ExactWorld(world.joint.flip(0))

    def mean_loss(logits_at, kept_share):
        generator = torch.Generator().manual_seed(3)
        parts = [
            uniform_loss(logits_at, texts, WORDS, "ce", generator, kept_share)[0].item()
            for texts in texts_of(world, 6400).split(64)
        ]
        return sum(parts) / len(parts)

    whole, sampled = (mean_loss(exact_logits(world), share) for share in (1.0, 0.25))
    assert sampled == pytest.approx(whole, rel=0.06)
    assert mean_loss(exact_logits(wrong), 1.0) > whole + 0.1


def latent_logits(world):
    def logits_at(latents, wanted, times):
        return world(latents, times, torch.full((len(times),), times.shape[1]), wanted)

    return logits_at


def latent_texts(world, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return world.texts[torch.multinomial(world.joint.flatten(), count, True, generator=generator)]


def test_the_latent_bound_as_a_loss_is_tight_for_the_true_world():
    """Averaged over texts and draws it is the entropy, once in 16,000 seeds not within four standard errors."""
    world = three_places()
    logits_at, embeddings = latent_logits(world), world.embeddings.float()
    generator = torch.Generator().manual_seed(2)
    losses = []
    for texts in latent_texts(world, 12_800).split(64):
        loss, read = latent_loss(logits_at, texts, embeddings, "bound", generator, known_rows=False)
        assert read == texts.numel() + 3  # and one row more, at t = 0
        losses.append(loss.item())
    losses = torch.tensor(losses)
    error = losses.std().item() / len(losses) ** 0.5
    entropy = -(world.joint * world.joint.log()).sum().item()
    assert losses.mean().item() == pytest.approx(entropy / 3, abs=4 * error)
    assert error < 0.02


def test_the_latent_cross_entropy_is_lowest_for_the_true_world():
    def mean_loss(world):
        generator, texts = torch.Generator().manual_seed(3), latent_texts(three_places(), 3200)
        args = world.embeddings, "ce", generator
        return sum(latent_loss(latent_logits(world), part, *args)[0].item() for part in texts.split(64)) / 50

    true, flat, sharp = (mean_loss(three_places(temperature)) for temperature in (1.0, 1.5, 0.6))
    assert true < flat - 0.005 and true < sharp - 0.005


@pytest.mark.parametrize("loss", ["ce", "bound"])
def test_what_is_known_keeps_its_embedding_and_its_time_and_is_not_read(loss):
    embeddings = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(5, (40, 6), generator=torch.Generator().manual_seed(1))
    seen = {}

    def logits_at(latents, wanted, times):
        seen.update(latents=latents, wanted=wanted, times=times)
        return torch.zeros(int(wanted.sum()), 5)

    _, read = latent_loss(logits_at, tokens, embeddings, loss, torch.Generator().manual_seed(2))
    latents, wanted, times = seen["latents"], seen["wanted"], seen["times"]
    clean = embeddings[tokens if loss == "ce" else torch.cat([tokens, tokens[:1]])]
    assert read == wanted.sum() and 0 < read < wanted.numel()
    assert torch.equal(latents[~wanted], clean[~wanted]) and (times[~wanted] == 0).all()
    assert not (latents[wanted] == clean[wanted]).all(-1).any()
    rows = wanted.any(1).nonzero()[:, 0].tolist()
    used = [times[row][wanted[row]].unique().tolist() for row in rows]
    assert len(rows) == len(wanted) and all(len(t) == 1 for t in used)  # one time a row
    if loss == "bound":
        assert used[-1] == [0.0] and min(t[0] for t in used[:-1]) >= 0
    else:
        assert torch.equal((torch.tensor(used)[:, 0] * 40).ceil().long(), torch.arange(1, 41))
