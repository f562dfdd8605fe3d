"""The plain loop: the published way to write it gives the same tokens, at the price of more work."""

import pytest
import torch

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.exact_world import ExactWorldDenoiser
from ddemo.processes.exact import ExactWorld
from ddemo.sampling import SAMPLERS, Canvas, FillRules, Lane, SamplerConfig, denoise, fresh_clock, read_text
from ddemo.sampling.plain import RacingBelief, denoise_plainly
from ddemo.sampling.samplers import of_process

LENGTH, STEPS = 12, 7


def both(denoiser, canvas: Canvas, config: SamplerConfig, rules: FillRules | None = None) -> tuple[Lane, Lane]:
    """The same lane from `denoise` and from the plain loop."""
    clock = fresh_clock(canvas, config, denoiser.mask_id)
    ours, plain = Lane(canvas, config, clock), Lane(canvas, config, clock)
    for _ in denoise(denoiser, [ours], rules):
        pass
    for _ in denoise_plainly(denoiser, plain, rules):
        pass
    assert ours.failure is None and plain.failure is None and ours.step > 0
    return ours, plain


def page(denoiser, length: int = LENGTH, prompt: int = 0) -> Canvas:
    """`prompt` fixed tokens, then masks."""
    tokens = torch.full((length,), denoiser.mask_id)
    tokens[:prompt] = torch.arange(prompt)
    return Canvas(tokens, tokens != denoiser.mask_id, torch.zeros(length, dtype=torch.uint8))


@pytest.mark.parametrize("draw", ["sample", "argmax"])
@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("absorbing")])
def test_the_same_tokens_for_every_sampler_of_masks(make_fake, sampler, draw):
    denoiser = make_fake(vocab_size=300, mask_id=299)
    for seed in range(3):
        config = SamplerConfig(sampler, draw, steps=STEPS, seed=seed)
        ours, plain = both(denoiser, page(denoiser), config)
        assert torch.equal(ours.tokens, plain.tokens) and ours.step == plain.step
        assert plain.nfe == plain.step >= ours.nfe


@pytest.mark.parametrize("draw", ["sample", "argmax"])
@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("uniform")])
def test_the_same_tokens_for_every_sampler_of_words(sampler, draw):
    joint = torch.rand(4, 4, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    denoiser = ExactWorldDenoiser(ExactWorld(joint / joint.sum()), "world", "uniform")
    canvas = Canvas(torch.tensor([3, 0, 0, 2]), torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.uint8))
    rules = FillRules(torch.arange(6) >= 4, {}, torch.empty(0, dtype=torch.int64))
    for seed in range(3):
        ours, plain = both(denoiser, canvas, SamplerConfig(sampler, draw, steps=STEPS, seed=seed), rules)
        assert torch.equal(ours.tokens, plain.tokens) and ours.nfe == plain.nfe == plain.step


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.6},
        {"top_k": 9},
        {"top_p": 0.8},
        {"block_length": 3},
        {"guidance": 1.5},
        {"draw": "argmax", "guidance": 0.5, "block_length": 3},
        {"sampler": "ancestral", "temperature": 1.7, "top_p": 0.9},
    ],
)
def test_the_same_tokens_whatever_goes_around_the_sampler(make_fake, settings):
    denoiser = make_fake(vocab_size=300, mask_id=299)
    ours, plain = both(denoiser, page(denoiser, prompt=3), SamplerConfig(**{"steps": STEPS} | settings))
    assert torch.equal(ours.tokens, plain.tokens)
    assert plain.nfe == plain.step * (2 if "guidance" in settings else 1)


def test_deterministic_runs_of_a_network_are_identical(tiny):
    """The shapes of its matrix products differ, so its logits may, in their last bits."""
    rules = FillRules.of(tiny.codec)
    names = [s.name for s in of_process("absorbing") if SamplerConfig(s.name, "argmax").deterministic]
    assert {"confidence", "left-to-right", "p2", "threshold", "posterior-argmax"} <= set(names)
    for name in names:
        canvas = read_text("The old", 20, tiny.codec, 64)
        ours, plain = both(tiny.denoiser, canvas, SamplerConfig(name, "argmax", steps=STEPS), rules)
        assert torch.equal(ours.tokens, plain.tokens), name


def test_it_asks_everywhere_and_at_every_step(make_fake):
    denoiser, asked = make_fake(), []

    class Listening:
        def __getattr__(self, name):
            return getattr(denoiser, name)

        def __call__(self, tokens, times, lengths, wanted):
            asked.append(wanted.clone())
            return denoiser(tokens, times, lengths, wanted)

    canvas, config = page(denoiser, prompt=2), SamplerConfig("ancestral", steps=60)
    ours, _ = both(denoiser, canvas, config)
    lane = Lane(canvas, config, fresh_clock(canvas, config, denoiser.mask_id))
    steps = sum(1 for _ in denoise_plainly(Listening(), lane))
    assert len(asked) == steps == lane.nfe > ours.nfe, "60 steps for ten masks change nothing most of the time"
    assert all(wanted.shape == (1, LENGTH) and wanted.all() for wanted in asked)


def test_frames_tell_what_was_written(make_fake):
    denoiser = make_fake()
    canvas, config = page(denoiser), SamplerConfig("remdm-cap", steps=STEPS, eta=0.5)
    lane = Lane(canvas, config, fresh_clock(canvas, config, denoiser.mask_id))
    tokens = canvas.tokens.clone()
    for frame in denoise_plainly(denoiser, lane):
        assert not frame.fresh
        tokens[torch.from_numpy(frame.written).long()] = torch.from_numpy(frame.tokens).long()
    assert torch.equal(tokens, lane.tokens) and not (tokens == denoiser.mask_id).any()


@pytest.mark.slow
def test_the_shipped_checkpoint_writes_the_same():
    checkpoint = load_checkpoint("classics-mdm", "cpu", "float32")
    rules = FillRules.of(checkpoint.codec)
    for name in ("confidence", "ancestral", "dream-entropy", "p2"):
        assert name in SAMPLERS
        canvas = read_text("The old sailor", 16, checkpoint.codec, checkpoint.denoiser.max_length)
        ours, plain = both(checkpoint.denoiser, canvas, SamplerConfig(name, "argmax", steps=4), rules)
        assert torch.equal(ours.tokens, plain.tokens), name


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_a_race_has_the_law_of_the_belief(temperature):
    """20,000 positions of one law over 5 tokens: chi-square (4 degrees of freedom) below 28, false alarm 1e-5."""
    logits = torch.tensor([0.5, -1.0, 1.5, 0.0, -torch.inf, 0.2], dtype=torch.float64)
    p = logits.softmax(-1).expand(20_000, -1)
    every = torch.arange(len(p))
    belief = RacingBelief(every, p, torch.Generator().manual_seed(3))
    drawn = belief.draw(torch.rand(len(p)), SamplerConfig(temperature=temperature), every)
    seen = torch.bincount(drawn, minlength=6).double()
    expected = (logits / temperature).softmax(-1) * len(p)
    assert seen[4] == 0
    kept = expected > 0
    assert ((seen - expected)[kept] ** 2 / expected[kept]).sum() < 28


def test_a_race_takes_its_numbers_from_its_generator_and_argmax_takes_none(make_fake):
    denoiser = make_fake(vocab_size=300, mask_id=299)

    def tokens(draw, seed):
        canvas, config = page(denoiser), SamplerConfig("confidence", draw, steps=STEPS)
        lane = Lane(canvas, config, fresh_clock(canvas, config, denoiser.mask_id))
        list(denoise_plainly(denoiser, lane, race=torch.Generator().manual_seed(seed)))
        return lane.tokens.tolist()

    assert tokens("sample", 1) == tokens("sample", 1) != tokens("sample", 2)
    canvas = page(denoiser)
    ours, _ = both(denoiser, canvas, SamplerConfig("confidence", "argmax", steps=STEPS))
    assert tokens("argmax", 1) == tokens("argmax", 2) == ours.tokens.tolist()
