"""The comparison of samplers: its numbers against ones worked out another way."""

import json
import math
from dataclasses import replace

import pytest
import torch

from ddemo import metrics, runs, sampler_table
from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.measures import writing
from ddemo.processes.exact import ExactWorld
from ddemo.sampler_table import Task, expected_total_variation, measure_samplers, total_variation
from ddemo.sampling import SamplerConfig
from ddemo.sampling.samplers import of_process

SMALL = Task(prompts=("The old", "It was"), new_tokens=6, steps=3, seeds=(0, 4), together=4)


@pytest.fixture(scope="module")
def report(tiny):
    return measure_samplers(tiny, SMALL)


@pytest.fixture(scope="module")
def world_report():
    task = Task(prompts=("",), new_tokens=6, steps=4, seeds=tuple(range(40)), together=40)
    return measure_samplers(load_checkpoint("exact-world-uniform"), task)


def row_of(report, sampler: str, draw: str) -> dict:
    [row] = [row for row in report["rows"] if (row["sampler"], row["draw"]) == (sampler, draw)]
    return row


def run(checkpoint, prompt: str, task: Task, config: SamplerConfig):
    trace = runs.begin(checkpoint, prompt, task.new_tokens, config)
    list(runs.carry_out(checkpoint, trace))
    return trace


def test_a_row_for_every_sampler_and_the_three_that_are_called_deterministic(report):
    named = [(row["sampler"], row["draw"]) for row in report["rows"]]
    greedy = {"posterior-argmax", "plug-in"}
    assert named[:-2] == [(s.name, "argmax" if s.name in greedy else "sample") for s in of_process("absorbing")]
    assert named[-2:] == [("confidence", "argmax"), ("ancestral", "argmax")]
    assert all(math.isfinite(value) for row in report["rows"] for value in row.values() if isinstance(value, float))
    assert json.loads(json.dumps(report)) == report
    assert "total_variation" not in report["rows"][0] and "total_variation_floor" not in report


@pytest.mark.parametrize(("sampler", "draw"), [("confidence", "sample"), ("p2", "sample"), ("ancestral", "argmax")])
def test_a_row_is_what_single_runs_give(report, tiny, sampler, draw):
    traces = [
        run(tiny, prompt, SMALL, SamplerConfig(sampler, draw, steps=SMALL.steps, seed=seed))
        for prompt in SMALL.prompts
        for seed in SMALL.seeds
    ]
    row, texts = row_of(report, sampler, draw), [writing(trace, tiny.codec) for trace in traces]
    assert row["nfe"] == sum(trace.nfe for trace in traces) / 4
    lengths = [len(text.text) for text in texts]
    words = ~tiny.codec.never_drawn
    bound = metrics.bound(tiny.denoiser, [text.ids for text in texts], lengths, words=words)
    assert row["bits_per_char"] == pytest.approx(bound.bits_per_char, rel=1e-5)
    assert row["bits_per_char_stderr"] == pytest.approx(bound.bits_per_char_stderr, rel=1e-4)
    pairs = [tuple(words[i : i + 2]) for text in texts for words in text.stretches for i in range(len(words) - 1)]
    assert row["distinct_2"] == (len(set(pairs)) / len(pairs) if pairs else None)


def test_distinct_2_counts_pairs_within_what_was_written_and_over_all_texts(tiny, monkeypatch):
    """By hand: "a b a b" has ab ba ab, "b a" has ba: two different ones of four. The prompt takes no part."""
    written = [[["a", "b", "a", "b"]], [["b", "a"]], [["a"]], [[]]]
    texts = iter(written)
    ids = torch.tensor([5, 6, 7])

    def read(trace, codec):
        return replace(writing(trace, codec), stretches=next(texts), ids=ids, text="abc")

    monkeypatch.setattr(sampler_table, "writing", read)
    assert sampler_table._row(tiny, SMALL, "random", "sample")["distinct_2"] == 2 / 4
    texts = iter([[[]]] * 4)
    assert sampler_table._row(tiny, SMALL, "random", "sample")["distinct_2"] is None


def test_one_text_has_no_error_bar(tiny):
    one = replace(SMALL, prompts=("The old",), seeds=(0,))
    row = sampler_table._row(tiny, one, "random", "sample")
    assert row["bits_per_char"] > 0 and row["bits_per_char_stderr"] is None


def test_progress_and_batches(tiny, monkeypatch):
    seen, batches = [], []
    carry_out = runs.carry_out_together
    monkeypatch.setattr(runs, "carry_out_together", lambda *a: (batches.append(len(a[1])), carry_out(*a))[1])
    monkeypatch.setattr(sampler_table, "of_process", lambda process: of_process(process)[:2])
    measure_samplers(tiny, replace(SMALL, together=3), lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert batches == [1, 3, 1, 3, 1, 3, 1], "a warm-up, then four texts three at a time"


def test_what_the_checkpoint_does_not_take(tiny):
    with pytest.raises(InputError, match="takes at most 64"):
        measure_samplers(tiny, replace(SMALL, new_tokens=100))


def test_a_lane_that_fails_is_not_passed_over(tiny, monkeypatch):
    class Broken(type(tiny.denoiser)):
        def __call__(self, *_):
            raise RuntimeError("out of memory")

    broken = object.__new__(Broken)
    broken.__dict__ = dict(tiny.denoiser.__dict__)
    with pytest.raises(RuntimeError, match="out of memory"):
        measure_samplers(replace(tiny, denoiser=broken), SMALL)


# ---------------------------------------------------------------- the exact world


def test_tasks_fit_the_checkpoints(tiny):
    world = load_checkpoint("exact-world-uniform")
    assert sampler_table.task_for(tiny).prompts == sampler_table.OPENINGS and len(set(sampler_table.OPENINGS)) == 8
    task = sampler_table.task_for(world)
    assert task.prompts == ("",) and task.new_tokens == world.denoiser.max_length


def test_samplers_of_uniform_noise(world_report):
    named = [(row["sampler"], row["draw"]) for row in world_report["rows"]]
    assert len(named) == len(of_process("uniform")) + 1 and named[-1] == ("uniform-ancestral", "argmax")
    assert all(0 <= row["total_variation"] <= 1 for row in world_report["rows"])
    assert row_of(world_report, "posterior-argmax", "argmax")["total_variation"] > 0.5, "argmax collapses"
    assert world_report["seeds"] == 40 and world_report["together"] == 40


def test_bits_are_those_of_the_truth(world_report):
    """Runs that all end in one sentence: its own probability, and no error."""
    checkpoint = load_checkpoint("exact-world-uniform")
    world, config = checkpoint.denoiser.world, SamplerConfig("posterior-argmax", steps=4)
    traces = [
        run(checkpoint, "", Task(new_tokens=6), replace(config, seed=seed)) for seed in world_seeds(world_report)
    ]
    nats = [-world.joint[tuple(trace.tokens_at(trace.last_step).tolist())].log().item() for trace in traces]
    letters = [len(checkpoint.codec.decode(trace.tokens_at(trace.last_step).tolist())) for trace in traces]
    row = row_of(world_report, "posterior-argmax", "argmax")
    assert row["bits_per_char"] == pytest.approx(sum(nats) / math.log(2) / sum(letters), rel=1e-12)


def world_seeds(report) -> range:
    return range(report["seeds"])


def tiny_world() -> ExactWorld:
    """Two words, two positions: 0.5, 0.3, 0.1995 and one text that is too rare to be a case of its own."""
    return ExactWorld(torch.tensor([[0.5, 0.3], [0.1995, 0.0005]], dtype=torch.float64))


def test_total_variation_by_hand():
    """Shares 0.5, 0.25, 0 and 0.25 for the rest: half of 0 + 0.05 + 0.1995 + 0.2495."""
    texts = torch.tensor([[0, 0], [0, 0], [0, 1], [1, 1]])
    assert total_variation(tiny_world(), texts) == pytest.approx((0.05 + 0.1995 + 0.2495) / 2)
    assert total_variation(tiny_world(), torch.tensor([[1, 1]])) == pytest.approx(0.9995)


def test_the_distance_that_texts_from_the_truth_have_themselves():
    """The mean over 2,000 draws of 200 texts; its standard error is 0.0004."""
    world, generator = tiny_world(), torch.Generator().manual_seed(0)
    flat = torch.multinomial(world.joint.flatten(), 2000 * 200, replacement=True, generator=generator)
    texts = torch.stack([flat // 2, flat % 2], -1).view(2000, 200, 2)
    mean = sum(total_variation(world, batch) for batch in texts) / 2000
    assert expected_total_variation(world, 200) == pytest.approx(mean, abs=0.002)
