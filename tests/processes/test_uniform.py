"""The closed forms of uniform noise against dense matrices over five words, in float64."""

import math
from functools import partial

import pytest
import torch

from ddemo.processes import SCHEDULES, uniform
from tests.processes import dense
from tests.processes.dense import DERIVABLE

K, V = 5, 7
WORDS = torch.tensor([True, False, True, True, True, False, True])  # noise is made of these five of seven tokens
IDS = WORDS.nonzero().squeeze(-1)
TIMES = [(1.0, 0.9), (1.0, 0.0), (0.7, 0.35), (0.5, 0.499), (0.3, 0.1), (0.05, 0.0), (0.3, 0.3)]
EVERY_STEP = pytest.mark.parametrize("t, s", TIMES)
EVERY_SCHEDULE = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=list(SCHEDULES))
SMOOTH = pytest.mark.parametrize("schedule", [SCHEDULES[name] for name in DERIVABLE], ids=DERIVABLE)
EXACTLY = {"rtol": 0, "atol": 1e-12}

SMALL = dense.random_laws(6, K).repeat_interleave(K, 0)  # [N, K]: six beliefs, each beside every token
SEEN = torch.arange(K).repeat(6)
BELIEF = torch.zeros(len(SMALL), V, dtype=torch.float64).index_copy(1, IDS, SMALL)
STANDING = IDS[SEEN]


def alphas(schedule, t: float, s: float, floor: float = 0.0) -> tuple[float, float]:
    alpha_t, alpha_s = (floor + (1.0 - floor) * schedule.alpha(time) for time in (t, s))
    return alpha_t, 1.0 if s == 0.0 else alpha_s


def matrices(alpha_t: float, alpha_s: float) -> tuple[torch.Tensor, torch.Tensor]:
    """q(x_s | x_0) and q(x_t | x_s)."""
    return dense.uniform_matrix(alpha_s, K), dense.uniform_matrix(alpha_t / alpha_s, K)


def row_by_row(law, *arguments, beliefs: torch.Tensor = SMALL) -> torch.Tensor:
    """[N, K] what a function of dense matrices says of every belief beside every token."""
    return torch.stack([law(p, seen, *arguments) for p, seen in zip(beliefs, SEEN.tolist(), strict=True)])


def agree(law: torch.Tensor, expected: torch.Tensor, sums_to_one: bool = True, **tolerance) -> None:
    """[N, V] against [N, K], and nothing where no word is."""
    torch.testing.assert_close(law[:, IDS], expected, **(tolerance or EXACTLY))
    assert (law[:, ~WORDS] == 0).all()
    if sums_to_one:
        assert (law >= 0).all()
        torch.testing.assert_close(law.sum(-1), torch.ones(len(law), dtype=torch.float64), **EXACTLY)


# The exact reverse step


@EVERY_STEP
@EVERY_SCHEDULE
def test_the_mean_posterior_is_bayes_rule_averaged_over_x0(schedule, t, s):
    alpha_t, alpha_s = alphas(schedule, t, s)
    to_s, between = matrices(alpha_t, alpha_s)
    torch.testing.assert_close(to_s @ between, dense.uniform_matrix(alpha_t, K), **EXACTLY)
    law = uniform.mean_posterior(BELIEF, STANDING, alpha_t, alpha_s, WORDS)
    agree(law, row_by_row(dense.mean_posterior, to_s, between))


@EVERY_STEP
@EVERY_SCHEDULE
def test_the_joint_weighted_law_is_bayes_rule_from_a_belief_without_the_token(schedule, t, s):
    alpha_t, alpha_s = alphas(schedule, t, s)
    law = uniform.joint_weighted(BELIEF, STANDING, alpha_t, alpha_s, WORDS)
    agree(law, row_by_row(dense.joint_weighted, *matrices(alpha_t, alpha_s)))


@EVERY_STEP
@EVERY_SCHEDULE
def test_the_joint_weighted_law_is_the_one_that_udlm_and_duo_print(schedule, t, s):
    """[K a_t p.x_t + (a_ts - a_t) x_t + (a_s - a_t) p + (1 - a_ts)(1 - a_s) / K] / [K a_t p(x_t) + 1 - a_t]."""
    alpha_t, alpha_s = alphas(schedule, t, s)
    kept = alpha_t / alpha_s
    here = torch.eye(K, dtype=torch.float64)[SEEN]
    printed = K * alpha_t * SMALL * here + (kept - alpha_t) * here + (alpha_s - alpha_t) * SMALL
    printed = printed + (1 - kept) * (1 - alpha_s) / K
    printed = printed / (K * alpha_t * (SMALL * here).sum(-1, keepdim=True) + 1 - alpha_t)
    agree(uniform.joint_weighted(BELIEF, STANDING, alpha_t, alpha_s, WORDS), printed)


@EVERY_STEP
@EVERY_SCHEDULE
def test_both_are_one_law_when_each_is_fed_its_own_belief(schedule, t, s):
    """Before the token is seen x0 ~ belief; the posterior is what follows once it is."""
    alpha_t, alpha_s = alphas(schedule, t, s)
    posterior = uniform.posterior_from(BELIEF, STANDING, alpha_t, WORDS)
    agree(posterior, row_by_row(dense.posterior, dense.uniform_matrix(alpha_t, K)))
    by_mean = uniform.mean_posterior(posterior, STANDING, alpha_t, alpha_s, WORDS)
    by_joint = uniform.joint_weighted(BELIEF, STANDING, alpha_t, alpha_s, WORDS)
    torch.testing.assert_close(by_mean, by_joint, **EXACTLY)
    torch.testing.assert_close(
        uniform.leave_one_out_from(posterior, STANDING, alpha_t, WORDS), BELIEF, rtol=0, atol=1e-11
    )


def test_fed_with_each_others_belief_they_are_far_apart():
    alpha_t, alpha_s = 0.5, 0.6
    posterior = uniform.posterior_from(BELIEF, STANDING, alpha_t, WORDS)
    right = uniform.mean_posterior(posterior, STANDING, alpha_t, alpha_s, WORDS)
    for wrong in (
        uniform.mean_posterior(BELIEF, STANDING, alpha_t, alpha_s, WORDS),
        uniform.joint_weighted(posterior, STANDING, alpha_t, alpha_s, WORDS),
    ):
        assert ((wrong - right).abs().sum(-1) / 2).max() > 0.05


def test_the_ends_of_time():
    """All noise: what stands says nothing. All clean: x_s is x0."""
    from_noise = uniform.mean_posterior(BELIEF, STANDING, 0.0, 0.3, WORDS)
    expected = 0.3 * BELIEF + 0.7 * WORDS.double() / K
    torch.testing.assert_close(from_noise, expected, **EXACTLY)
    torch.testing.assert_close(uniform.joint_weighted(BELIEF, STANDING, 0.0, 0.3, WORDS), expected, **EXACTLY)
    torch.testing.assert_close(uniform.mean_posterior(BELIEF, STANDING, 0.4, 1.0, WORDS), BELIEF, **EXACTLY)
    torch.testing.assert_close(
        uniform.joint_weighted(BELIEF, STANDING, 0.4, 1.0, WORDS),
        uniform.posterior_from(BELIEF, STANDING, 0.4, WORDS),
        **EXACTLY,
    )
    torch.testing.assert_close(uniform.mean_posterior(BELIEF, STANDING, 0.0, 1.0, WORDS), BELIEF, **EXACTLY)
    assert uniform.kept(0.0, 0.0) == uniform.kept(0.0, 0.5) == 0.0 and uniform.kept(0.5, 0.5) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_likelihood_of_a_token_is_a_column_of_the_noise(alpha):
    law = uniform.likelihood(STANDING, alpha, WORDS)
    torch.testing.assert_close(law[:, IDS], dense.uniform_matrix(alpha, K)[:, SEEN].T, **EXACTLY)


def test_every_row_may_have_its_own_alpha():
    alphas = torch.linspace(0.1, 0.9, len(BELIEF), dtype=torch.float64)
    law = uniform.posterior_from(BELIEF, STANDING, alphas, WORDS)
    one_by_one = [
        uniform.posterior_from(BELIEF[[i]], STANDING[[i]], alpha, WORDS) for i, alpha in enumerate(alphas.tolist())
    ]
    torch.testing.assert_close(law, torch.cat(one_by_one), **EXACTLY)
    torch.testing.assert_close(uniform.leave_one_out_from(law, STANDING, alphas, WORDS), BELIEF, **EXACTLY)


@pytest.mark.parametrize("schedule", [SCHEDULES["linear"], SCHEDULES["cosine"]], ids=["linear", "cosine"])
def test_two_short_steps_are_one_long_step_when_the_belief_is_about_one_word(schedule):
    """With x0 known the chain is the noise's own, and a step through the middle is a step."""
    one_hot = torch.eye(V, dtype=torch.float64)[IDS].repeat_interleave(K, 0)
    standing = IDS.repeat(K)
    alpha_t, alpha_r, alpha_s = (schedule.alpha(t) for t in (0.8, 0.5, 0.2))
    long = uniform.mean_posterior(one_hot, standing, alpha_t, alpha_s, WORDS)
    first = uniform.mean_posterior(one_hot, standing, alpha_t, alpha_r, WORDS)
    second = torch.zeros_like(long)
    for word in IDS.tolist():
        law = uniform.mean_posterior(one_hot, torch.full_like(standing, word), alpha_r, alpha_s, WORDS)
        second += first[:, [word]] * law
    torch.testing.assert_close(second, long, **EXACTLY)


# Steps from scores and rates


@pytest.mark.parametrize("alpha", [0.001, 0.4, 0.99])
def test_scores_are_ratios_of_marginals(alpha):
    scores = uniform.scores(BELIEF, STANDING, alpha, WORDS)
    agree(scores, row_by_row(dense.score, dense.uniform_matrix(alpha, K)), sums_to_one=False, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        scores.gather(1, STANDING[:, None]), torch.ones(len(scores), 1, dtype=torch.float64), **EXACTLY
    )


@EVERY_STEP
@EVERY_SCHEDULE
def test_the_analytic_step_is_seds_formula_and_the_mean_posterior(schedule, t, s):
    """Alpha is at least 0.001, as SEDD has it. The inverse noise has e^D in it, up to 1,000, hence 1e-11 there."""
    alpha_t, alpha_s = alphas(schedule, t, s, floor=0.001)
    scores = uniform.scores(BELIEF, STANDING, alpha_t, WORDS)
    law = uniform.analytic(scores, STANDING, alpha_t, alpha_s, WORDS)
    _, between = matrices(alpha_t, alpha_s)
    expected = torch.stack(
        [dense.tweedie(row, seen, between) for row, seen in zip(scores[:, IDS], SEEN.tolist(), strict=True)]
    )
    agree(law, expected, rtol=0, atol=1e-11)
    by_mean = uniform.mean_posterior(BELIEF, STANDING, alpha_t, alpha_s, WORDS)
    torch.testing.assert_close(law, by_mean, rtol=0, atol=1e-11 if s == 0.0 else 1e-12)


def test_the_noise_is_the_exponential_of_its_rates():
    for sigma in (0.1, 1.0, 3.0):
        expected = dense.uniform_matrix(math.exp(-sigma), K)
        torch.testing.assert_close(torch.linalg.matrix_exp(sigma * dense.uniform_rate(K)), expected, **EXACTLY)


def rates_at(schedule, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """As the library has them [N, V], and from the dense generator [N, K]."""
    alpha = 0.001 + 0.999 * schedule.alpha(t)
    sigma_rate = -0.999 * schedule.derivative(t) / alpha
    scores = uniform.scores(BELIEF, STANDING, alpha, WORDS)
    of_row = partial(dense.reverse_rate, rate=sigma_rate * dense.uniform_rate(K))
    expected = [of_row(row.clone(), seen) for row, seen in zip(scores[:, IDS], SEEN.tolist(), strict=True)]
    return uniform.rates(scores, STANDING, sigma_rate, WORDS), torch.stack(expected)


@EVERY_STEP
@SMOOTH
def test_euler_tau_leap_and_jump_take_the_rates_of_the_scores(schedule, t, s):
    rates, expected = rates_at(schedule, t)
    agree(rates, expected, sums_to_one=False, rtol=1e-12, atol=1e-12)
    for law, brute in (
        (uniform.euler, dense.euler),
        (uniform.tau_leap, dense.one_poisson_jump),
        (uniform.jump, dense.first_jump),
    ):
        agree(law(rates, STANDING, t - s), row_by_row(brute, t - s, beliefs=expected.clone()))


@SMOOTH
@pytest.mark.parametrize("t", [0.2, 0.5, 0.9])
def test_all_steps_from_rates_are_exact_in_the_limit_of_short_strides(schedule, t):
    """The error of a step is of the order of its square, so halving the stride quarters it."""
    beliefs = dense.random_laws(6, K).repeat_interleave(K, 0)[5 * K :]
    p = torch.zeros(K, V, dtype=torch.float64).index_copy(1, IDS, beliefs)

    def errors(stride: float) -> list[float]:
        alpha_t, alpha_s = schedule.alpha(t), schedule.alpha(t - stride)
        exact = uniform.mean_posterior(p, IDS, alpha_t, alpha_s, WORDS)
        scores = uniform.scores(p, IDS, alpha_t, WORDS)
        rates = uniform.rates(scores, IDS, -schedule.derivative(t) / alpha_t, WORDS)
        laws = [law(rates, IDS, stride) for law in (uniform.euler, uniform.tau_leap, uniform.jump)]
        return [(law - exact).abs().max().item() for law in laws]

    for long, short in zip(errors(2e-4), errors(1e-4), strict=True):
        assert long < 1e-3 and (short < 1e-10 or 3.3 < long / short < 4.7)


def test_an_euler_step_that_would_overshoot_leaves_nothing_where_it_was():
    rate = torch.tensor([[0.0, 0.0, 30.0, 10.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    law = uniform.euler(rate, torch.tensor([0]), 0.1)
    torch.testing.assert_close(law[0, [0, 2, 3]], torch.tensor([0.0, 0.75, 0.25], dtype=torch.float64), **EXACTLY)


def test_without_rates_nothing_moves():
    rate = torch.zeros(1, V, dtype=torch.float64)
    for law in (uniform.euler, uniform.tau_leap, uniform.jump):
        assert law(rate, torch.tensor([2]), 0.5).tolist() == torch.eye(V)[2:3].tolist()


# The bound


def bound_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A belief above 0 everywhere [N, K], beside every x_t and every x0."""
    beliefs = 0.9 * dense.random_laws(4, K) + 0.1 / K
    small = beliefs.repeat_interleave(K * K, 0)
    belief = torch.zeros(len(small), V, dtype=torch.float64).index_copy(1, IDS, small)
    return small, belief, torch.arange(K).repeat(4 * K), torch.arange(K).repeat_interleave(K).repeat(4)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 0.95])
def test_the_bound_is_the_sum_that_its_docstring_prints(alpha):
    small, belief, seen, clean = bound_inputs()
    slope = torch.linspace(-2.0, -0.5, len(small), dtype=torch.float64)
    truth = torch.eye(K, dtype=torch.float64)[clean]
    m, guess = (K * alpha * law + 1 - alpha for law in (truth, small))
    m_here, guess_here = (law.gather(1, seen[:, None]) for law in (m, guess))
    sums = (m / m_here * ((m / m_here).log() - (guess / guess_here).log())).sum(-1)
    expected = -slope / (K * alpha) * (sums - K / m_here[:, 0] + K / guess_here[:, 0])
    rate = uniform.bound_rate(belief, IDS[seen], IDS[clean], alpha, slope, WORDS)
    torch.testing.assert_close(rate, expected, rtol=1e-12, atol=1e-12)
    assert (rate > -1e-12).all()
    alphas = torch.full((len(small),), alpha, dtype=torch.float64)
    torch.testing.assert_close(uniform.bound_rate(belief, IDS[seen], IDS[clean], alphas, slope, WORDS), rate)


@pytest.mark.parametrize("schedule", [SCHEDULES["linear"], SCHEDULES["cosine"]], ids=["linear", "cosine"])
def test_the_bound_is_the_divergence_of_one_short_step(schedule):
    """KL(q(x_s | x_t, x0) || joint-weighted) / (t - s), whose error is of the order of the stride."""
    small, belief, seen, clean = bound_inputs()
    t, stride = 0.6, 1e-5
    alpha_t, alpha_s = schedule.alpha(t), schedule.alpha(t - stride)
    matrices_at = matrices(alpha_t, alpha_s)
    nats = []
    for p, here, x0 in zip(small, seen.tolist(), clean.tolist(), strict=True):
        truth = dense.mean_posterior(torch.eye(K, dtype=torch.float64)[x0], here, *matrices_at)
        law = dense.joint_weighted(p, here, *matrices_at)
        nats.append((truth * (truth / law).log()).sum() / stride)
    rate = uniform.bound_rate(belief, IDS[seen], IDS[clean], alpha_t, schedule.derivative(t), WORDS)
    torch.testing.assert_close(rate, torch.stack(nats), rtol=1e-3, atol=1e-4)


def test_a_belief_that_knows_the_word_costs_nothing():
    one_hot = torch.eye(V, dtype=torch.float64)[IDS].repeat_interleave(K, 0)
    rate = uniform.bound_rate(one_hot, IDS.repeat(K), IDS.repeat_interleave(K), 0.4, -1.0, WORDS)
    torch.testing.assert_close(rate, torch.zeros(K * K, dtype=torch.float64), **EXACTLY)
