"""Noise on the visitor's sentence: what is hit, what is shown of it, and the numbers beside it."""

import pytest
import torch

from ddemo.errors import InputError
from ddemo.processes.curves import CURVES
from ddemo.processes.information import expected_changes, expected_hybrid, expected_masks
from ddemo.ui.lab.forward import VIEW, Draw, Sentence, changed, drawable

TEXT = "The old sailor looked [MASK:4] into the sea."


def states(found: dict, group: int) -> list[list[str]]:
    return [[state for _, state in row["cells"]] for row in found["texts"]["groups"][group]["rows"]]


def test_at_the_ends_of_time_nothing_and_everything_is_hit(ask):
    clean, noise = ask(VIEW, text=TEXT, t=0.0), ask(VIEW, text=TEXT, t=1.0)
    for row in states(clean, 0) + states(clean, 1) + states(clean, 2):
        assert set(row) == {"kept", "gap"}
    assert all(set(row) == {"mask", "gap"} for row in states(noise, 0) + states(noise, 2))
    assert all(set(row) <= {"word", "same", "gap"} for row in states(noise, 1))
    shown = "".join(text for text, _ in clean["texts"]["groups"][0]["rows"][0]["cells"])
    assert shown == "The old sailor looked  …  into the sea."


def test_all_columns_are_hit_at_the_same_places_and_later_times_hit_more(ask):
    before: list[set[int]] = [set()] * 3
    for t in (0.2, 0.5, 0.8):
        found = ask(VIEW, text=TEXT, t=t)
        masked = [{at for at, state in enumerate(row) if state == "mask"} for row in states(found, 0)]
        redrawn = [{at for at, state in enumerate(row) if state in ("word", "same")} for row in states(found, 1)]
        assert masked == redrawn
        both = [{at for at, state in enumerate(row) if state in ("mask", "word", "same")} for row in states(found, 2)]
        assert masked == both
        assert all(earlier <= later for earlier, later in zip(before, masked, strict=True))
        before = masked
    assert any(before)


def test_the_numbers_are_those_of_the_processes(ask, resident):
    found = ask(VIEW, text=TEXT, t=0.35, schedule="cosine", draws=2)
    sentence = Sentence.read(TEXT, resident.codec, 64)
    length, words = len(sentence.tokens), int(drawable(resident.codec).sum())
    masks, others, *hybrid = found["numbers"]["rows"]
    assert masks[1].startswith(f"{expected_masks(CURVES['cosine'], 0.35, length):.4g} (")
    assert others[1].startswith(f"{expected_changes(CURVES['cosine'], 0.35, length, words):.4g} (")
    assert [int(cell.split()[0]) for cell in masks[2:]] == [row.count("mask") for row in states(found, 0)]
    assert [int(cell.split()[0]) for cell in others[2:]] == [row.count("word") for row in states(found, 1)]
    expected = expected_hybrid(CURVES["cosine"], 0.35, length, words)
    for row, state, mean in zip(hybrid, ("mask", "word"), expected, strict=True):
        assert row[1].startswith(f"{mean:.4g} (")
        assert [int(cell.split()[0]) for cell in row[2:]] == [cells.count(state) for cells in states(found, 2)]
    rings = next(trace for trace in found["curve"]["figure"]["data"] if trace.get("meta") == "draws")
    assert rings["y"] == [round(1 - row.count("mask") / length, 6) for row in states(found, 0)]
    here = next(trace for trace in found["curve"]["figure"]["data"] if trace.get("meta") == "expected")
    assert here["y"] == [CURVES["cosine"].alpha(0.35)]


def test_the_draws_have_the_law_of_the_process():
    words = torch.ones(5, dtype=torch.bool)
    sentence = Sentence([2] * 20_000, [])
    draw = Draw.of(0, 0, 20_000, words)
    hit = draw.hit(CURVES["quadratic"], 0.3)
    expected = expected_changes(CURVES["quadratic"], 0.3, 20_000, 5)
    deviation = (expected * (1 - expected / 20_000)) ** 0.5
    assert abs(changed(sentence, draw, hit) - expected) < 5 * deviation  # fails by chance once in a million seeds


@pytest.mark.parametrize("t", [0.1, 0.6, 0.95])
def test_hybrid_draws_have_the_law_of_the_process_and_masks_stay(t):
    sentence, curve = Sentence([2] * 20_000, []), CURVES["quadratic"]
    draw = Draw.of(1, 0, 20_000, torch.ones(5, dtype=torch.bool))
    masks = draw.masks("hybrid", curve, t)
    others = changed(sentence, draw, draw.hit(curve, t) & ~masks)
    for found, mean in zip((int(masks.sum()), others), expected_hybrid(curve, t, 20_000, 5), strict=True):
        assert abs(found - mean) < 5 * (mean * (1 - mean / 20_000)) ** 0.5  # by chance once in a million seeds
    assert (draw.masks("hybrid", curve, min(1.0, t + 0.05)) >= masks).all()


def test_noise_draws_words_only(resident):
    words = drawable(resident.codec)
    assert not words[resident.codec.mask_id] and not words[resident.codec.ends].any()
    assert not resident.codec.never_drawn[Draw.of(0, 0, 1000, words).words].any()


@pytest.mark.parametrize(
    ("text", "why"), [("", "write a sentence"), ("[MASK:3]", "write a sentence"), ("sea " * 300, "more than the 64")]
)
def test_a_text_without_words_or_too_long_is_refused(ask, text, why):
    with pytest.raises(InputError, match=why):
        ask(VIEW, text=text)


def test_a_curve_of_many_names_says_them(ask):
    said = ask(VIEW, text=TEXT)["numbers"]["said"]
    assert all(any(name in line for line in said) for name in CURVES["linear"].aliases) and CURVES["linear"].aliases
    assert not any("other names" in line for line in ask(VIEW, text=TEXT, schedule="cosine")["numbers"]["said"])
