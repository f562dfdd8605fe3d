"""The benchmark's records: what they hold, not how fast anything is."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ddemo import benchmark, runs
from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.sampling import Canvas, Lane, SamplerConfig, denoise, fresh_clock
from ddemo.sampling.frame import ARRAYS
from ddemo.sampling.samplers import of_process
from ddemo.ui.token_canvas.messages import Messages

AT_LENGTHS = {"ms_per_call", "nfe", "tokens_per_second", "share_outside", "first_frame_ms", "bytes_per_frame",
              "bytes_largest_frame", "bytes_per_frame_without"}  # fmt: skip
OF_SAMPLERS = {"ms_per_step", "nfe", "steps", "share_outside", "plain_nfe", "plain_ms_per_step", "times_faster"}
OF_SAMPLERS |= {"times_faster_same_numbers"}


@pytest.fixture(scope="module")
def report(tiny):
    return benchmark.measure(tiny, [4, 12], 8, replace(benchmark.QUICK, repeats=2))


def possible(row, names) -> bool:
    return all(math.isfinite(row[name]) and row[name] > 0 for name in names)


def test_it_says_what_ran_and_is_plain_json(report, tiny):
    assert report["checkpoint"]["id"] == tiny.id and "torch" in report["versions"] and report["threads"] >= 1
    assert json.loads(json.dumps(report)) == report
    assert report["synchronisations_per_step"] is None, "there is no device to wait for"


def test_a_row_for_each_length_and_usual_sampler(report):
    settings = [(row["length"], row["sampler"], row["steps"]) for row in report["rows"]]
    assert settings == [(length, sampler, 8) for length in (4, 12) for sampler in ("confidence", "ancestral")]


def test_numbers_at_each_length_are_possible(report):
    for row in report["rows"]:
        assert set(row) == AT_LENGTHS | {"length", "sampler", "steps"} and possible(row, AT_LENGTHS)
        assert 0 <= row["share_outside"] <= 1
        assert row["bytes_per_frame_without"] < row["bytes_per_frame"] <= row["bytes_largest_frame"]
        total_ms = 1000 * row["length"] / row["tokens_per_second"]
        assert row["ms_per_call"] * row["nfe"] <= total_ms * 1.5, "medians of different runs, so not to the letter"
        assert row["first_frame_ms"] <= total_ms * 1.5


def test_every_sampler_of_the_noise_has_a_row(report):
    assert [row["sampler"] for row in report["samplers"]] == [sampler.name for sampler in of_process("absorbing")]
    for row in report["samplers"]:
        assert set(row) == OF_SAMPLERS | {"sampler", "length", "same_tokens"} and possible(row, OF_SAMPLERS)
        assert 0 <= row["share_outside"] <= 1
        assert row["nfe"] <= row["plain_nfe"] == row["steps"]
        ratio = row["plain_ms_per_step"] / row["ms_per_step"]
        assert row["times_faster"] == pytest.approx(ratio)


def test_the_plain_loop_writes_the_same_where_nothing_is_left_to_rounding(report):
    by_name = {row["sampler"]: row["same_tokens"] for row in report["samplers"]}
    assert by_name["posterior-argmax"] is True, "a deterministic run"
    assert sum(by_name.values()) >= len(by_name) - 1


@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
def test_nfe_is_the_number_of_calls(report, tiny, sampler):
    rows = [row for row in report["rows"] if row["sampler"] == sampler]
    for row in [*rows, next(row for row in report["samplers"] if row["sampler"] == sampler)]:
        trace = runs.begin(tiny, "", row["length"], SamplerConfig(sampler=sampler, steps=8))
        list(runs.carry_out(tiny, trace))
        assert row["nfe"] == trace.nfe


def test_bytes_are_those_of_the_messages_that_the_page_sends(report, tiny):
    config = SamplerConfig(sampler="confidence", steps=8)
    trace = runs.begin(tiny, "", 12, config)
    messages = Messages("benchmark", trace)
    messages.open()
    sizes = [len(messages.frame(frame).encode()) for frame in runs.carry_out(tiny, trace)]
    row = next(row for row in report["rows"] if (row["length"], row["sampler"]) == (12, "confidence"))
    assert row["bytes_largest_frame"] == max(sizes)
    assert row["bytes_per_frame"] == pytest.approx(sum(sizes) / len(sizes))


def test_lanes_that_share_a_batch(report):
    mixed, equal = report["lanes"]["mixed"], report["lanes"]["equal"]
    assert mixed["lanes"] == 16 and (mixed["shortest"], mixed["longest"]) == (4, 8)
    assert 0 <= mixed["share_outside"] <= 1 and mixed["ms_per_turn"] > 0
    assert (equal["lanes"], equal["length"], equal["sampler"]) == (8, 8, "confidence")
    assert equal["gain"] == equal["tokens_per_second"] / equal["of_one"] > 0
    assert equal["turns_per_second"] > 0


def test_time_in_the_denoiser_is_time_in_its_calls(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: float(next(clock)))
    timed = benchmark.TimedDenoiser(lambda *arguments: arguments)
    monkeypatch.setattr(benchmark, "_wait_for", lambda denoiser: None)
    assert timed(1, 2) == (1, 2) and timed(3) == (3,)
    assert (timed.calls, timed.seconds) == (2, 2.0)


def test_the_weights_are_not_hashed_under_the_clock(tiny, monkeypatch):
    under = benchmark.timed(tiny)
    monkeypatch.setattr("hashlib.sha256", lambda *_: pytest.fail("hashed again"))
    assert under.as_dict() == tiny.as_dict()


def test_as_a_table(report):
    by_length, by_sampler, sentences = benchmark.as_table(report).split("\n\n")
    for table, rows in ((by_length, report["rows"]), (by_sampler, report["samplers"])):
        head, *lines = table.splitlines()
        assert "sampler" in head and len(lines) == len(rows) and len({len(line) for line in [head, *lines]}) == 1
        assert all(row["sampler"] in line for row, line in zip(rows, lines, strict=True))
    assert [line.split()[0] for line in sentences.splitlines()] == ["16", "8", "16"]


def test_waiting_for_a_device_is_told(report):
    shown = benchmark.as_table(report | {"synchronisations_per_step": 2.0})
    assert shown.endswith("The host waits for the device 2.0 times a step.")


def test_a_length_that_the_checkpoint_does_not_take(tiny):
    with pytest.raises(InputError, match="takes at most 64"):
        benchmark.measure(tiny, [65], 4, benchmark.QUICK)


def test_a_checkpoint_of_uniform_noise():
    """Lengths that are not given are those that it takes."""
    report = benchmark.measure(load_checkpoint("exact-world-uniform"), None, 3, benchmark.QUICK)
    assert [(row["length"], row["sampler"]) for row in report["rows"]] == [(6, "uniform-ancestral")]
    assert [row["sampler"] for row in report["samplers"]] == [sampler.name for sampler in of_process("uniform")]
    assert all(row["nfe"] == row["steps"] == row["plain_nfe"] for row in report["samplers"]), "it reads the time"


# ---------------------------------------------------------------- memory of a run


def frames_of(denoiser, length: int, config: SamplerConfig, company: int = 0) -> list:
    """Frames of a blank page whose lane shares its batch with `company` others."""
    tokens = torch.full((length,), denoiser.mask_id)
    canvas = Canvas(tokens, torch.zeros(length, dtype=torch.bool), torch.zeros(length, dtype=torch.uint8))
    clock = fresh_clock(canvas, config, denoiser.mask_id)
    lanes = [Lane(canvas, config, clock, number) for number in range(company + 1)]
    return [frame for turn in denoise(denoiser, lanes) for lane, frame in turn if lane is lanes[0]]


def test_a_long_run_stays_under_8_mb_and_does_not_grow_with_the_vocabulary(make_fake):
    """The worst case: every one of 256 positions is asked about at each of 256 steps, with top-5 candidates."""
    config = SamplerConfig("p2", steps=256, candidates=5)
    small, large = (benchmark.held(frames_of(make_fake(vocab, vocab - 1, 256), 256, config)) for vocab in (12, 200))
    assert large == pytest.approx(small, rel=0.02), "what is written differs, and nothing else"
    numbers = 256 * 256 * (1 + 1 + 5 + 5)  # position, entropy, ids, probabilities
    assert 4 * numbers < large < 8e6


def test_a_frame_does_not_keep_the_numbers_of_the_lanes_beside_it(make_fake):
    config = SamplerConfig("confidence", steps=6)
    alone, beside = (benchmark.held(frames_of(make_fake(), 24, config, company)) for company in (0, 5))
    assert alone == beside


def test_held_counts_a_buffer_once_and_whole(make_fake):
    frame = frames_of(make_fake(), 8, SamplerConfig(steps=2))[0]
    buffer = np.zeros(1000, np.float32)
    changed = replace(frame, **{name: np.zeros(0, kind) for name, kind in ARRAYS.items()})
    assert benchmark.held([changed]) == 0
    assert benchmark.held([replace(changed, entropy=buffer[:3], chosen=buffer[5:6])]) == buffer.nbytes


def test_memory_of_the_longest_run(report, tiny):
    trace = runs.begin(tiny, "", 16, SamplerConfig("p2", steps=8))
    list(runs.carry_out(tiny, trace))
    assert report["trace"]["sampler"] == "p2" and (report["trace"]["length"], report["trace"]["steps"]) == (16, 8)
    assert report["trace"]["bytes"] == benchmark.held(trace.frames)
    assert report["trace"]["json_bytes"] == pytest.approx(len(trace.to_json()), abs=40), "but for the seconds"
