"""Samplers of Gaussian noise: the laws that their steps draw from, and runs of latents through the loop."""

import math

import pytest
import torch
from torch import Tensor

from ddemo.processes import gaussian
from ddemo.processes.gaussian import alpha_bar
from ddemo.sampling import Canvas, FillRules, Lane, SamplerConfig, denoise
from ddemo.sampling.belief import Belief
from ddemo.sampling.latents import Latents, carried_over, from_noise, rounded_noise, signal
from ddemo.sampling.samplers import SAMPLERS, of_process
from ddemo.sampling.samplers.latent import estimate
from tests.sampling.drive import facts, run
from tests.sampling.turns import turn_of
from tests.toy_latents import ToyLatents, three_places, two_words

NAMES = [sampler.name for sampler in of_process("gaussian")]
SPACE = three_places().space


class Copies:
    """Texts of a toy world side by side on one canvas, none knowing of the others."""

    def __init__(self, world: ToyLatents, count: int):
        self.world, self.count = world, count
        self.max_length = count * world.max_length

    def __getattr__(self, name: str):
        return getattr(self.world, name)

    def __call__(self, latents: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        assert (lengths == self.max_length).all()
        size = (len(latents) * self.count, self.world.max_length)
        lengths = torch.full(size[:1], self.world.max_length)
        return self.world(latents.reshape(*size, -1), times.reshape(size), lengths, wanted.reshape(size))


def canvas_of(tokens: list[int], fixed: list[int] = ()) -> Canvas:
    held = torch.zeros(len(tokens), dtype=torch.bool)
    held[list(fixed)] = True
    return Canvas(torch.tensor(tokens), held, torch.zeros(len(tokens), dtype=torch.uint8))


def begun(world, canvas: Canvas, name: str, number: int = 0, **settings) -> Lane:
    return Lane.fresh(canvas, SamplerConfig(name, **settings), world.mask_id, number)


def masks(world, count: int) -> Canvas:
    return canvas_of([world.mask_id] * count)


def turn(space, points: Tensor, logits: Tensor, name: str, times=(0.6, 0.4), held: Tensor | None = None, **settings):
    """A step on latents made by hand; the word of the last row of `logits`' columns is no mask here."""
    made = turn_of(logits, name, tokens=torch.zeros(len(points), dtype=torch.int64), times=times, **settings)
    held = torch.ones(len(points), dtype=torch.float64) if held is None else held
    object.__setattr__(made, "latents", Latents(points, held))
    object.__setattr__(made, "space", space)
    return made


def random_turn(name: str, rows: int = 200, **more):
    generator = torch.Generator().manual_seed(2)
    points = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    return turn(SPACE, points, 2 * torch.randn(rows, 3, generator=generator), name, **more)


def test_ddpm_draws_from_the_posterior_of_the_mean():
    """In mean and in variance, with the numbers of this lane's step."""
    step = random_turn("ddpm", rows=20_000)
    after = SAMPLERS["ddpm"].steps["gaussian"](step).landing.points
    mean, variance = gaussian.posterior(
        step.points, gaussian.expected(step.belief.logits.double().softmax(-1), SPACE.embeddings.double()),
        alpha_bar(0.6), alpha_bar(0.4),
    )  # fmt: skip
    noise = (after - mean) / math.sqrt(variance)
    assert torch.allclose(noise, step.normal("noise"), atol=1e-5)
    assert noise.mean().abs() < 0.02 and abs(noise.var().item() - 1) < 0.02


def test_ddim_draws_nothing_and_with_eta_1_is_ddpm():
    steps = still, _, _ = random_turn("ddim"), random_turn("ddim", eta=1.0), random_turn("ddpm")
    moved = [SAMPLERS[step.config.sampler].steps["gaussian"](step).landing.points for step in steps]
    assert torch.equal(moved[1], moved[2])
    clean = estimate(still)
    expected = gaussian.step(still.points, clean, alpha_bar(0.6), alpha_bar(0.4))
    assert torch.equal(moved[0], expected) and (moved[0] - moved[1]).abs().max() > 0.1


def test_the_last_step_arrives_at_what_it_aims_at():
    for name in NAMES:
        step = random_turn(name, times=(0.1, 0.0))
        move = SAMPLERS[name].steps["gaussian"](step)
        assert torch.allclose(move.landing.points, estimate(step), atol=1e-12)
        near, distances = gaussian.nearest(estimate(step), SPACE.embeddings)
        assert torch.equal(move.after, near)
        assert torch.allclose(move.landing.distance, distances[:, 0])
        assert torch.allclose(move.landing.margin, distances[:, 1] - distances[:, 0])


def test_what_a_step_aims_at():
    step = random_turn("ddim")
    embeddings, p = SPACE.embeddings.double(), step.belief.logits.double().softmax(-1)
    assert torch.allclose(estimate(step), p @ embeddings, atol=1e-6)
    clamped = estimate(random_turn("ddim", clamp="nearest"))
    near = torch.cdist(p @ embeddings, embeddings).argmin(-1)
    assert torch.equal(clamped, embeddings[near]) and not torch.equal(near, p.argmax(-1))
    for sharp in ({"temperature": 0.0}, {"draw": "argmax"}, {"top_k": 1}):
        assert torch.equal(estimate(random_turn("ddim", **sharp)), embeddings[p.argmax(-1)])
    cold = (step.belief.logits.double() / 0.5).softmax(-1)
    assert torch.allclose(estimate(random_turn("ddim", temperature=0.5)), cold @ embeddings, atol=1e-6)


def test_a_refused_word_is_neither_aimed_at_nor_rounded_to():
    step = random_turn("ddim", clamp="nearest", times=(0.1, 0.0))
    logits = step.belief.logits.index_fill(1, torch.tensor(0), -torch.inf)
    object.__setattr__(step, "belief", Belief(step.belief.positions, logits))
    move = SAMPLERS["ddim"].steps["gaussian"](step)
    assert set(move.after.tolist()) == {1, 2} and move.landing.margin.isfinite().all()
    alone = turn(SPACE, torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[0.0, -torch.inf, -torch.inf]]), "ddim")
    assert SAMPLERS["ddim"].steps["gaussian"](alone).landing.margin.tolist() == [0.0]


def test_a_latent_that_waits_is_left_where_it_is():
    held = torch.tensor([1.0, 0.5, 0.3], dtype=torch.float64)
    points = torch.randn(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = turn(SPACE, points, torch.zeros(3, 3), "ddpm", held=held)
    after = SAMPLERS["ddpm"].steps["gaussian"](step).landing.points
    noise, clean = step.normal("noise"), estimate(step)
    for row, t in ((0, 0.6), (1, 0.5)):
        expected = gaussian.step(points[row], clean[row], alpha_bar(t), alpha_bar(0.4), 1.0, noise[row])
        assert torch.allclose(after[row], expected, atol=1e-12)
    assert torch.equal(after[2], points[2])


@pytest.mark.parametrize("settings", [{"name": "ddpm"}, {"name": "ddim"}, {"name": "ddim", "eta": 0.5}])
def test_with_exact_beliefs_texts_come_as_often_as_they_should(settings):
    world, count = three_places(), 2000
    copies = Copies(world, count)
    lane = begun(copies, masks(world, copies.max_length), steps=110, candidates=1, **settings)
    run(copies, [lane], None)
    drawn = torch.bincount(lane.tokens.view(count, 3) @ torch.tensor([9, 3, 1]), minlength=27) / count
    assert 0.5 * (drawn - world.joint.flatten()).abs().sum() < 0.05  # a sample of 2,000 is off by 0.03


def test_texts_are_filled_in_as_often_as_they_should_around_what_is_known():
    world, count = three_places(), 1000
    copies = Copies(world, count)
    tokens = [world.mask_id, 1, world.mask_id] * count
    lane = begun(copies, canvas_of(tokens, range(1, 3 * count, 3)), "ddpm", steps=110, candidates=1)
    frames = run(copies, [lane], None)[0]
    texts = lane.tokens.view(count, 3)
    assert (texts[:, 1] == 1).all() and not any((frame.written % 3 == 1).any() for frame in frames)
    drawn = torch.bincount(texts[:, 0] * 3 + texts[:, 2], minlength=9) / count
    given = world.joint[:, 1, :].flatten() / world.joint[:, 1, :].sum()
    assert 0.5 * (drawn - given).abs().sum() < 0.06


@pytest.mark.parametrize("name", NAMES)
def test_a_lane_is_the_same_alone_in_company_and_again(tiny_latent, name):
    """To the bit, whatever the others do and however long they are."""
    denoiser, rules = tiny_latent.denoiser, FillRules.of(tiny_latent.codec)
    lanes = lambda: [  # noqa: E731
        begun(denoiser, masks(denoiser, 11), name, number=3, seed=5, steps=6),
        begun(denoiser, masks(denoiser, 30), "ddim", seed=1, steps=4, clamp="nearest"),
        begun(denoiser, masks(denoiser, 3), "ddpm", seed=2, steps=9, temperature=0.5),
    ]
    company, alone = lanes(), lanes()[0]
    together, [single] = run(denoiser, company, rules)[0], run(denoiser, [alone], rules)
    assert [facts(frame) for frame in together] == [facts(frame) for frame in single]
    assert torch.equal(company[0].latents.points, alone.latents.points)
    assert all((a.plane == b.plane).all() and a.plane.shape == (11, 2) for a, b in zip(together, single, strict=True))
    other = begun(denoiser, masks(denoiser, 11), name, number=4, seed=5, steps=6)
    run(denoiser, [other], rules)
    assert not torch.equal(other.tokens, alone.tokens)


def test_frames_tell_how_latents_lie(tiny_latent):
    denoiser, rules = tiny_latent.denoiser, FillRules.of(tiny_latent.codec)
    canvas = canvas_of([5, *[denoiser.mask_id] * 9, 7], fixed=[0, 10])
    lane = begun(denoiser, canvas, "ddpm", steps=5)
    seen = 0
    for [(_, frame)] in denoise(denoiser, [lane], rules):
        positions = torch.from_numpy(frame.positions).long()
        assert positions.tolist() == list(range(1, 10))
        points = lane.latents.points[positions]
        distances = torch.cdist(points, denoiser.embeddings[lane.tokens[positions]].double()).diagonal()
        assert torch.allclose(torch.from_numpy(frame.distance).double(), distances, atol=1e-5)
        assert torch.allclose(torch.from_numpy(frame.plane), (points @ denoiser.space.axes.double()).float())
        assert (frame.margin >= 0).all() and lane.latents.held.tolist() == [0.0, *[1.0] * 9, 0.0]
        assert torch.equal(lane.latents.points[[0, 10]], denoiser.embeddings[[5, 7]].double())
        seen += 1
    assert seen == 5 and lane.time == 0.0 and not bool((lane.tokens == denoiser.mask_id).any())


def test_a_run_begins_with_noise_and_the_words_that_it_is_nearest_to():
    canvas = canvas_of([3, 1, 3, 3], fixed=[1])
    latents = from_noise(canvas, SPACE, seed=4)
    assert torch.equal(latents.points[1], SPACE.embeddings[1].double()) and latents.held.tolist() == [1, 0, 1, 1]
    never = torch.tensor([True, False, False])
    rounded = rounded_noise(canvas, 3, SPACE, never, seed=4)
    near = torch.cdist(latents.points, SPACE.embeddings[1:].double()).argmin(-1) + 1
    assert rounded.tokens.tolist() == near.tolist() and torch.equal(rounded.fixed, canvas.fixed)
    many = from_noise(canvas_of([3] * 20_000), SPACE, seed=4).points
    assert many.mean().abs() < 0.02 and abs(many.var().item() - 1) < 0.03
    assert not torch.equal(from_noise(canvas, SPACE, seed=5).points, latents.points)
    assert signal(0.0) == 1.0 and signal(0.5) == alpha_bar(0.5)


def test_what_an_edit_does_to_latents():
    """Kept: goes on. Masked: new noise from t = 1. Fixed: its word. Let go: its word, noised to the time."""
    before = Latents(torch.randn(4, 2, dtype=torch.float64), torch.tensor([1.0, 0.0, 1.0, 0.2], dtype=torch.float64))
    canvas = canvas_of([0, 1, 2, 3, 0, 2], fixed=[4])
    kept = (2, 1, 3, -1, -1, 0)
    after = carried_over(before, 0.5, canvas, kept, SPACE, seed=1, lane=0, step=7)
    noise = from_noise(canvas_of([3] * 6), SPACE, seed=1, step=7).points
    assert after.held.tolist() == [0.5, 0.5, 0.2, 1.0, 0.0, 0.5]
    assert torch.equal(after.points[[0, 2, 5]], before.points[[2, 3, 0]])
    assert torch.equal(after.points[3], noise[3])
    assert torch.equal(after.points[4], SPACE.embeddings[0].double())
    let_go = gaussian.noised(SPACE.embeddings[1].double(), alpha_bar(0.5), noise[1])
    assert torch.allclose(after.points[1], let_go, atol=1e-12)


def test_a_lane_cannot_go_on_from_tokens_alone(tiny_latent):
    lane = begun(tiny_latent.denoiser, masks(tiny_latent.denoiser, 4), "ddim", steps=4)
    lane.step = 2
    assert not lane.prepared(tiny_latent.denoiser) and "latents must be given" in str(lane.failure)


def test_one_dimension_is_enough():
    world = two_words()
    lane = begun(world, masks(world, 1), "ddpm", steps=8)
    frames = run(world, [lane], None)[0]
    assert len(frames) == 8 and frames[-1].plane[0, 1] == 0.0
