"""Where a run of uniform noise begins: random words in place of masks, and nothing else touched."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddemo.sampling import from_noise
from tests.sampling.drive import CANVASES, MASK, all_masks

WORDS = torch.arange(12) % 3 == 0  # 0, 3, 6 and 9


@given(CANVASES, st.integers(0, 2**53 - 1), st.integers(0, 9), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_only_masks_become_words(canvas, seed, lane, step):
    kept = canvas.tokens.clone()
    begun = from_noise(canvas, MASK, WORDS, seed, lane, step)
    masked = kept == MASK
    assert torch.equal(canvas.tokens, kept)  # the canvas itself stays
    assert torch.equal(begun.tokens[~masked], kept[~masked]) and WORDS[begun.tokens[masked]].all()
    assert torch.equal(begun.fixed, canvas.fixed) and begun.tokens.dtype == torch.int64
    assert torch.equal(from_noise(canvas, MASK, WORDS, seed, lane, step).tokens, begun.tokens)


def test_another_seed_lane_or_step_gives_other_words():
    starts = [(seed, lane, step) for seed in range(4) for lane in range(4) for step in range(4)]
    rows = {tuple(from_noise(all_masks(40), MASK, WORDS, *start).tokens.tolist()) for start in starts}
    assert len(rows) == len(starts)  # of 4^40 possible ones


def test_a_position_keeps_its_word_whatever_else_is_masked():
    """So that lanes of one seed, with other prompts, share their noise."""
    canvas = all_masks(30)
    partly = canvas.with_tokens(torch.where(torch.arange(30) % 2 == 0, 1, canvas.tokens))
    whole, half = (from_noise(start, MASK, WORDS, seed=5).tokens for start in (canvas, partly))
    assert torch.equal(whole[1::2], half[1::2]) and (half[::2] == 1).all()


def test_words_are_uniform():
    """Chi-square of 40,000 words over 4 (3 degrees of freedom) below 21.1: a false alarm once in 10,000 seeds."""
    drawn = torch.cat([from_noise(all_masks(400), MASK, WORDS, seed).tokens for seed in range(100)])
    seen = torch.bincount(drawn, minlength=12)[WORDS].double()
    assert seen.sum() == 40_000 and ((seen - 10_000) ** 2 / 10_000).sum() < 21.1
