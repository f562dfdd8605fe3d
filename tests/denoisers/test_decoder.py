"""Decoders against their published networks: same logits, whatever the batch, the padding and the blocks.

`stored/decoders.safetensors` holds inputs, and what the families' public networks give for them in float32 with the
weights of `decoder_checkpoints.weights`: LLaDA, iLLaDA and Dream by the classes that are published with their weights
(Dream with its token in front and padding on the left, as its sampler has it), DiffuGPT and DiffuLLaMA by their
repository's network for inference, A2D by dLLM's classes with the masks of dLLM's sampler and trainer.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.decoder_lm import DecoderDenoiser
from tests.denoisers import decoder_checkpoints as tiny

STORED = load_file(Path(__file__).parent / "stored" / "decoders.safetensors")
CLOSE = {"rtol": 0, "atol": 2e-4}
PROMPT = 5  # clean tokens before the noised ones, in the stored case of block diffusion


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory) -> dict[str, DecoderDenoiser]:
    root = tmp_path_factory.mktemp("decoders")
    return {name: load_checkpoint(str(tiny.write(name, root / name)), device="cpu").denoiser for name in tiny.CONFIGS}


@pytest.fixture(params=tiny.CONFIGS)
def name(request) -> str:
    return request.param


def stored(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens [B, L], lengths [B], logits [B, L, K], and times [B, L] that put the blocks where they were."""
    tokens, lengths, logits = (STORED[f"{name}.{part}"] for part in ("tokens", "lengths", "logits"))
    times = torch.full(tokens.shape, 0.5)
    if name.endswith("bd3lm"):
        times[:, :PROMPT] = 0.0
    return tokens, lengths, logits, times


def inside(tokens: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(tokens.shape[1]) < lengths[:, None]


def rows(*lengths: int, seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A padded batch of random letters and masks, each row at its own time, some positions wanted."""
    generator = torch.Generator().manual_seed(seed)
    sizes, shape = torch.tensor(lengths), (len(lengths), max(lengths))
    there = torch.arange(shape[1]) < sizes[:, None]
    tokens = torch.randint(len(tiny.LETTERS), shape, generator=generator).where(there, 0)
    times = torch.rand(len(lengths), generator=generator)[:, None].expand(shape).where(there, 0.0)
    wanted = (torch.rand(shape, generator=generator) < 0.7) & there
    wanted[:, 0] = True
    return tokens, times, sizes, wanted


# Exactness


def test_logits_are_those_of_the_published_network(denoisers, name):
    tokens, lengths, expected, times = stored(name)
    there = inside(tokens, lengths)
    assert expected[there].std() > 0.7  # alike would prove nothing
    assert int((tokens == denoisers[name].mask_id)[there].sum()) > 5
    torch.testing.assert_close(denoisers[name](tokens, times, lengths, there), expected[there], **CLOSE)


def test_the_shift_is_what_makes_them_agree(denoisers, name):
    """So that agreement proves it: read the other way, nothing fits."""
    tokens, lengths, expected, times = stored(name)
    there, denoiser = inside(tokens, lengths), denoisers[name]
    denoiser.shifted = not denoiser.shifted
    try:
        moved = denoiser(tokens, times, lengths, there)
    finally:
        denoiser.shifted = not denoiser.shifted
    assert (moved - expected[there]).abs().max() > 0.5
    assert denoiser.shifted == (name in tiny.SHIFTED)


def test_without_a_token_in_front_the_first_position_answers_for_itself(denoisers):
    """As in Dream's code. A row that begins with the token, or with a turn, has none put before it."""
    denoiser, (tokens, lengths, expected, times) = denoisers["dream"], stored("dream")
    before, denoiser.before = denoiser.before, ()
    try:
        bare = denoiser(tokens[:1], times[:1], lengths[:1], inside(tokens, lengths)[:1])
    finally:
        denoiser.before = before
    torch.testing.assert_close(bare, STORED["dream.bare"][0], **CLOSE)
    spelled = torch.cat([torch.full((3, 1), tiny.AT["begin"]), tokens], 1)
    wanted = torch.cat([torch.zeros(3, 1, dtype=torch.bool), inside(tokens, lengths)], 1)
    given = torch.cat([torch.zeros(3, 1), times], 1)
    logits = denoiser(spelled, given, lengths + 1, wanted)
    torch.testing.assert_close(logits, expected[wanted[:, 1:]], **CLOSE)
    drawn = denoiser(spelled, torch.full(spelled.shape, 0.5), lengths + 1, wanted)  # not the caller's to begin with
    assert (drawn - logits).abs().max() > 0.01


def test_block_diffusion_beside_the_clean_text_is_the_published_training_pass(denoisers):
    tokens, clean, expected = (STORED[f"beside.{part}"] for part in ("tokens", "clean", "logits"))
    lengths, wanted = torch.full((3,), 12), torch.ones_like(tokens, dtype=torch.bool)
    logits = denoisers["a2d-qwen3-bd3lm"].beside_clean(tokens, clean, torch.full((3, 12), 0.5), lengths, wanted)
    torch.testing.assert_close(logits, expected.flatten(0, 1), **CLOSE)


def test_padding_and_company_change_no_bit(denoisers, name):
    denoiser = denoisers[name]
    tokens, times, lengths, wanted = rows(3, 16, 9, 1, 15, 32, 12)
    parts = denoiser(tokens, times, lengths, wanted).split(wanted.sum(1).tolist())
    for row, length in enumerate(lengths.tolist()):
        own = (x[row : row + 1, :length] for x in (tokens, times))
        alone = denoiser(*own, lengths[row : row + 1], wanted[row : row + 1, :length])
        assert torch.equal(parts[row], alone)


def test_a_text_with_and_one_without_its_first_token_share_a_batch(denoisers):
    denoiser = denoisers["dream"]
    tokens, times, lengths, wanted = rows(9, 12, 7)
    tokens[1, 0], times = tiny.AT["turn"], times.clone()
    times[:, 0] = 0.0
    parts = denoiser(tokens, times, lengths, wanted).split(wanted.sum(1).tolist())
    for row, length in enumerate(lengths.tolist()):
        own = (x[row : row + 1, :length] for x in (tokens, times))
        assert torch.equal(parts[row], denoiser(*own, lengths[row : row + 1], wanted[row : row + 1, :length]))


def test_only_the_wanted_positions_are_answered(denoisers, name):
    denoiser = denoisers[name]
    tokens, times, lengths, wanted = rows(12, 12)
    full = denoiser(tokens, times, lengths, torch.ones_like(wanted)).unflatten(0, wanted.shape)
    seen = []
    head = denoiser.model.lm_head
    handle = head.register_forward_hook(lambda module, given, result: seen.append(len(given[0])))
    few = denoiser(tokens, times, lengths, wanted)
    handle.remove()
    assert seen == [-(-int(wanted.sum()) // 16) * 16]  # the vocabulary projection, in strides of 16
    assert few.dtype == torch.float32 and few.shape == (int(wanted.sum()), denoiser.vocab_size)
    torch.testing.assert_close(few, full[wanted], rtol=0, atol=1e-5)
    assert denoiser(tokens, times, lengths, wanted & False).shape == (0, denoiser.vocab_size)


def test_the_longest_canvas_fits_with_the_token_before_it(denoisers, name):
    denoiser = denoisers[name]
    assert denoiser.max_length == tiny.LENGTH - (name in tiny.SHIFTED)
    tokens, times, lengths, wanted = rows(denoiser.max_length)
    assert denoiser(tokens, times, lengths, wanted).isfinite().all()


def test_half_precision_stays_near(tmp_path, denoisers, name):
    loaded = load_checkpoint(str(tiny.write(name, tmp_path / name)), device="cpu", dtype="bfloat16")
    assert loaded.dtype == "bfloat16" and loaded.denoiser.model.dtype == torch.bfloat16
    tokens, lengths, _, times = stored(name)
    there = inside(tokens, lengths)
    exact, near = (x(tokens, times, lengths, there).softmax(-1) for x in (denoisers[name], loaded.denoiser))
    assert near.dtype == torch.float32
    assert 0 < (exact - near).abs().max() < 0.15


# Who looks at whom


@pytest.mark.parametrize("name", [name for name in tiny.CONFIGS if not name.endswith("bd3lm")])
def test_every_position_sees_every_other(denoisers, name):
    denoiser, length = denoisers[name], 6
    tokens = torch.arange(length)[None]
    times, lengths, wanted = torch.full((1, length), 0.5), torch.tensor([length]), torch.ones(1, length).bool()
    base = denoiser(tokens, times, lengths, wanted)
    for place in range(length):
        changed = tokens.clone()
        changed[0, place] = 9
        assert ((denoiser(changed, times, lengths, wanted) - base).abs().amax(1) > 1e-6).all()


def test_blocks_see_themselves_and_those_before(denoisers):
    denoiser, length = denoisers["a2d-qwen3-bd3lm"], 12
    assert denoiser.block_length == 4
    tokens, lengths = torch.arange(length)[None] % 10, torch.tensor([length])
    wanted = torch.ones(1, length, dtype=torch.bool)
    for fixed in (0, 3, 4, 6):  # a prompt of any length; blocks are counted from its end
        times = torch.full((1, length), 0.5)
        times[:, :fixed] = 0.0
        base = denoiser(tokens, times, lengths, wanted)
        for place in range(length):
            changed = tokens.clone()
            changed[0, place] = 10
            moved = (denoiser(changed, times, lengths, wanted) - base).abs().amax(1) > 1e-6
            start = (place - fixed) // 4 * 4 + fixed
            assert moved.tolist() == [i >= start for i in range(length)], (fixed, place)


def test_one_pass_beside_the_clean_text_is_all_blocks_one_by_one(denoisers):
    denoiser = denoisers["a2d-qwen3-bd3lm"]
    noised, times, lengths, _ = rows(14, 11, 16)
    clean = rows(14, 11, 16, seed=4)[0]
    times = torch.full_like(times, 0.5)
    for start in range(0, 16, 4):
        wanted = (torch.arange(16) // 4 == start // 4) & (torch.arange(16) < lengths[:, None])
        canvas = torch.where(torch.arange(16) < start, clean, noised)
        beside = denoiser.beside_clean(noised, clean, times, lengths, wanted)
        torch.testing.assert_close(beside, denoiser(canvas, times, lengths, wanted), rtol=0, atol=1e-4)
