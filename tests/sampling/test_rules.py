"""What may be written where: the tables against the decoded tokens, one by one."""

import itertools

import pytest
import torch

from ddemo.sampling import FillRules
from ddemo.sampling.canvas import Spacing

KINDS = [
    sum(flags, Spacing.FREE)
    for count in range(4)
    for flags in itertools.combinations([Spacing.SPACE_FIRST, Spacing.NO_SPACE_FIRST, Spacing.NO_SPACE_LAST], count)
    if not {Spacing.SPACE_FIRST, Spacing.NO_SPACE_FIRST} <= set(flags)  # nothing can be both
]


def allowed(codec, kind: Spacing, token: int) -> bool:
    """The rules in words."""
    shown = codec.decode([token])
    if token == codec.mask_id or token == codec.tokenizer.pad_token_id:
        return False
    if kind & Spacing.SPACE_FIRST and not (shown[:1] == " " and shown[1:2].strip()):
        return False
    if kind & Spacing.NO_SPACE_FIRST and shown[:1].isspace():
        return False
    return not (kind & Spacing.NO_SPACE_LAST and shown[-1:].isspace())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_rule_refuses_what_it_says(tiny, kind):
    codec = tiny.codec
    logits = torch.randn(3, codec.vocab_size, generator=torch.Generator().manual_seed(0))
    spacing = torch.tensor([0, int(kind), int(kind)], dtype=torch.uint8)
    ruled = FillRules.of(codec).apply(logits, spacing)
    for row, rule in enumerate([Spacing.FREE, kind, kind]):
        expected = [allowed(codec, rule, token) for token in range(codec.vocab_size)]
        assert torch.isfinite(ruled[row]).tolist() == expected
        assert any(expected)
        assert torch.equal(ruled[row][expected], logits[row][expected])


def test_rules_leave_the_logits_they_are_given_alone(tiny):
    logits = torch.zeros(2, tiny.codec.vocab_size)
    FillRules.of(tiny.codec).apply(logits, torch.tensor([1, 6], dtype=torch.uint8))
    assert (logits == 0).all()


def test_no_rows_at_all(tiny):
    empty = torch.empty(0, tiny.codec.vocab_size)
    assert FillRules.of(tiny.codec).apply(empty, torch.empty(0, dtype=torch.uint8)).shape == empty.shape


def test_without_a_codec_only_the_mask_is_refused():
    ruled = FillRules.mask_only(5, 2).apply(torch.zeros(1, 5), torch.tensor([7], dtype=torch.uint8))
    assert torch.isfinite(ruled).tolist() == [[True, True, False, True, True]]


def test_a_rule_that_no_token_can_keep_is_given_up_but_the_mask_stays_refused():
    """A vocabulary of characters has no token such as " word"; refusing all would draw from nothing."""
    never = torch.tensor([False, False, True])
    ends = torch.empty(0, dtype=torch.int64)
    rules = FillRules(never, {Spacing.SPACE_FIRST: torch.tensor([True, True, False])}, ends)
    ruled = rules.apply(torch.zeros(1, 3), torch.tensor([int(Spacing.SPACE_FIRST)], dtype=torch.uint8))
    assert torch.isfinite(ruled).tolist() == [[True, True, False]]


@pytest.mark.parametrize("end_of_text, refused", [("allow", 0), ("late", 0), ("stop", 0), ("suppress", 1)])
def test_the_end_of_the_text_is_refused_only_where_it_is_suppressed(tiny, end_of_text, refused):
    codec = tiny.codec
    flat, free = torch.zeros(1, codec.vocab_size), torch.zeros(1, dtype=torch.uint8)
    ruled = FillRules.of(codec).apply(flat, free, end_of_text)
    assert codec.ends.tolist() == [codec.tokenizer.eos_token_id]
    assert torch.isinf(ruled[0, codec.ends]).sum() == refused
    assert torch.isinf(ruled).sum() == codec.never_drawn.sum() + refused
