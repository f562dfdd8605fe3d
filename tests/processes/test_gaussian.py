"""Gaussian noise on embeddings: against Bayes' rule on a grid, normal laws of torch, and what was published."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ddemo.processes import gaussian
from ddemo.processes.gaussian import alpha_bar, time_at
from tests.toy_latents import three_places

PAIRS = [(0.0, 0.3), (0.1, 0.6), (0.55, 0.56), (0.3, 0.99), (0.0, 1.0)]  # alpha_t, alpha_s


def normal(mean, spread: float) -> Normal:
    """In double precision, which a law of plain numbers would not have."""
    return Normal(torch.as_tensor(mean, dtype=torch.float64), torch.tensor(spread, dtype=torch.float64))


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_schedule_is_the_published_one_with_a_clean_end():
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    published = 1 - (t + 1e-4).sqrt()
    assert (alpha_bar(t) - published).abs().max() <= 5.1e-5
    assert alpha_bar(1.0) == 0.0 and alpha_bar(0.0) == pytest.approx(0.99, abs=1e-6)
    assert (alpha_bar(t).diff() < 0).all()
    assert alpha_bar(0.37) == pytest.approx(alpha_bar(torch.tensor(0.37, dtype=torch.float64)).item(), rel=1e-12)


def test_the_time_of_an_alpha_is_where_the_schedule_takes_it():
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    assert torch.allclose(time_at(alpha_bar(t)), t, atol=1e-12)
    assert time_at(alpha_bar(0.25)) == pytest.approx(0.25)
    assert time_at(0.999) == 0.0 and time_at(torch.tensor([0.999])).item() == 0.0


def test_noise_keeps_the_variance_of_points_of_unit_variance():
    clean, noise = draws(200_000), draws(200_000, seed=1)
    x = gaussian.noised(clean, 0.3, noise)
    assert x.var().item() == pytest.approx(1.0, abs=0.015)  # over four standard errors
    assert (x * clean).mean().item() == pytest.approx(math.sqrt(0.3), abs=0.015)
    rows = gaussian.noised(clean[:6].view(2, 3), torch.tensor([[0.0], [1.0]]), noise[:6].view(2, 3))
    assert torch.equal(rows, torch.stack([noise[:3], clean[3:6]]))


@pytest.mark.parametrize(("alpha_t", "alpha_s"), [pair for pair in PAIRS if pair[0] > 0 and pair[1] < 1])
def test_the_posterior_is_bayes_on_a_grid(alpha_t, alpha_s):
    """q(x_s | x_0) q(x_t | x_s), normalised over a fine grid of x_s."""
    clean, latent = 0.7, -0.4
    grid = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    kept = alpha_t / alpha_s
    at_s = normal(math.sqrt(alpha_s) * clean, math.sqrt(1 - alpha_s)).log_prob(grid)
    onwards = normal(math.sqrt(kept) * grid, math.sqrt(1 - kept)).log_prob(torch.tensor(latent, dtype=torch.float64))
    law = (at_s + onwards).softmax(0)
    mean = (law * grid).sum()
    one, other = (torch.tensor([value], dtype=torch.float64) for value in (latent, clean))
    ours, variance = gaussian.posterior(one, other, alpha_t, alpha_s)
    assert ours.item() == pytest.approx(mean.item(), abs=1e-9)
    assert variance == pytest.approx((law * (grid - mean) ** 2).sum().item(), rel=1e-6)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), PAIRS)
def test_eta_one_draws_the_posterior(alpha_t, alpha_s):
    latents, clean, noise = draws(4, 3), draws(4, 3, seed=1), draws(4, 3, seed=2)
    mean, variance = gaussian.posterior(latents, clean, alpha_t, alpha_s)
    step = gaussian.step(latents, clean, alpha_t, alpha_s, 1.0, noise)
    assert torch.allclose(step, mean + math.sqrt(variance) * noise, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("alpha_t", "alpha_s"), PAIRS)
def test_a_step_with_the_true_clean_point_keeps_the_marginal(alpha_t, alpha_s, eta):
    """Linear in x_0, in the noise of x_t and in its own noise: the three factors give q(x_s | x_0)."""
    eye, nothing = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    clean, noise, fresh = eye
    factors = gaussian.step(gaussian.noised(clean, alpha_t, noise), clean, alpha_t, alpha_s, eta, fresh)
    assert factors[0].item() == pytest.approx(math.sqrt(alpha_s), abs=1e-12)
    assert factors[1:].square().sum().item() == pytest.approx(1 - alpha_s, abs=1e-12)
    assert (factors[2].item() > 0) == (eta > 0 and alpha_s < 1)
    assert torch.equal(gaussian.step(nothing, nothing, alpha_t, alpha_s, 0.0), nothing)


def test_ddim_steps_with_one_belief_go_straight_and_draw_nothing():
    latents, clean = draws(5, 4), draws(5, 4, seed=1)
    at_once = gaussian.step(latents, clean, 0.1, 0.8)
    in_two = gaussian.step(gaussian.step(latents, clean, 0.1, 0.4), clean, 0.4, 0.8)
    assert torch.allclose(at_once, in_two, rtol=1e-12)
    assert not torch.allclose(gaussian.step(latents, clean, 0.1, 0.8, 1.0, draws(5, 4, seed=2)), at_once)
    assert torch.allclose(gaussian.step(latents, clean, 0.0, 1.0), clean)  # all the way at once is the belief


def test_the_evidence_and_the_prior_are_bayes():
    embeddings, latents = draws(7, 3), draws(4, 3, seed=1)
    prior = draws(7, seed=2).softmax(0)
    alpha = torch.tensor([0.05, 0.3, 0.6, 0.95], dtype=torch.float64)
    p = (gaussian.evidence(latents, alpha, embeddings) + prior.log()).softmax(-1)
    for row, latent, a in zip(p, latents, alpha.tolist(), strict=True):
        density = normal(math.sqrt(a) * embeddings, math.sqrt(1 - a)).log_prob(latent).sum(-1).exp()
        assert torch.allclose(row, prior * density / (prior * density).sum(), rtol=1e-9)
    assert torch.equal(gaussian.evidence(latents, 0.0, embeddings), torch.zeros(4, 7, dtype=torch.float64))


def test_the_expected_embedding_has_the_least_squared_error():
    embeddings, p = draws(6, 2), draws(6, seed=1).softmax(0)
    best = gaussian.expected(p, embeddings)

    def error(point):
        return (p * (embeddings - point).square().sum(-1)).sum()

    assert all(error(best) < error(best + 0.1 * shift) for shift in draws(20, 2, seed=2))


@pytest.mark.parametrize(("alpha_t", "alpha_s"), [pair for pair in PAIRS if pair[1] < 1])
def test_a_stretch_costs_the_divergence_of_its_two_laws(alpha_t, alpha_s):
    latents, clean, estimate = draws(3, 4), draws(3, 4, seed=1), draws(3, 4, seed=2)
    (true, variance), (ours, _) = (gaussian.posterior(latents, x, alpha_t, alpha_s) for x in (clean, estimate))
    spread = math.sqrt(variance)
    expected = kl_divergence(normal(true, spread), normal(ours, spread)).sum(-1)
    assert torch.allclose(gaussian.stretch_nats(clean, estimate, alpha_t, alpha_s), expected, rtol=1e-9)


def test_the_rate_is_a_stretch_that_goes_to_nothing():
    clean, estimate = draws(3, 4), draws(3, 4, seed=1)
    alpha, stretch = 0.4, 1e-6
    small = gaussian.stretch_nats(clean, estimate, alpha - stretch / 2, alpha + stretch / 2) / stretch
    assert torch.allclose(gaussian.bound_rate(clean, estimate, alpha), small, rtol=1e-6)


def test_what_is_left_at_the_end_of_the_noise():
    clean = draws(5, 3)
    for alpha in (0.2, 0.01):
        law = normal(math.sqrt(alpha) * clean, math.sqrt(1 - alpha))
        expected = kl_divergence(law, normal(0.0, 1.0)).sum(-1)
        assert torch.allclose(gaussian.prior_nats(clean, alpha), expected, rtol=1e-9)
    assert torch.equal(gaussian.prior_nats(clean, alpha_bar(1.0)), torch.zeros(5, dtype=torch.float64))


def test_the_nearest_word_its_distance_and_the_next():
    embeddings = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    ids, distances = gaussian.nearest(torch.tensor([[[2.0, 0.0]], [[0.0, 0.5]]]), embeddings)
    assert ids.tolist() == [[1], [0]]
    assert distances.tolist() == [[[1.0, 2.0]], [[0.5, pytest.approx(math.sqrt(9.25))]]]
    assert gaussian.nearest(torch.ones(1, 2), embeddings[:1])[1].shape == (1, 1)


def test_principal_axes_are_those_of_a_stretched_cloud():
    turn = torch.linalg.qr(draws(3, 3, seed=3))[0]
    cloud = draws(20_000, 3) * torch.tensor([5.0, 2.0, 0.5]) @ turn.T + 7
    axes, spread = gaussian.principal_axes(cloud, 2)
    assert (axes.T @ axes - torch.eye(2, dtype=torch.float64)).abs().max() < 1e-12
    assert ((axes * turn[:, :2]).sum(0).abs() > 0.999).all()
    assert torch.allclose(spread, torch.tensor([5.0, 2.0], dtype=torch.float64), rtol=0.02)
    assert (axes.gather(0, axes.abs().argmax(0, keepdim=True)) > 0).all()


def test_embeddings_lie_on_a_sphere_equally_wide_in_every_direction():
    cloud = draws(5000, 8) * torch.linspace(0.1, 5, 8, dtype=torch.float64)
    points = gaussian.on_sphere(cloud, 4)
    assert points.shape == (5000, 4)
    assert torch.allclose(points.square().sum(-1), torch.full((5000,), 4.0, dtype=torch.float64))
    assert torch.allclose(points.std(0), torch.ones(4, dtype=torch.float64), atol=0.05)


@pytest.mark.parametrize(("alpha_t", "alpha_s"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.5, 1.1), (math.nan, 0.5)])
def test_times_in_the_wrong_order_are_refused(alpha_t, alpha_s):
    x = torch.zeros(2)
    with pytest.raises(ValueError, match="0 <= alpha_t < alpha_s <= 1"):
        gaussian.step(x, x, alpha_t, alpha_s)
    with pytest.raises(ValueError, match="0 <= alpha_t < alpha_s <= 1"):
        gaussian.posterior(x, x, alpha_t, alpha_s)
    with pytest.raises(ValueError, match="0 <= alpha_t < alpha_s <= 1"):
        gaussian.stretch_nats(x, x, alpha_t, alpha_s)


def test_other_numbers_out_of_range_are_named():
    x = torch.zeros(2)
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], not 1.5"):
        gaussian.step(x, x, 0.1, 0.5, 1.5, x)
    with pytest.raises(ValueError, match="noise must be given for eta"):
        gaussian.step(x, x, 0.1, 0.5, 0.5)
    with pytest.raises(ValueError, match="alpha_s must be less than 1"):
        gaussian.stretch_nats(x, x, 0.1, 1.0)
    with pytest.raises(ValueError, match="count must be 1 to 2, not 3"):
        gaussian.principal_axes(torch.zeros(5, 2), 3)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_many_steps_with_exact_beliefs_draw_texts_of_the_world(eta):
    """From noise to three tokens in 120 steps: every text comes as often as it should."""
    world, count, steps = three_places(), 2000, 120
    generator = torch.Generator().manual_seed(5)
    latents = torch.randn(count, 3, world.dim, generator=generator, dtype=torch.float64)
    lengths, everywhere = torch.full((count,), 3), torch.ones(count, 3, dtype=torch.bool)
    for k in range(steps, 0, -1):
        t, s = k / steps, (k - 1) / steps
        p = world(latents, torch.full((count, 3), t), lengths, everywhere).double().softmax(-1)
        belief = gaussian.expected(p, world.embeddings).view_as(latents)
        noise = torch.randn(latents.shape, generator=generator, dtype=torch.float64)
        latents = gaussian.step(latents, belief, alpha_bar(t), alpha_bar(s), eta, noise)
    tokens, distances = gaussian.nearest(latents, world.embeddings)
    assert (distances[..., 0] < 0.6).double().mean() > 0.99  # noise of standard deviation 0.1 is left
    drawn = torch.bincount(tokens @ torch.tensor([9, 3, 1]), minlength=27) / count
    assert 0.5 * (drawn - world.joint.flatten()).abs().sum() < 0.05  # a sample of 2,000 is off by 0.03
