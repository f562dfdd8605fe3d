"""Runs with caches by blocks: stopped, continued, edited, gone through again, in company, and never a stale one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ddemo import rescoring, runs
from ddemo.denoisers import Checkpoint, load_checkpoint
from ddemo.errors import InputError
from ddemo.sampling import Engine, FillRules, Lane, SamplerConfig
from ddemo.sampling.edits import CELL_KEYS
from tests.denoisers import decoder_checkpoints
from tests.sampling.drive import facts, row_of, same

EXACT, SHIFTED, PLAIN = "a2d-qwen3-bd3lm", "dream", "llada"
ALL = [(EXACT, "prefix"), (SHIFTED, "prefix"), (SHIFTED, "dual"), (PLAIN, "prefix"), (PLAIN, "dual")]
TEXT, LENGTH = "abcdefg", 16
BY_BLOCKS = {"steps": 12, "block_length": 4, "seed": 5}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Checkpoint]:
    root = tmp_path_factory.mktemp("runs")
    return {
        name: load_checkpoint(str(decoder_checkpoints.write(name, root / name)), device="cpu")
        for name in (EXACT, SHIFTED, PLAIN)
    }


def finished(checkpoint: Checkpoint, **settings):
    trace = runs.begin(checkpoint, TEXT, LENGTH, SamplerConfig(**BY_BLOCKS | settings))
    list(runs.carry_out(checkpoint, trace))
    assert trace.state == "finished"
    return trace


def probabilities(trace) -> np.ndarray:
    """Of the likeliest tokens, wherever the model was asked."""
    return np.concatenate([frame.probabilities.ravel() for frame in trace.frames])


def assert_alike(trace, other) -> None:
    """The same tokens, frame by frame, of beliefs that are the same but for rounding."""
    for ours, theirs in zip(trace.frames, other.frames, strict=True):
        assert np.array_equal(ours.written, theirs.written) and np.array_equal(ours.tokens, theirs.tokens)
        np.testing.assert_allclose(ours.entropy, theirs.entropy, atol=1e-4)


# ---------------------------------------------------------------- exact or approximate


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"sampler": "threshold", "threshold": 0.3},
        {"sampler": "ancestral", "guidance": 0.5},
        {"sampler": "p2", "steps": 20},
        {"block_length": 8, "end_of_text": "stop"},
        {"block_length": 2, "draw": "argmax", "steps": 16},
        {"block_length": 0},
    ],
    ids=str,
)
def test_under_blocks_of_attention_a_run_is_the_same_with_and_without(checkpoints, settings):
    with_cache, without = (finished(checkpoints[EXACT], **settings, cache=kind) for kind in ("prefix", "none"))
    assert with_cache.nfe == without.nfe and with_cache.checkpoint["caches"] == "exact"
    assert_alike(with_cache, without)


@pytest.mark.parametrize("kind", ["prefix", "dual"])
@pytest.mark.parametrize("name", [SHIFTED, PLAIN])
def test_where_all_see_all_each_blocks_first_step_alone_is_exact(checkpoints, name, kind):
    trace = finished(checkpoints[name], cache=kind)
    assert trace.checkpoint["caches"] == "approximate" and runs.APPROXIMATE in runs.notes(trace)
    denoiser, steps = checkpoints[name].denoiser, 12 // 4
    apart = []
    for frame in trace.frames:
        tokens = trace.tokens_at(frame.step - 1)
        wanted = torch.zeros(len(tokens), dtype=torch.bool)
        wanted[torch.from_numpy(frame.positions).long()] = True
        times = (~trace.segments[0].canvas.fixed).float()
        logits = denoiser(tokens[None], times[None], torch.tensor([len(tokens)]), wanted[None])
        rules = FillRules.of(checkpoints[name].codec)
        p = rules.apply(logits, trace.segments[0].canvas.spacing[wanted], "allow").softmax(-1)
        told = p.gather(1, torch.from_numpy(frame.ids).long()).numpy()
        apart.append(float(np.abs(told - frame.probabilities).max()))
    assert len(apart) == 12 and max(apart[::steps]) < 1e-4
    assert max(apart) > 1e-3, "later ones are not, for these networks are random"


# ---------------------------------------------------------------- company


@pytest.mark.parametrize("name", [EXACT, SHIFTED, PLAIN])
def test_lanes_with_and_without_caches_leave_each_other_alone(checkpoints, name):
    checkpoint, kinds = checkpoints[name], ["none", *checkpoints[name].denoiser.caches.kinds]
    configs = [
        SamplerConfig(sampler, **BY_BLOCKS | {"seed": seed, "cache": kind})
        for seed, (sampler, kind) in enumerate(
            (s, k) for s in ("confidence", "ancestral", "threshold") for k in kinds
        )
    ]
    texts = [(TEXT, LENGTH), ("ab", 8), ("abc[MASK:4]def[MASK:8]", 0)]
    begun = [(*texts[index % 3], config) for index, config in enumerate(configs)]
    alone = [runs.begin(checkpoint, *one) for one in begun]
    for trace in alone:
        list(runs.carry_out(checkpoint, trace))
    for engine in (None, Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec))):
        together = [runs.begin(checkpoint, *one) for one in begun]
        list(runs.carry_out_together(checkpoint, together, engine=engine))
        assert all(same(one.frames, other.frames) for one, other in zip(together, alone, strict=True))


def test_a_lane_that_has_ended_keeps_nothing(checkpoints):
    checkpoint = checkpoints[PLAIN]
    trace = runs.begin(checkpoint, TEXT, LENGTH, SamplerConfig(**BY_BLOCKS, cache="dual"))
    segment = trace.segments[0]
    lane = Lane(segment.canvas, trace.config, segment.clock)
    for _ in Engine(checkpoint.denoiser, FillRules.of(checkpoint.codec)).run([lane]):
        pass
    assert lane.step == 12 and lane.failure is None and lane.caches == []


# ---------------------------------------------------------------- stopped and continued


@pytest.mark.parametrize("name, kind", ALL)
@pytest.mark.parametrize("settings", [{}, {"sampler": "p2"}, {"guidance": 1.0}, {"block_length": 0}], ids=str)
def test_a_run_goes_on_to_the_bit_from_any_step(checkpoints, name, kind, settings):
    whole = finished(checkpoints[name], cache=kind, **settings)
    for step in (1, 4, whole.last_step - 1):
        branch = runs.proceed(checkpoints[name], whole, step, None)
        list(runs.carry_out(checkpoints[name], branch))
        assert same(branch.frames, whole.frames), step


@pytest.mark.parametrize("name, kind", ALL)
def test_a_run_is_gone_through_again_to_the_same_numbers(checkpoints, name, kind):
    trace = finished(checkpoints[name], cache=kind, sampler="ancestral")
    for rows in (16, 3):
        scores = rescoring.final_scores(checkpoints[name], trace, rows=rows)
        compared = 0
        for frame in trace.frames:
            found, _ = scores.at(trace, frame.step)
            end = trace.tokens_at(trace.last_step)[torch.from_numpy(frame.positions).long()].numpy()
            for row, token in enumerate(end):
                if token in frame.ids[row]:
                    compared += 1
                    assert found[row] == frame.probabilities[row][list(frame.ids[row]).index(token)]
        assert compared > 15


def test_the_hazard_is_of_the_whole_canvas(checkpoints):
    """What tokens are worth given each other is asked of the model as it is, whatever cache a run had."""
    trace = finished(checkpoints[PLAIN], cache="dual")
    plain = replace(trace, config=replace(trace.config, cache="none"))
    found, expected = (rescoring.parallel_hazard(checkpoints[PLAIN], one).probability for one in (trace, plain))
    assert np.array_equal(found, expected)


# ---------------------------------------------------------------- edits


def edits_of(row: list[dict], kind: str) -> list[dict]:
    """The row with one edit in front of the block that is being filled, or after it, or inside of it."""
    row = [dict(cell) for cell in row]
    if kind == "delete before":
        return row[1:]
    if kind == "force before":
        row[2] |= {"id": 7}
    elif kind == "mask before":
        row[8] |= {"mask": True}
    elif kind == "new mask after":
        return [*row, {"mask": True}, {"mask": True}]
    elif kind == "lock inside":
        row[8] |= {"lock": True}
    assert set().union(*row) <= CELL_KEYS
    return row


@pytest.mark.parametrize("name, kind", ALL)
@pytest.mark.parametrize("edit", ["delete before", "force before", "mask before", "new mask after", "lock inside"])
def test_an_edit_is_seen_at_once(checkpoints, name, kind, edit):
    """The first step after an edit believes what it would believe without a cache, and so does a run from a file."""
    checkpoint = checkpoints[name]
    first = finished(checkpoint, cache=kind)
    step = 7  # in the third block
    row = edits_of(row_of(first.segments[0].canvas), edit)
    with_cache = runs.proceed(checkpoint, first, step, row)
    assert len(with_cache.segments) == 2
    without = replace(with_cache, config=replace(with_cache.config, cache="none"), frames=list(with_cache.frames))
    again = type(first).from_json(with_cache.to_json())
    for trace in (with_cache, without, again):
        list(runs.carry_out(checkpoint, trace))
        assert trace.state == "finished"
    one, other = (trace.frames[step] for trace in (with_cache, without))
    assert np.array_equal(one.positions, other.positions)
    np.testing.assert_allclose(one.entropy, other.entropy, atol=1e-4)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    assert [facts(frame) for frame in again.frames] == [facts(frame) for frame in with_cache.frames]
    if name == EXACT:
        assert torch.equal(with_cache.tokens_at(with_cache.last_step), without.tokens_at(without.last_step))


@pytest.mark.parametrize("ends", ["stop", "late", "suppress"])
@pytest.mark.parametrize("name, kind", ALL)
def test_what_is_written_around_a_block_is_seen(checkpoints, name, kind, ends):
    """A run that stops at the end of its text fills what stands after the block, and P2 goes on in it."""
    trace = finished(checkpoints[name], cache=kind, sampler="p2", end_of_text=ends, steps=24)
    assert not bool((trace.tokens_at(trace.last_step) == trace.mask_id).any())
    if name == EXACT:
        without = finished(checkpoints[name], cache="none", sampler="p2", end_of_text=ends, steps=24)
        assert_alike(trace, without)


# ---------------------------------------------------------------- what is refused


def test_a_cache_that_cannot_be_kept_is_refused_in_a_sentence(checkpoints, tiny):
    for checkpoint, said in (
        (tiny, "cache must be none for tiny-mdm, not 'prefix': its network keeps no keys and values."),
        (load_checkpoint("exact-world-uniform"), "cache must be none for exact-world-uniform, not 'prefix'"),
    ):
        with pytest.raises(InputError) as refused:
            runs.begin(
                checkpoint, "", 4, SamplerConfig("confidence" if checkpoint is tiny else "flow", cache="prefix")
            )
        assert str(refused.value).startswith(said)
    with pytest.raises(InputError, match=f"^cache must be none or prefix for {EXACT}, not 'dual': nothing after a"):
        runs.begin(checkpoints[EXACT], TEXT, 4, SamplerConfig(cache="dual"))
    with pytest.raises(InputError, match=r"^cache must be one of none, prefix, dual, not 'both'"):
        SamplerConfig(cache="both")
