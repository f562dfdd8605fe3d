"""Going through a run again, held against the exact world, where every number is known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddemo import runs
from ddemo.denoisers import Checkpoint, load_checkpoint
from ddemo.errors import InputError
from ddemo.processes.exact import ExactWorld
from ddemo.rescoring import (
    HAZARDOUS,
    FinalScores,
    Hazard,
    final_scores,
    final_scores_cost,
    hazard_cost,
    parallel_hazard,
)
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.samplers import of_process
from ddemo.trace import Trace

CLOSE = {"rtol": 1e-5, "atol": 1e-7}
TEXT = "The old sailor [MASK:5] into the sea, and said [MASK:7] at all."


@pytest.fixture(scope="module")
def exact() -> Checkpoint:
    return load_checkpoint("exact-world", device="cpu")


@pytest.fixture(scope="module")
def world() -> ExactWorld:
    return ExactWorld.sentences()


def finished(checkpoint: Checkpoint, text: str = TEXT, length: int = 0, **settings) -> Trace:
    trace = runs.begin(checkpoint, text, length, SamplerConfig(**settings))
    list(runs.carry_out(checkpoint, trace))
    return trace


def clashes(hazard: Hazard, trace: Trace, share: float = HAZARDOUS) -> list[dict[str, int]]:
    """For each number of tokens committed together, fewest first: steps that committed so many, their tokens, and how
    many of those are hazardous."""
    found: dict[int, dict[str, int]] = {}
    for frame in trace.frames[: hazard.steps]:
        if together := int(((frame.tokens != trace.mask_id) & (frame.chosen > 0)).sum()):
            row = found.setdefault(together, {"together": together, "commits": 0, "clashing": 0, "steps": 0})
            row["commits"] += together
            row["clashing"] += int(hazard.hazardous(trace, frame.step, share).sum())
            row["steps"] += 1
    return [found[together] for together in sorted(found)]


class Counted:
    """A denoiser that writes down how many rows each of its calls has."""

    def __init__(self, denoiser):
        self._denoiser, self.rows = denoiser, []

    def __getattr__(self, name):
        return getattr(self._denoiser, name)

    def __call__(self, tokens, times, lengths, wanted):
        self.rows.append(len(tokens))
        return self._denoiser(tokens, times, lengths, wanted)


def counted(checkpoint: Checkpoint) -> tuple[Checkpoint, list[int]]:
    other = replace(checkpoint, denoiser=Counted(checkpoint.denoiser))
    return other, other.denoiser.rows


# ---------------------------------------------------------------- final tokens


@pytest.mark.parametrize("sampler", ["confidence", "ancestral", "left-to-right"])
def test_final_scores_are_the_world_s_conditionals(exact, world, sampler):
    trace = finished(exact, "The", 5, sampler=sampler, steps=3, seed=1)
    scores = final_scores(exact, trace)
    end = trace.tokens_at(trace.last_step)
    assert scores.steps == trace.last_step
    checked = 0
    for frame in (frame for frame in trace.frames if frame.fresh):
        before = trace.tokens_at(frame.step - 1)
        law = world.given(before.clamp_max(9), before == exact.codec.mask_id)
        p, rank = scores.at(trace, frame.step)
        for row, position in enumerate(frame.positions.tolist()):
            mine = law[position, end[position]].item()
            assert p[row] == pytest.approx(mine, rel=1e-5)
            assert rank[row] == 1 + int((law[position] > mine * (1 + 1e-6)).sum())
            checked += 1
    assert checked == len(scores.probability) >= 5


@pytest.mark.parametrize("name", [sampler.name for sampler in of_process("absorbing")])
def test_what_a_step_wrote_for_good_was_as_probable_then_as_its_frame_says(tiny, name):
    """For every sampler; candidates that are in the frame have the frame's probability, and their place as rank."""
    trace = finished(tiny, sampler=name, steps=6, seed=2, candidates=10)
    scores = final_scores(tiny, trace)
    scores.check(trace)
    end, agreed = trace.tokens_at(trace.last_step).numpy(), 0
    for frame in (frame for frame in trace.frames if frame.fresh):
        p, rank = scores.at(trace, frame.step)
        chosen = dict(zip(frame.written.tolist(), frame.chosen.tolist(), strict=True))
        wrote = dict(zip(frame.written.tolist(), frame.tokens.tolist(), strict=True))
        for row, position in enumerate(frame.positions.tolist()):
            if wrote.get(position) == end[position]:
                assert p[row] == pytest.approx(chosen[position], rel=1e-5)
                agreed += 1
            place = np.flatnonzero(frame.ids[row] == end[position])
            if len(place):
                assert p[row] == pytest.approx(frame.probabilities[row, place[0]], rel=1e-5)
                assert rank[row] == place[0] + 1
            else:
                assert rank[row] > 10
    late = sum(len(frame.written) for frame in trace.frames if not frame.fresh)  # drawn from an earlier answer
    assert agreed >= 12 - late
    assert agreed > 5 or name == "posterior-argmax"  # which commits all at once, on its first answer


@pytest.mark.parametrize("name", [sampler.name for sampler in of_process("uniform")])
def test_under_uniform_noise_scores_are_those_of_the_frames(name):
    checkpoint = load_checkpoint("exact-world-uniform", device="cpu")
    trace = finished(checkpoint, "The", 5, sampler=name, steps=4, candidates=10)
    scores = final_scores(checkpoint, trace)
    end = trace.tokens_at(trace.last_step).numpy()
    for frame in trace.frames:
        p, rank = scores.at(trace, frame.step)
        assert len(p) == len(rank) == 5
        place = (frame.ids == end[frame.positions, None]).argmax(1)  # ten words, ten candidates: all are there
        np.testing.assert_allclose(p, frame.probabilities[np.arange(5), place], **CLOSE)


def test_guidance_and_rules_are_those_of_the_run(tiny):
    trace = finished(tiny, steps=5, guidance=1.5, end_of_text="suppress", candidates=10)
    checkpoint, rows = counted(tiny)
    scores = final_scores(checkpoint, trace)
    assert sum(rows) == final_scores_cost(trace) == 2 * len(trace.frames)
    for frame in trace.frames:
        p, _ = scores.at(trace, frame.step)
        row = np.searchsorted(frame.positions, frame.written)
        np.testing.assert_allclose(p[row], frame.chosen, **CLOSE)


def test_an_edit_divides_a_run_and_each_part_has_its_own_end(tiny):
    trace = finished(tiny, steps=4, seed=3)
    row = [{"from": position} for position in range(len(trace.segments[0].canvas))]
    masked = trace.segments[0].canvas.masks(trace.mask_id).tolist()
    cells = [*row[: masked[0]], {"from": masked[0], "mask": True}, *row[masked[0] + 1 : masked[-1]]]  # shorter
    branch = runs.proceed(tiny, trace, 4, cells)
    list(runs.carry_out(tiny, branch))
    assert len(branch.segments) == 2 and len(branch.segments[1].canvas) < len(branch.segments[0].canvas)
    scores, before = final_scores(tiny, branch), final_scores(tiny, trace)
    for step in range(1, 5):
        for mine, other in zip(scores.at(branch, step), before.at(trace, step), strict=True):
            np.testing.assert_array_equal(mine, other)
    last = branch.frames[-1]
    np.testing.assert_allclose(scores.at(branch, last.step)[0], last.chosen, **CLOSE)


def test_where_nothing_stands_at_the_end_there_is_no_rank(tiny):
    trace = finished(tiny, steps=6).cut_at(2)
    scores = final_scores(tiny, trace)
    scores.check(trace)
    masks = trace.tokens_at(2) == trace.mask_id
    assert masks.any()
    for frame in trace.frames:
        p, rank = scores.at(trace, frame.step)
        nothing = masks[torch.from_numpy(frame.positions).long()].numpy()
        assert nothing.any() and not nothing.all()
        assert ((rank == 0) == nothing).all() and ((p == 0) == nothing).all()


def test_a_run_without_steps_has_no_scores(tiny):
    trace = runs.begin(tiny, TEXT, 0, SamplerConfig())
    trace.state = "stopped"
    assert final_scores(tiny, trace).steps == parallel_hazard(tiny, trace).steps == 0
    assert final_scores_cost(trace) == hazard_cost(trace) == 0


# ---------------------------------------------------------------- parallel commits


def test_hazard_in_the_exact_world_is_known(exact, world):
    """All at once: each word was drawn from its marginal given "The", and is held against all the others."""
    trace = finished(exact, "The", 5, steps=1, seed=0)
    hazard = parallel_hazard(exact, trace)
    text, (frame,) = trace.tokens_at(1), trace.frames
    joint = world.joint[0]  # the first word is "The"
    marginal = joint / joint.sum()
    expected = []
    for position in range(1, 6):
        others = [slice(None) if i == position else int(text[i]) for i in range(1, 6)]
        law = joint[tuple(others)]
        expected.append((law / law.sum())[text[position]].item())
        alone = marginal.sum([i for i in range(5) if i != position - 1])
        assert frame.chosen[position - 1] == pytest.approx(alone[text[position]].item(), rel=1e-5)
    np.testing.assert_allclose(hazard.at(trace, 1), expected, **CLOSE)
    fell = np.array(expected) < 0.5 * frame.chosen
    np.testing.assert_array_equal(hazard.hazardous(trace, 1), fell)
    assert fell.sum() > 0


def test_the_likeliest_words_of_all_at_once_clash_as_the_world_says(exact, world):
    """ "The queen loves his son." is no sentence of this world. That shows on all of its words, for beside a mistake
    nothing is likely, and most of all on the one that alone would mend it.
    """
    trace = finished(exact, "The", 5, steps=1, draw="argmax")
    assert runs.summary(exact, trace)["text"] == "The queen loves his son."
    hazard = parallel_hazard(exact, trace)
    assert hazard.hazardous(trace, 1).tolist() == [True] * 5
    assert hazard.at(trace, 1).argmin() == 2 and hazard.at(trace, 1)[2] < 1e-6  # " his": "her" was meant
    two = finished(exact, "The", 5, steps=2, draw="argmax")
    assert not any(parallel_hazard(exact, two).hazardous(two, step).any() for step in (1, 2))


def test_one_at_a_time_there_is_no_hazard_and_nothing_is_asked(exact):
    trace = finished(exact, "The", 5, sampler="left-to-right", steps=5, seed=4)
    checkpoint, rows = counted(exact)
    hazard = parallel_hazard(checkpoint, trace)
    assert rows == [] and hazard_cost(trace) == 0
    np.testing.assert_array_equal(hazard.probability, np.concatenate([frame.chosen for frame in trace.frames]))
    assert clashes(hazard, trace) == [{"together": 1, "commits": 5, "clashing": 0, "steps": 5}]


def test_tokens_given_the_others_are_what_the_model_says_of_the_row_with_one_masked(tiny):
    """Also while masks are left and with tokens masked again."""
    trace = finished(tiny, sampler="remdm-cap", steps=5, seed=1, eta=0.5)
    hazard = parallel_hazard(tiny, trace, rows=3)
    compared = 0
    for frame in trace.frames:
        after = trace.tokens_at(frame.step)
        commits = np.flatnonzero(frame.tokens != trace.mask_id)
        for entry in commits if len(commits) > 1 else []:
            wanted = torch.arange(len(after)) == int(frame.written[entry])
            row = after.masked_fill(wanted, trace.mask_id)[None]
            logits = tiny.denoiser(row, torch.zeros(row.shape), torch.tensor([row.shape[1]]), wanted[None])[0]
            logits = logits.masked_fill(tiny.codec.never_drawn, -math.inf)
            allowed = trace.segments[0].canvas.spacing[wanted] == 0
            if allowed:  # elsewhere the rules of spacing renormalise
                expected = logits.softmax(-1)[int(frame.tokens[entry])].item()
                assert hazard.at(trace, frame.step)[entry] == pytest.approx(expected, rel=1e-4)
                compared += 1
    assert compared > 5
    assert any((frame.tokens == trace.mask_id).any() for frame in trace.frames)


def test_a_stricter_share_finds_more(exact):
    trace = finished(exact, "The", 5, steps=1, seed=0)
    hazard = parallel_hazard(exact, trace)
    found = [int(hazard.hazardous(trace, 1, share).sum()) for share in (1e-9, 0.01, 0.5, 1.0)]
    assert found == sorted(found) and found[0] < found[-1]
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match=r"must be in \(0, 1\]"):
            hazard.hazardous(trace, 1, share)


def test_uniform_noise_commits_nothing():
    checkpoint = load_checkpoint("exact-world-uniform", device="cpu")
    trace = finished(checkpoint, "The", 5, sampler="uniform-ancestral", steps=3)
    with pytest.raises(InputError, match="a token may change at every step"):
        parallel_hazard(checkpoint, trace)


def test_what_follows_an_end_of_text_was_not_drawn(tiny):
    """Filled in by the rule, not by the model: it is no commit."""
    trace = finished(ending(tiny), "The old sailor", 20, sampler="left-to-right", end_of_text="stop", steps=7, seed=1)
    filled = [frame.chosen[frame.tokens != trace.mask_id] == 0 for frame in trace.frames]
    assert filled[-1].any()
    asked = sum(len(of) - of.sum() for of in filled if len(of) - of.sum() > 1)
    assert hazard_cost(trace) == asked
    hazard = parallel_hazard(ending(tiny), trace)
    last = trace.last_step
    assert (hazard.at(trace, last)[filled[-1]] == 0).all() and not hazard.hazardous(trace, last)[filled[-1]].any()


def ending(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint that would rather end the text now than not."""

    class Ending(Counted):
        def __call__(self, *arguments):
            favour = torch.zeros(self.vocab_size).index_fill(0, checkpoint.codec.ends, 5.0)
            return super().__call__(*arguments) + favour

    return replace(checkpoint, denoiser=Ending(checkpoint.denoiser))


# ---------------------------------------------------------------- long work


def stops_at(batch: int):
    asked = []

    def stopped() -> bool:
        asked.append(None)
        return len(asked) > batch

    return stopped


@pytest.mark.parametrize("work, cost", [(final_scores, final_scores_cost), (parallel_hazard, hazard_cost)])
def test_batches_progress_and_stops(tiny, work, cost):
    trace = finished(tiny, steps=6)
    whole = work(tiny, trace)
    checkpoint, rows = counted(tiny)
    told = []
    again = work(checkpoint, trace, rows=5, progress=lambda done, total: told.append((done, total)))
    assert sum(rows) == cost(trace) and max(rows) == 5
    assert [done for done, _ in told] == list(np.cumsum(rows)) and told[-1] == (cost(trace), cost(trace))
    np.testing.assert_allclose(again.probability, whole.probability, **CLOSE)
    part = work(tiny, trace, rows=2, stopped=stops_at(2))
    assert 0 < part.steps < trace.last_step
    part.check(trace)
    np.testing.assert_allclose(part.probability, whole.probability[: len(part.probability)], **CLOSE)
    assert np.size(part.at(trace, trace.last_step)) == 0
    nothing = work(tiny, trace, stopped=lambda: True)
    assert nothing.steps == 0 and len(nothing.probability) == 0
    with pytest.raises(InputError, match="rows must be at least 1"):
        work(tiny, trace, rows=0)


@pytest.mark.parametrize("work", [final_scores, parallel_hazard])
def test_only_the_checkpoint_that_made_the_run_can_score_it(tiny, exact, work):
    trace = finished(tiny, steps=3)
    with pytest.raises(InputError, match="made with tiny-mdm, and exact-world is loaded"):
        work(exact, trace)
    other = replace(trace, checkpoint=trace.checkpoint | {"revision": "0" * 12})
    with pytest.raises(InputError, match="made with revision 000000000000 of tiny-mdm"):
        work(tiny, other)
    with pytest.raises(InputError, match="still going on"):
        work(tiny, replace(trace, state="running"))


@pytest.mark.parametrize("work", [final_scores, parallel_hazard])
def test_frames_that_no_run_of_these_settings_made_are_refused(tiny, work):
    trace = finished(tiny, steps=3)
    document = json.loads(trace.to_json())
    document["config"]["block_length"] = 4
    with pytest.raises(InputError, match="Step 1 of this run does not follow from its settings"):
        work(tiny, Trace.from_json(json.dumps(document)))


def test_scores_of_another_run_are_noticed(tiny):
    trace, other = finished(tiny, steps=3), finished(tiny, steps=12)
    scores, hazard = final_scores(tiny, trace), parallel_hazard(tiny, trace)
    for result in (scores, hazard):
        result.check(trace)
        with pytest.raises(ValueError, match="must be of"):
            result.check(other)
        with pytest.raises(ValueError, match="steps must be 0 to 3"):
            replace(result, steps=4).check(trace)
        with pytest.raises(ValueError, match="probabilities"):
            replace(result, probability=result.probability + 2).check(trace)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(SAMPLERS)),
    seed=st.integers(0, 99),
    steps=st.integers(1, 9),
    cut=st.integers(0, 9),
    ends=st.sampled_from(["allow", "suppress"]),
)
def test_every_run_can_be_gone_through_again(tiny, name, seed, steps, cut, ends):
    if "absorbing" not in SAMPLERS[name].processes:
        return
    trace = finished(tiny, sampler=name, steps=steps, seed=seed, end_of_text=ends)
    trace = trace.cut_at(min(cut, trace.last_step))
    scores, hazard = final_scores(tiny, trace), parallel_hazard(tiny, trace)
    assert isinstance(scores, FinalScores) and scores.steps == hazard.steps == trace.last_step
    scores.check(trace)
    hazard.check(trace)


# ---------------------------------------------------------------- kept in the trace


def kept(checkpoint: Checkpoint) -> Trace:
    trace = finished(checkpoint, steps=4, seed=5)
    trace.final_scores, trace.hazard = final_scores(checkpoint, trace), parallel_hazard(checkpoint, trace)
    return trace


def test_a_trace_keeps_scores_to_the_last_bit(tiny):
    trace = kept(tiny)
    again = Trace.from_json(trace.to_json())
    np.testing.assert_array_equal(again.final_scores.probability, trace.final_scores.probability)
    np.testing.assert_array_equal(again.final_scores.rank, trace.final_scores.rank)
    np.testing.assert_array_equal(again.hazard.probability, trace.hazard.probability)
    assert again.to_json() == trace.to_json()
    assert again.cut_at(3).final_scores is again.cut_at(3).hazard is None  # another end, other numbers
    plain = finished(tiny, steps=4)
    assert "hazard" not in json.loads(plain.to_json()) and Trace.from_json(plain.to_json()).hazard is None


@pytest.mark.parametrize(
    "name, damage",
    [
        ("hazard", {"steps": 99}),
        ("hazard", {"steps": "4"}),
        ("hazard", {"probability": "AAAA"}),
        ("hazard", {"probability": ""}),
        ("final_scores", {"rank": ""}),
        ("final_scores", {"rank": None}),
        ("final_scores", {"steps": 1}),
    ],
)
def test_damaged_scores_are_refused(tiny, name, damage):
    document = json.loads(kept(tiny).to_json())
    document[name] |= damage
    with pytest.raises(InputError, match="This trace is damaged"):
        Trace.from_json(json.dumps(document))
