"""The DiT line against its published networks: same logits, whatever the batch, the padding and the time.

`stored/dit.safetensors` holds inputs, and what the families' public networks give for them in float32 with the
weights of `dit_checkpoints.weights`: MDLM, SEDD and DUO by their repositories' networks, BD3-LM (its sampling and
its likelihood pass) and UDLM by the classes that are published beside their checkpoints.
"""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.dit_lm import DiTDenoiser
from tests.denoisers import dit_checkpoints as tiny

STORED = load_file(Path(__file__).parent / "stored" / "dit.safetensors")
EPS = 1e-3  # of the families' schedule, alpha = 1 - (1 - eps) t
CLOSE = {"rtol": 0, "atol": 2e-4}


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory) -> dict[str, DiTDenoiser]:
    """As their networks are: BD3-LM's without the token that begins its texts, which has a test of its own."""
    root, made = tmp_path_factory.mktemp("dit"), {}
    for name in tiny.CONFIGS:
        made[name] = load_checkpoint(str(tiny.write(name, root / name)), device="cpu").denoiser
        made[name].before, made[name].max_length = (), tiny.LENGTH
    return made


@pytest.fixture(params=tiny.CONFIGS)
def name(request) -> str:
    return request.param


def stored(name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B, L], 1 - alpha [B, L] float64 and logits [B, L, K]."""
    tokens, t, logits = (STORED[f"{name}.{part}"] for part in ("tokens", "t", "logits"))
    return tokens, ((1 - EPS) * t.double())[:, None].expand(tokens.shape), logits


def everywhere(denoiser: DiTDenoiser, tokens: Tensor, times: Tensor) -> Tensor:
    """Logits [B, L, V] of rows without padding."""
    lengths = torch.full((len(tokens),), tokens.shape[1])
    return denoiser(tokens, times, lengths, torch.ones_like(tokens, dtype=torch.bool)).unflatten(0, tokens.shape)


def rows(count: int, *lengths: int, seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A padded batch of random tokens below `count`, each row at its own time, some positions wanted."""
    generator = torch.Generator().manual_seed(seed)
    sizes, shape = torch.tensor(lengths), (len(lengths), max(lengths))
    inside = torch.arange(shape[1]) < sizes[:, None]
    tokens = torch.randint(count, shape, generator=generator).where(inside, 0)
    times = torch.rand(len(lengths), generator=generator)[:, None].expand(shape).where(inside, 0.0)
    wanted = (torch.rand(shape, generator=generator) < 0.7) & inside
    wanted[:, 0] = True
    return tokens, times, sizes, wanted


# Exactness


def test_logits_are_those_of_the_published_network(denoisers, name):
    tokens, times, expected = stored(name)
    assert expected.std() > 1  # alike would prove nothing
    logits = everywhere(denoisers[name], tokens, times)
    if name == "sedd":  # published as log scores, where the token that stands has 0
        over = torch.expm1(-torch.log1p(-times))[..., None].log().float()
        logits = (logits - over).scatter(2, tokens[..., None], 0.0)
    if denoisers[name].process == "uniform":
        assert (logits[..., -1] == -math.inf).all()
        logits = logits[..., :-1]
    torch.testing.assert_close(logits, expected, **CLOSE)


def test_block_diffusion_beside_the_clean_text_is_the_published_likelihood_pass(denoisers):
    tokens, times, expected = stored("bd3lm-clean")
    wanted = torch.ones_like(tokens, dtype=torch.bool)
    lengths, clean = torch.full((len(tokens),), tokens.shape[1]), STORED["bd3lm-clean.clean"]
    logits = denoisers["bd3lm"].beside_clean(tokens, clean, times, lengths, wanted)
    torch.testing.assert_close(logits, expected.flatten(0, 1), **CLOSE)


def test_padding_and_company_change_no_bit(denoisers, name):
    denoiser = denoisers[name]
    tokens, times, lengths, wanted = rows(denoiser.states, 3, 16, 9, 1, 16, 12)
    parts = denoiser(tokens, times, lengths, wanted).split(wanted.sum(1).tolist())
    for row, length in enumerate(lengths.tolist()):
        own = (x[row : row + 1, :length] for x in (tokens, times))
        alone = denoiser(*own, lengths[row : row + 1], wanted[row : row + 1, :length])
        assert torch.equal(parts[row], alone)


def test_a_padded_row_is_the_unpadded_one_of_the_published_network(denoisers, name):
    tokens, times, expected = stored(name)
    longer = torch.nn.functional.pad(tokens, (0, 4), value=1)  # what stands in the padding does not matter
    wanted = torch.zeros(longer.shape, dtype=torch.bool)
    wanted[:, 5] = True
    given = torch.nn.functional.pad(times, (0, 4))
    logits = denoisers[name](longer, given, torch.full((3,), 12), wanted)
    unlike = 0 if name != "sedd" else torch.expm1(-torch.log1p(-times[:, :1])).log().float()
    others = torch.arange(expected.shape[-1]) != tokens[:, 5, None]  # the own token's score is published as 0
    torch.testing.assert_close((logits[:, : expected.shape[-1]] - unlike)[others], expected[:, 5][others], **CLOSE)


def test_only_the_wanted_positions_are_answered(denoisers, name):
    denoiser = denoisers[name]
    tokens, times, lengths, wanted = rows(denoiser.states, 12, 12)
    full = everywhere(denoiser, tokens, times)
    few = denoiser(tokens, times, lengths, wanted)
    assert few.dtype == torch.float32 and few.shape == (int(wanted.sum()), denoiser.vocab_size)
    torch.testing.assert_close(few, full[wanted], rtol=0, atol=1e-5)
    assert denoiser(tokens, times, lengths, wanted & False).shape == (0, denoiser.vocab_size)


def test_half_precision_stays_near(tmp_path, denoisers, name):
    loaded = load_checkpoint(str(tiny.write(name, tmp_path / name)), device="cpu", dtype="bfloat16")
    assert loaded.dtype == "bfloat16" and loaded.denoiser.model.blocks[0].mlp[0].weight.dtype == torch.bfloat16
    tokens, times, _ = stored(name)
    exact, near = (everywhere(x, tokens, times).softmax(-1) for x in (denoisers[name], loaded.denoiser))
    assert near.dtype == torch.float32
    assert 0 < (exact - near).abs().max() < 0.15


# Time


def test_what_is_told_of_the_time(denoisers):
    told = {name: denoiser.takes_time for name, denoiser in denoisers.items()}
    assert told == {
        "mdlm": False,
        "mdlm-time": True,
        "sedd": True,
        "bd3lm": False,
        "udlm": True,
        "udlm-classes": True,
        "duo": True,
    }


def test_time_matters_where_it_is_told_and_only_there(denoisers, name):
    denoiser = denoisers[name]
    tokens, times, _ = stored(name)
    early, late = (everywhere(denoiser, tokens, torch.full_like(times, t)) for t in (0.1, 0.9))
    assert torch.equal(early, late) != denoiser.takes_time


def test_the_noise_level_is_that_of_the_noised_positions_and_finite_at_both_ends(denoisers):
    denoiser = denoisers["udlm"]
    times = torch.tensor([[0.0, 0.0, 0.5, 0.5], [1.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.7]])
    sigma = denoiser.sigma(times, torch.tensor([4, 4, 3]))  # the last row's 0.7 is in its padding
    torch.testing.assert_close(sigma, torch.tensor([math.log(2), math.log(1000), 0.0]))
    t = torch.tensor([0.25, 1.0])
    published = -torch.log1p(-(1 - EPS) * t)
    torch.testing.assert_close(denoiser.sigma(((1 - EPS) * t)[:, None], torch.ones(2)), published)


@pytest.mark.parametrize("t", [0.0, 1e-9, 1.0])
def test_no_time_breaks_a_network(denoisers, name, t):
    denoiser = denoisers[name]
    tokens, times, _ = stored(name)
    assert everywhere(denoiser, tokens, torch.full_like(times, t))[..., : denoiser.states].isfinite().all()


# Families


def test_scores_are_probabilities_over_the_odds_of_noise(denoisers):
    """score_y = p(y) / (e^sigma - 1), from the published scores to the belief that samplers read."""
    tokens, times, published = stored("sedd")
    masks = tokens == denoisers["sedd"].mask_id
    assert 5 < masks.sum() < 30
    p = everywhere(denoisers["sedd"], tokens, times)[masks][:, :-1].exp()
    odds = torch.expm1(-torch.log1p(-times))[masks][:, None]
    torch.testing.assert_close(p / odds, published[masks][:, :-1].exp().double(), rtol=1e-4, atol=1e-7)
    assert denoisers["sedd"].unnormalised and not torch.allclose(p.sum(1), torch.ones(len(p)), atol=0.01)


def test_blocks_see_themselves_and_those_before(denoisers):
    denoiser, length = denoisers["bd3lm"], 12
    assert denoiser.block_length == 4
    tokens = torch.randint(tiny.WORDS, (1, length), generator=torch.Generator().manual_seed(0))
    for fixed in (0, 3, 4, 6):  # a prompt of any length; blocks are counted from its end
        times = torch.full((1, length), 0.5)
        times[:, :fixed] = 0.0
        base = everywhere(denoiser, tokens, times)[0]
        for place in range(length):
            changed = tokens.clone()
            changed[0, place] = (changed[0, place] + 1) % tiny.WORDS
            moved = (everywhere(denoiser, changed, times)[0] - base).abs().amax(1) > 1e-6
            start = (place - fixed) // 4 * 4 + fixed
            assert moved.tolist() == [i >= start for i in range(length)], (fixed, place)


def test_a_text_of_block_diffusion_begins_with_its_token(tmp_path, denoisers):
    """It stands before a text that does not begin with it, as a block of its own, and is answered for by nobody."""
    loaded = load_checkpoint(str(tiny.write("bd3lm", tmp_path / "bd3lm")), device="cpu").denoiser
    tokens, times, lengths, wanted = rows(tiny.WORDS - 1, 8, 11)
    spelled = torch.cat([torch.full((2, 1), 21), tokens], 1)
    more = [torch.cat([torch.zeros(2, 1, dtype=x.dtype), x], 1) for x in (times, wanted)]
    expected = denoisers["bd3lm"](spelled, more[0], lengths + 1, more[1])
    assert torch.equal(loaded(tokens, times, lengths, wanted), expected)
    assert torch.equal(loaded(spelled, more[0], lengths + 1, more[1]), expected)
    assert not torch.equal(denoisers["bd3lm"](tokens, times, lengths, wanted), expected)


def test_one_pass_beside_the_clean_text_is_all_blocks_one_by_one(denoisers):
    denoiser = denoisers["bd3lm"]
    noised, times, lengths, _ = rows(tiny.WORDS + 1, 14, 11, 16)
    clean = rows(tiny.WORDS, 14, 11, 16, seed=4)[0]
    times = torch.full_like(times, 0.5)
    for start in range(0, 16, 4):
        wanted = (torch.arange(16) // 4 == start // 4) & (torch.arange(16) < lengths[:, None])
        canvas = torch.where(torch.arange(16) < start, clean, noised)
        beside = denoiser.beside_clean(noised, clean, times, lengths, wanted)
        torch.testing.assert_close(beside, denoiser(canvas, times, lengths, wanted), rtol=0, atol=1e-5)


def test_uniform_noise_has_no_mask(denoisers):
    denoiser = denoisers["duo"]
    assert (denoiser.states, denoiser.mask_id, denoiser.vocab_size) == (23, 23, 24)
    assert (denoiser.process, denoiser.predicts) == ("uniform", "leave-one-out")
    with pytest.raises(ValueError, match="tokens must be below 23"):
        everywhere(denoiser, torch.full((1, 4), 23), torch.ones(1, 4))
