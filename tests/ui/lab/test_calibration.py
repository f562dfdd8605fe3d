"""The calibration view: what is asked, what is measured and shown, what stops it, and whom it cannot measure."""

import json
from types import SimpleNamespace

import pytest

from ddemo.calibration import calibrate
from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.ui.lab.calibration import VIEW, carry_out, shipped_text, windows_of, with_error
from tests.ui.conftest import HeldCheckpoint

TEXT = "The old sailor looked into the sea.\n\nShe took the letter, read it twice."


def values(**settings) -> dict:
    return {setting.name: setting.default for setting in VIEW.settings} | settings


@pytest.fixture(params=["tiny", "exact-world-uniform"])
def held(request, tiny) -> tuple[HeldCheckpoint, str]:
    """A checkpoint and a text that it can read."""
    if request.param == "tiny":
        return HeldCheckpoint(tiny), TEXT
    return HeldCheckpoint(load_checkpoint(request.param, device="cpu")), "The queen loves her son.\n" * 3


def test_what_is_asked_is_told_before_and_measured_after(held):
    checkpoint, text = held
    settings = values(source="own", text=text, times=4, seed=2)
    [row] = json.loads(VIEW.answer(settings, checkpoint)["asked"])["rows"]
    windows, characters = windows_of(settings, checkpoint)
    assert row == [str(len(windows)), str(sum(map(len, windows))), str(sum(characters)), str(4 * len(windows))]
    *_, last = carry_out(settings, checkpoint, lambda: False)
    assert last.said == f"All {len(windows)} windows are measured."
    words = ~checkpoint.codec.never_drawn
    *_, found = calibrate(checkpoint.get().denoiser, windows, characters, 4, 2, words)
    shown = {name: json.loads(value) for name, value in last.shown.items()}
    assert shown["integrand"]["title"] == f"The bound: {with_error(*found.bits_per_char)} bits a character"
    whole = found.reliability()
    points = next(trace for trace in shown["reliability"]["figure"]["data"] if trace["meta"] == "all t")
    assert points["text"] == [count for count, *_ in whole.bins]
    assert points["y"] == pytest.approx([right for *_, right in whole.bins], abs=1e-6)
    counts = next(trace for trace in shown["reliability"]["figure"]["data"] if trace["meta"] == "counts")
    assert counts["y"] == whole.counts.tolist() and sum(counts["y"]) == len(found.confidence) > 0
    bars = next(trace for trace in shown["integrand"]["figure"]["data"] if trace["meta"] == "integrand")
    assert bars["y"] == pytest.approx([bits for bits, _ in found.integrand], abs=1e-6)
    last_row = shown["numbers"]["rows"][-1]
    assert last_row[:2] == ["all t", f"{len(found.confidence):,}"]
    assert last_row[2:4] == [f"{found.confidence.mean():.3f}", f"{found.correct.double().mean():.3f}"]


def test_stopping_keeps_what_was_measured(tiny):
    asked = []
    stop_after = iter([False, False, False, True])
    updates = carry_out(values(times=2), HeldCheckpoint(tiny), lambda: asked.append(0) or next(stop_after))
    *_, last = updates
    assert last.said == f"Stopped after 3 of {len(windows_of(values(), HeldCheckpoint(tiny))[0])} windows."
    assert len(asked) == 4 and set(last.shown) == {"reliability", "integrand", "numbers"}


def test_the_shipped_text_is_a_few_kilobytes_of_whole_sentences():
    lines = shipped_text().splitlines()
    assert 2_000 < len(shipped_text()) < 8_000 and len(lines) > 15
    assert all(line.strip() == line and line[-1] in '.!?"' for line in lines)


def test_who_cannot_be_measured_is_told_in_a_sentence(resident, tiny_latent):
    latent = HeldCheckpoint(tiny_latent)
    with pytest.raises(InputError, match="Gaussian noise on their embeddings"):
        VIEW.answer(values(), latent)
    with pytest.raises(InputError, match="Gaussian noise on their embeddings"):
        next(carry_out(values(), latent, lambda: False))
    with pytest.raises(InputError, match="write some sentences"):
        next(carry_out(values(source="own", text=" \n "), resident, lambda: False))
    assert VIEW.answer(values(source="own", text=""), resident)["text"]["visible"]  # chosen, and not written yet
    with pytest.raises(InputError, match="more than the 400"):
        VIEW.answer(values(source="own", text="sea\n" * 401), resident)
    world = load_checkpoint("exact-world", device="cpu")
    unread = SimpleNamespace(process="absorbing", codec=world.codec, max_length=6)
    with pytest.raises(InputError, match="has no word"):
        VIEW.answer(values(), unread)
