"""Three argmaxes on the world of ten sentences: who waits, who is random, and what each ends with."""

import time

import pytest
import torch

from ddemo.processes.curves import CURVES
from ddemo.ui.lab.argmaxes import DRAW, LITERAL, PLUG_IN, VIEW, WAYS, text_of, walk, world


def first_word(way: str, steps: int, seed: int = 0) -> int:
    moments = walk(way, "linear", steps, seed)
    return next(k for k, moment in enumerate(moments, start=1) if (moment.after != world().size).any())


@pytest.mark.parametrize("steps", [2, 8, 64])
def test_the_literal_argmax_waits_for_the_last_step_and_writes_no_sentence(steps):
    assert first_word(LITERAL, steps) == steps
    end = walk(LITERAL, "linear", steps, 0)[-1].after
    assert text_of(end) == "The queen loves his son."
    assert float(world().joint[tuple(end.tolist())]) < 1e-6


def test_the_argmax_draw_sees_each_word_before_the_next_and_needs_no_seed():
    ends = {text_of(walk(DRAW, "linear", 64, seed)[-1].after) for seed in range(5)}
    assert ends == {"The queen loves her son."}
    assert first_word(DRAW, 64) < 64


def test_the_plug_in_is_random_in_its_order_only():
    begins = {first_word(PLUG_IN, 16, seed) for seed in range(20)}
    assert len(begins) > 1
    for moment in walk(PLUG_IN, "linear", 16, 3):
        new = moment.masked & (moment.after != moment.canvas)
        assert torch.equal(moment.after[new], moment.p.argmax(-1)[new])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "d3pm-cosine", "geometric"])
def test_every_step_is_a_law_and_nothing_that_stands_changes(way, schedule):
    for moment in walk(way, schedule, 10, 1):
        for law in (moment.law, moment.plug_in):
            torch.testing.assert_close(law.sum(-1), torch.ones(6, dtype=torch.float64))
        assert torch.equal(moment.after[~moment.masked], moment.canvas[~moment.masked])
    assert not (moment.after == world().size).any()


def test_what_is_shown_are_these_numbers(ask):
    found = ask(VIEW, steps=10, step=4, position=2, schedule="cosine")
    lines = {trace["meta"]: trace["y"] for trace in found["duel"]["figure"]["data"]}
    stays = [CURVES["cosine"].stay((11 - k) / 10, (10 - k) / 10) for k in range(1, 11)]
    assert lines["stays a mask"] == pytest.approx(stays, abs=1e-6)
    bars = {trace["meta"]: trace["y"] for trace in found["law"]["figure"]["data"]}
    assert bars["p(x_s | x_t)"] == pytest.approx(walk(LITERAL, "cosine", 10, 0)[3].law[1].tolist(), abs=1e-6)
    assert [row[0] for row in found["numbers"]["rows"]] == list(WAYS)
    shown = found["texts"]["groups"][0]["rows"][0]["cells"]
    assert [state for _, state in shown].count("mask") == int(found["numbers"]["rows"][0][1])
    assert ask(VIEW, steps=3, step=60)["numbers"] == ask(VIEW, steps=3, step=3)["numbers"]


def test_a_move_of_the_steps_is_answered_at_once(resident):
    def asked(steps: int) -> float:
        begun = time.process_time()
        VIEW.answer({setting.name: setting.default for setting in VIEW.settings} | {"steps": steps}, resident)
        return time.process_time() - begun

    asked(64)  # what a slider's first place pays for all
    assert min(asked(steps) for steps in (63, 62, 61, 60)) < 0.1
