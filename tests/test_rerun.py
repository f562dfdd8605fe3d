"""Runs of latents: gone through again to the bit, continued, edited, and scored."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddemo import rescoring, runs
from ddemo.errors import InputError
from ddemo.rerun import latents_along, latents_of, remembers
from ddemo.sampling import Clock, Engine, FillRules, Lane, SamplerConfig, denoise
from ddemo.sampling import latents as latents_module
from ddemo.trace import Trace
from tests.sampling.drive import facts, row_of

TEXT = "The old sailor [MASK:6] sea, and [MASK:2] at all."
NAMES = ["ddpm", "ddim"]


def finished(checkpoint, name="ddpm", steps=8, text=TEXT, **settings) -> Trace:
    trace = runs.begin(checkpoint, text, 0, SamplerConfig(name, steps=steps, **settings))
    list(runs.carry_out(checkpoint, trace))
    return trace


def free_of(trace: Trace) -> list[int]:
    return (~trace.segments[-1].canvas.fixed).nonzero().flatten().tolist()


def continued(checkpoint, trace: Trace, step: int, cells=None, segment=None, engine=None) -> Trace:
    branch = runs.proceed(checkpoint, trace, step, cells, segment)
    list(runs.carry_out(checkpoint, branch, engine=engine))
    assert branch.state == "finished"
    return branch


def edited_row(trace: Trace, step: int, **edits) -> list[dict]:
    """The row after a step, with `at_3={"mask": True}` and the like."""
    row = row_of(trace.canvas_at(step))
    for name, edit in edits.items():
        row[int(name.removeprefix("at_"))] |= edit
    return row


@pytest.mark.parametrize("settings", [{}, {"name": "ddim"}, {"clamp": "nearest"}, {"temperature": 0.5, "seed": 9}])
def test_each_step_finds_the_latents_that_it_found(tiny_latent, settings):
    """To the bit: those of the run itself, which a trace does not hold."""
    trace = finished(tiny_latent, **settings)
    found = list(latents_along(tiny_latent, Trace.from_json(trace.to_json())))
    segment = trace.segments[0]
    lane = Lane(segment.canvas, trace.config, segment.clock)
    seen = []
    for [(_, frame)] in denoise(tiny_latent.denoiser, [lane], FillRules.of(tiny_latent.codec)):
        assert facts(frame) == facts(trace.frames[frame.step - 1])
        seen.append(lane.latents)
    assert len(found) == len(seen) + 1 == 9
    for before, after in zip(found[1:], seen, strict=True):
        assert torch.equal(before.points, after.points) and torch.equal(before.held, after.held)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [0, 1, 5, 7])
def test_a_run_that_is_continued_goes_on_as_before(tiny_latent, name, step):
    """Alone and in an engine, from the trace's file."""
    trace = finished(tiny_latent, name)
    read = Trace.from_json(trace.to_json())
    engine = Engine(tiny_latent.denoiser, FillRules.of(tiny_latent.codec))
    for use in (None, engine):
        branch = continued(tiny_latent, read, step, engine=use)
        assert [facts(frame) for frame in branch.frames] == [facts(frame) for frame in trace.frames]
        for one, other in zip(branch.frames, trace.frames, strict=True):
            assert all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("distance", "plane"))


def test_at_its_end_nothing_is_left_to_do(tiny_latent):
    trace = finished(tiny_latent)
    with pytest.raises(InputError, match="Nothing is left to do"):
        runs.proceed(tiny_latent, trace, 8, None)
    at = free_of(trace)[0]
    with pytest.raises(InputError, match="Nothing is masked"):
        runs.proceed(tiny_latent, trace, 8, edited_row(trace, 8, **{f"at_{at}": {"text": " grey"}}))


def test_a_word_that_is_masked_at_the_end_is_filled_among_those_that_stand(tiny_latent):
    """It comes out of pure noise, and nothing else moves."""
    trace = finished(tiny_latent, seed=3)
    at = free_of(trace)[2]
    branch = continued(tiny_latent, trace, 8, edited_row(trace, 8, **{f"at_{at}": {"mask": True}}))
    assert branch.segments[-1].clock == Clock(8, 16, 1.0)
    assert branch.segments[-1].kept == tuple(-1 if p == at else p for p in range(len(trace.segments[0].canvas)))
    for frame in branch.frames[8:]:
        assert set(frame.written.tolist()) <= {at}
        others = frame.positions != at
        assert np.array_equal(frame.plane[others], trace.frames[-1].plane[others])
    assert len({frame.plane[frame.positions == at].tobytes() for frame in branch.frames[8:]}) == 8


def test_words_at_an_earlier_time_wait_for_those_that_were_masked(tiny_latent):
    trace = finished(tiny_latent, "ddim")
    at = free_of(trace)[0]
    branch = continued(tiny_latent, trace, 4, edited_row(trace, 4, **{f"at_{at}": {"mask": True}}))
    assert branch.segments[-1].clock == Clock(4, 12, 1.0)
    before = trace.frames[3]
    others = before.positions != at
    for frame in branch.frames[4:8]:  # until the clock is at 1/2 again
        assert np.array_equal(frame.plane[others], before.plane[others])
    assert not np.array_equal(branch.frames[8].plane[others], before.plane[others])


def test_typed_forced_and_locked_words_are_held_and_what_is_let_go_moves_again(tiny_latent):
    trace = finished(tiny_latent, seed=1)
    first, second, *_ = free_of(trace)
    row = edited_row(trace, 3, **{f"at_{first}": {"id": 50}, f"at_{second}": {"lock": True}})
    branch = continued(tiny_latent, trace, 3, row)
    assert branch.segments[-1].clock == Clock(3, 8, 0.625)
    end = branch.tokens_at(8)
    assert int(end[first]) == 50 and int(end[second]) == int(trace.tokens_at(3)[second])
    assert first not in branch.frames[-1].positions
    row = row_of(branch.canvas_at(5))
    row[first]["lock"] = False
    again = continued(tiny_latent, branch, 5, row)
    assert second in again.frames[-1].positions and first not in again.frames[-1].positions
    moved = latents_of(tiny_latent, again).points[second]
    assert not torch.equal(moved, latents_of(tiny_latent, again.cut_at(5, 2)).points[second])


def test_an_edited_run_is_gone_through_again_from_its_file(tiny_latent):
    """Words deleted, typed over several tokens, masked and added: all that moves positions."""
    trace = finished(tiny_latent, seed=4)
    free = free_of(trace)
    row = edited_row(trace, 5, **{f"at_{free[0]}": {"text": " grey chimney"}, f"at_{free[3]}": {"mask": True}})
    branch = continued(tiny_latent, trace, 5, [*row[1:], {"mask": True}])
    read = Trace.from_json(branch.to_json())
    assert read.segments[1].kept == branch.segments[1].kept and -1 in read.segments[1].kept
    again = continued(tiny_latent, read, 9)
    assert [facts(frame) for frame in again.frames] == [facts(frame) for frame in branch.frames]
    assert torch.equal(latents_of(tiny_latent, again).points, latents_of(tiny_latent, branch).points)
    for step in range(5, len(branch.frames)):  # the segment before the edit can still be continued
        assert runs.proceed(tiny_latent, branch, step, None).last_step == step
    other = continued(tiny_latent, branch, 5, None, segment=0)
    assert [facts(frame) for frame in other.frames] == [facts(frame) for frame in trace.frames]


def test_latents_in_memory_are_those_of_the_run_gone_through_again(tiny_latent, monkeypatch):
    """With an edit between, and for a run that is too long for its frames to keep them."""
    trace = finished(tiny_latent, seed=6)
    at = free_of(trace)[1]
    branch = continued(tiny_latent, trace, 4, edited_row(trace, 4, **{f"at_{at}": {"mask": True}}))
    monkeypatch.setattr(latents_module, "MOST_KEPT", 1000)
    long = finished(tiny_latent, seed=6)
    assert remembers(branch) and not remembers(long)
    for known, other in ((branch, Trace.from_json(branch.to_json())), (trace, long)):
        pairs = zip(latents_along(tiny_latent, known), latents_along(tiny_latent, other), strict=True)
        assert all(torch.equal(a.points, b.points) and torch.equal(a.held, b.held) for a, b in pairs)


def test_a_run_that_cannot_be_made_again_says_so(tiny_latent):
    trace = Trace.from_json(finished(tiny_latent).to_json())
    wrong = replace(trace.frames[1], tokens=(trace.frames[1].tokens + 1) % 300)
    bent = replace(trace, frames=[trace.frames[0], wrong, *trace.frames[2:]])
    with pytest.raises(InputError, match="Step 2 of this run comes out otherwise here"):
        latents_of(tiny_latent, bent)
    at = free_of(trace)[0]
    branch = continued(tiny_latent, trace, 3, edited_row(trace, 3, **{f"at_{at}": {"mask": True}}))
    branch.segments[1] = replace(branch.segments[1], kept=())
    with pytest.raises(InputError, match="does not tell what its edits kept"):
        latents_of(tiny_latent, branch)


def test_other_noise_has_no_latents(tiny):
    trace = runs.begin(tiny, TEXT, 0, SamplerConfig(steps=3))
    list(runs.carry_out(tiny, trace))
    assert list(latents_along(tiny, trace)) == [None] * 4 and latents_of(tiny, trace) is None
    assert trace.frames[0].distance.shape == (0,) and trace.frames[0].plane.shape == (0, 2)


def test_final_scores_are_those_of_the_run(tiny_latent):
    trace = finished(tiny_latent, seed=2)
    at = free_of(trace)[1]
    branch = continued(tiny_latent, trace, 6, edited_row(trace, 6, **{f"at_{at}": {"mask": True}}))
    seen = []
    assert rescoring.final_scores_cost(branch) == 14, "frames in memory know their latents"
    remembered = rescoring.final_scores(tiny_latent, branch)
    branch = Trace.from_json(branch.to_json())
    scores = rescoring.final_scores(tiny_latent, branch, rows=3, progress=lambda done, all: seen.append((done, all)))
    assert np.array_equal(scores.rank, remembered.rank)
    assert np.array_equal(scores.probability, remembered.probability)
    assert scores.steps == branch.last_step and seen[-1] == (28, 28) == (rescoring.final_scores_cost(branch),) * 2
    for frame in branch.frames:
        p, rank = scores.at(branch, frame.step)
        last = frame.step == branch.last_step or frame.step == 6
        end = branch.tokens_at(frame.step, 0 if frame.step <= 6 else 1) if last else None
        for row, position in enumerate(frame.positions.tolist()):
            if last and int(rank[row]) <= 5:
                place = frame.ids[row].tolist().index(int(end[position]))
                assert p[row] == pytest.approx(frame.probabilities[row][place], rel=1e-4)
        assert (rank >= 1).all()
    with pytest.raises(InputError, match="gaussian noise, under which a token may change"):
        rescoring.parallel_hazard(tiny_latent, trace)


@pytest.mark.parametrize(
    "damage",
    [
        {"distance": ""}, {"plane": ""}, {"margin": None}, {"distance": "AACAvw=="},
    ],
)  # fmt: skip
def test_damaged_places_are_refused(tiny_latent, damage):
    document = finished(tiny_latent, steps=2).to_json()
    data = json.loads(document)
    frame = data["frames"][1]
    for name, value in damage.items():
        if value is None:
            del frame[name]
        else:
            frame[name] = value
    with pytest.raises(InputError, match="damaged"):
        Trace.from_json(json.dumps(data))
