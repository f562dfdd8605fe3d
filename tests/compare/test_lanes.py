"""Contests: one canvas for all lanes, costs before they run, and failures that stay where they are."""

from dataclasses import replace

import pytest
import torch

from ddemo import runs
from ddemo.benchmark import held
from ddemo.compare import CostLimit, LanePlan, cost_of, set_up
from ddemo.compare.lanes import CACHE_COPIES, COPIES, GONE_WRONG, in_bytes
from ddemo.compare.questions import QUESTIONS
from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.sampling import Engine, FillRules, SamplerConfig, latents, loop
from tests.conftest import LATENT_DIM
from tests.denoisers import decoder_checkpoints

TEXT = "The old sailor [MASK:6] into the sea."


def plans_of(samples=3, **settings):
    return QUESTIONS["argmax"].plans({"steps": 4} | settings, "absorbing", samples + 1)


def test_lanes_write_what_each_would_write_alone(tiny):
    contest = set_up(tiny, [TEXT], 0, plans_of())
    turns = list(contest.carry_out())
    assert [index for index, _ in turns[0]] == [0, 1, 2, 3]
    for trace, plan in zip(contest.runs, contest.plans, strict=True):
        alone = runs.begin(tiny, TEXT, 0, plan.config)
        list(runs.carry_out(tiny, alone))
        assert torch.equal(trace.tokens_at(trace.last_step), alone.tokens_at(alone.last_step))
        assert trace.state == "finished"
    assert contest.groups() == {"argmax": [0], "samples": [1, 2, 3]}
    assert contest.problems == ["", "", "", ""]


def test_a_lane_without_settings_leaves_its_place_empty(tiny):
    contest = set_up(tiny, [TEXT], 0, [LanePlan("broken", problem="No."), *plans_of(samples=2)])
    assert contest.begun == [1, 2, 3] and contest.problems[0] == "No."
    assert contest.groups() == {"argmax": [0], "samples": [1, 2]}
    assert {index for turn in contest.carry_out() for index, _ in turn} == {1, 2, 3}


def test_when_no_lane_can_begin_the_reason_is_the_first(tiny):
    with pytest.raises(InputError, match=r"^Nothing here\.$"):
        set_up(tiny, [TEXT], 0, [LanePlan("a", problem="Nothing here."), LanePlan("b", problem="Nor here.")])
    with pytest.raises(InputError, match="nothing to fill"):
        set_up(tiny, ["no mask here"], 0, plans_of())


def failing(checkpoint, after):
    """The checkpoint with a denoiser whose answers to one lane are not numbers from some call on."""

    class Denoiser:
        calls = 0

        def __getattr__(self, name):
            return getattr(checkpoint.denoiser, name)

        def __call__(self, *arguments):
            self.calls += 1
            if self.calls > after:
                raise InputError("The device is gone.")
            return checkpoint.denoiser(*arguments)

    return replace(checkpoint, denoiser=Denoiser())


def test_what_was_done_before_a_failure_is_kept(tiny):
    broken = failing(tiny, after=2)
    contest = set_up(broken, [TEXT], 0, plans_of())
    engine = Engine(broken.denoiser, FillRules.of(tiny.codec))
    turns = list(contest.carry_out(engines={broken.id: engine}))
    assert len(turns) == 2
    assert {trace.state for trace in contest.runs} == {"failed"}
    assert {trace.last_step for trace in contest.runs} == {2}
    assert contest.problems == ["The device is gone."] * 4


def test_one_lane_that_fails_does_not_take_the_others(tiny, monkeypatch):
    contest = set_up(tiny, [TEXT], 0, plans_of())
    victim, real = contest.runs[2].config, loop.turn_of

    def turn_of(lane, *arguments):
        if lane.config is victim and lane.step == 1:
            raise RuntimeError("secret")
        return real(lane, *arguments)

    monkeypatch.setattr(loop, "turn_of", turn_of)
    list(contest.carry_out())
    assert [trace.state for trace in contest.runs] == ["finished", "finished", "failed", "finished"]
    assert contest.problems == ["", "", GONE_WRONG, ""]
    assert contest.runs[2].last_step == 1 and contest.runs[3].last_step == 4


def test_stopping_keeps_every_lane_as_it_stood(tiny):
    contest = set_up(tiny, [TEXT], 0, plans_of())
    stops = iter([False, True])
    list(contest.carry_out(stopped=lambda: next(stops)))
    assert {trace.state for trace in contest.runs} == {"stopped"}
    assert {trace.last_step for trace in contest.runs} == {2}


def test_the_cost_counts_tokens_and_what_a_turn_holds(tiny):
    contest = set_up(tiny, [TEXT], 0, plans_of(samples=1))
    cost = cost_of(tiny, contest.runs)
    length = len(contest.runs[0].segments[0].canvas)
    assert (cost.lanes, cost.tokens, cost.turns) == (2, length, 4)
    assert cost.passed == 2 * 4 * length
    assert cost.memory == COPIES * 4 * tiny.denoiser.vocab_size * length * 2 + 2 * 4 * length * (28 + 8 * 5)
    guided = set_up(tiny, [TEXT], 0, plans_of(samples=1, guidance=1.0))
    assert cost_of(tiny, guided.runs).passed == 2 * cost.passed


FRAMES = {  # lanes that ask about every position at each step, and change most
    "masks": SamplerConfig("p2", steps=6),
    "gaussian": SamplerConfig("ddpm", steps=6),
    "gaussian, bare": SamplerConfig("ddpm", steps=6, candidates=0),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_the_cost_covers_what_the_frames_of_a_real_run_hold(kind, tiny, tiny_latent):
    checkpoint, config = tiny if kind == "masks" else tiny_latent, FRAMES[kind]
    trace = runs.begin(checkpoint, "", 20, config)
    told = frames_of(checkpoint, [trace])
    list(runs.carry_out(checkpoint, trace))
    assert 0.85 * told < held(trace.frames) <= told
    assert frames_of(checkpoint, [trace]) == 0, "what is to come"


def test_the_cost_counts_latents_where_the_frames_keep_them(tiny_latent, monkeypatch):
    def begun():
        return runs.begin(tiny_latent, "", 20, SamplerConfig("ddpm", steps=6))

    points = 6 * 20 * LATENT_DIM * 8
    kept = frames_of(tiny_latent, [begun()])
    monkeypatch.setattr(latents, "MOST_KEPT", points)
    assert frames_of(tiny_latent, [begun()]) == kept
    monkeypatch.setattr(latents, "MOST_KEPT", points - 1)
    long = begun()
    assert frames_of(tiny_latent, [long]) == kept - points
    list(runs.carry_out(tiny_latent, long))
    assert {frame.latents for frame in long.frames} == {None}


def test_the_cost_counts_each_lane_as_its_own_checkpoint_makes_it(tiny, tiny_latent):
    traces = [runs.begin(tiny, "", 20, SamplerConfig(steps=6)), runs.begin(tiny_latent, "", 20, FRAMES["gaussian"])]
    each = frames_of(tiny, traces[:1]) + frames_of(tiny_latent, traces[1:])
    assert frames_of(tiny, traces, {tiny_latent.id: tiny_latent}) == each


def frames_of(checkpoint, traces, others=None) -> int:
    """What of the cost are the frames that are to come."""
    cost = cost_of(checkpoint, traces, others or {})
    return cost.memory - COPIES * 4 * checkpoint.denoiser.vocab_size * cost.tokens * len(traces)


def test_more_than_the_machine_holds_is_refused_with_what_fits(tiny):
    whole = cost_of(tiny, set_up(tiny, [TEXT], 0, plans_of()).runs).memory
    with pytest.raises(CostLimit, match=r"4 lanes of .* the first 2 would fit") as refused:
        set_up(tiny, [TEXT], 0, plans_of(), free=int(whole * 1.2))  # half of it may be used
    assert refused.value.fits == 2
    assert len(set_up(tiny, [TEXT], 0, plans_of()[:2], free=int(whole * 1.2)).runs) == 2
    with pytest.raises(CostLimit, match="take a shorter text") as refused:
        set_up(tiny, [TEXT], 0, plans_of(), free=1000)
    assert refused.value.fits == 0


def test_several_texts_have_all_lanes_each(tiny):
    contest = set_up(tiny, [TEXT, "The [MASK:3] sea."], 0, plans_of(samples=2))
    assert contest.groups() == {"argmax": [0, 3], "samples": [1, 2, 4, 5]}
    assert len({len(trace.segments[0].canvas) for trace in contest.runs}) == 2


def test_bytes_for_people():
    assert [in_bytes(n) for n in (10, 2_400_000, 1_500_000_000)] == ["1 MB", "2 MB", "1.5 GB"]
    assert SamplerConfig().candidates == 5  # which the cost of a frame above counts


def test_keys_and_values_that_are_kept_cost_memory(tmp_path):
    checkpoint = load_checkpoint(str(decoder_checkpoints.write("llada", tmp_path / "llada")), device="cpu")
    costs = {}
    for kind in ("none", "dual"):
        plans = [LanePlan("a", config=SamplerConfig(block_length=4, cache=kind, guidance=g)) for g in (0.0, 1.0)]
        costs[kind] = cost_of(checkpoint, set_up(checkpoint, ["abc"], 8, plans).runs).memory
    rows, tokens, layers, of_a_token = 3, 11, decoder_checkpoints.LAYERS, 2 * decoder_checkpoints.WIDTH * 4
    assert costs["dual"] - costs["none"] == CACHE_COPIES * rows * tokens * layers * of_a_token
