"""Prose: rows against texts measured by hand, and cells against single runs."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from ddemo import runs
from ddemo.errors import InputError
from ddemo.measures import distinct_n, words, writing
from ddemo.quality.prose import OF_JUDGE, REAL, as_markdown, grid, measure_prose
from ddemo.sampling import SamplerConfig
from tests.quality.fakes import FakeJudge, Knowing, with_denoiser

CELLS = [SamplerConfig("confidence", steps=4, candidates=0), SamplerConfig("first-hitting", candidates=0)]


@pytest.fixture(scope="module")
def result(tiny, page):
    return measure_prose(tiny, page, FakeJudge(), CELLS, texts=5, length=20, prompt=8, seed=3, together=2)


def test_rows_are_the_real_text_the_judge_and_every_cell(result, tiny):
    assert [row.origin for row in result.rows] == [REAL, OF_JUDGE, tiny.id, tiny.id]
    assert [row.config for row in result.rows] == [None, None, *(replace(cell, seed=3) for cell in CELLS)]
    assert all(len(row.continuations) == 5 for row in result.rows) and len(result.prompts) == 5
    assert json.loads(json.dumps(asdict(result)))["rows"][0]["origin"] == REAL


def test_the_real_text_is_what_stands_in_the_document(result, tiny, page):
    real = result.rows[0]
    for prompt, after in zip(result.prompts, real.continuations, strict=True):
        assert any(prompt + after in text for text in page)
        assert len(tiny.codec.encode(prompt + after)[0]) == len(tiny.codec.encode(prompt)[0]) + 20
    assert real.measures["distinct_2"].number == distinct_n([words(after) for after in real.continuations], 2)
    assert "nfe" not in real.measures and "seconds" not in real.measures


def test_the_judge_writes_as_many_characters_and_reads_whole_texts(result):
    """This judge's perplexity is the number of characters, so that its mean tells what it was given."""
    real, of_judge = result.rows[:2]
    assert [len(text) for text in real.continuations] == [len(text) for text in of_judge.continuations]
    for row in result.rows:
        sizes = [len(p) + len(after) for p, after in zip(result.prompts, row.continuations, strict=True)]
        assert row.measures["perplexity"].number == pytest.approx(torch.tensor(sizes).double().log().mean().exp())
        assert row.measures["characters"].number == pytest.approx(sum(map(len, row.continuations)) / 5)


@pytest.mark.parametrize("place", [0, 1])
def test_a_cell_is_what_single_runs_with_the_next_seeds_give(result, tiny, place):
    row = result.rows[2 + place]
    for index, (prompt, after) in enumerate(zip(result.prompts, row.continuations, strict=True)):
        trace = runs.begin(tiny, prompt, 20, replace(CELLS[place], seed=3 + index))
        list(runs.carry_out(tiny, trace))
        assert writing(trace, tiny.codec).text == prompt + after
    assert row.measures["nfe"].number == (4, 20)[place] and row.measures["nfe"].error == 0


def test_the_same_seed_gives_the_same_and_batches_make_no_difference(result, tiny, page):
    again = measure_prose(tiny, page, FakeJudge(), CELLS, texts=5, length=20, prompt=8, seed=3, together=16)
    assert [row.continuations for row in again.rows] == [row.continuations for row in result.rows]
    other = measure_prose(tiny, page, FakeJudge(), CELLS, texts=5, length=20, prompt=8, seed=4)
    assert other.prompts != result.prompts


def test_who_knows_the_text_writes_the_real_one(tiny, page):
    lines = [torch.tensor(tiny.codec.encode(line)[0]) for text in page for line in text.split("\n")]
    knowing = with_denoiser(tiny, Knowing(tiny.denoiser, lines))
    found = measure_prose(knowing, page, None, CELLS[:1], texts=4, length=6, prompt=14)
    real, written = found.rows
    assert written.continuations == real.continuations
    assert written.measures["distinct_2"] == real.measures["distinct_2"]


def test_repetition_shows_beside_a_low_perplexity(tiny, page):
    """Somebody who says one word for ever: every 4-gram after the first has been there before."""

    class Stubborn(Knowing):
        def __call__(self, tokens, times, lengths, wanted):
            word = tiny.codec.encode(" sea")[0][0]
            return torch.zeros(int(wanted.sum()), self.vocab_size).index_fill(1, torch.tensor([word]), 30.0)

    checkpoint = with_denoiser(tiny, Stubborn(tiny.denoiser, []))
    (_, row) = measure_prose(checkpoint, page, None, CELLS[:1], texts=3, length=20, prompt=8).rows
    count = len(words(row.continuations[0]))
    assert count > 8 and row.measures["repetition"].number == pytest.approx(1 - 1 / (count - 3))
    assert row.measures["distinct_2"].number == pytest.approx(1 / (3 * (count - 1)))


@pytest.mark.parametrize("name", ["uniform_world", "tiny_latent"])
def test_other_noises_have_samplers_of_their_own(name, request, page, of_world):
    checkpoint = request.getfixturevalue(name)
    text, sizes = (page, (12, 6)) if name == "tiny_latent" else (of_world, (4, 2))
    cells = grid(checkpoint.denoiser.process, {"steps": [3], "temperature": [1.0]})
    found = measure_prose(checkpoint, text, None, cells, texts=2, length=sizes[0], prompt=sizes[1])
    assert len(found.rows) == 1 + len(cells) > 2
    assert all(row.measures["nfe"].number >= 3 for row in found.rows[1:])


def test_progress_ends_where_it_said(tiny, page):
    told = []
    measure_prose(
        tiny, page, FakeJudge(), CELLS, texts=3, length=8, prompt=8, progress=lambda *pair: told.append(pair)
    )
    assert told[-1] == (3 * 7, 3 * 7) and [done for done, _ in told] == sorted({done for done, _ in told})


# ---------------------------------------------------------------- the grid


def test_a_setting_that_is_not_read_makes_no_cell_of_its_own():
    cells = grid(
        "absorbing",
        {
            "sampler": ["confidence", "first-hitting"],
            "temperature": [0, 1],
            "top_p": [0.9, 1],
            "steps": [16, 32],
        },
    )
    kinds = {(cell.sampler, cell.temperature, cell.top_p, cell.steps) for cell in cells}
    assert len(cells) == len(kinds)
    assert kinds == {
        ("confidence", 0, 1, 16), ("confidence", 0, 1, 32),
        ("confidence", 1, 0.9, 16), ("confidence", 1, 0.9, 32), ("confidence", 1, 1, 16), ("confidence", 1, 1, 32),
        ("first-hitting", 0, 1, 32), ("first-hitting", 1, 0.9, 32), ("first-hitting", 1, 1, 32),
    }  # fmt: skip


def test_a_grid_on_embeddings_goes_over_what_steps_aim_at_and_how_much_they_draw():
    cells = grid("gaussian", {"temperature": [1], "clamp": ["off", "nearest"], "eta": [0, 0.5]})
    assert [(cell.sampler, cell.clamp, cell.eta) for cell in cells if cell.sampler == "ddim"] == [
        ("ddim", "off", 0), ("ddim", "off", 0.5), ("ddim", "nearest", 0), ("ddim", "nearest", 0.5)
    ]  # fmt: skip
    assert [(cell.sampler, cell.clamp) for cell in cells if cell.sampler == "ddpm"] == [
        ("ddpm", "off"), ("ddpm", "nearest")
    ]  # fmt: skip


@pytest.mark.parametrize("process", ["absorbing", "uniform", "gaussian"])
def test_the_usual_grid_is_of_the_checkpoints_noise(process):
    cells = grid(process)
    assert len({cell.sampler for cell in cells}) > 1
    assert {cell.temperature for cell in cells} == {0, 0.7, 1} and {cell.steps for cell in cells} <= {32, 64}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"sampler": ["magic"]}, "sampler must be one of"),
        ({"sampler": ["uniform-joint"]}, "sampler must be one for absorbing noise"),
        ({"temperature": [-1]}, "temperature must be a number"),
        ({"steps": [0]}, "steps must be a whole number"),
    ],
)
def test_a_grid_that_makes_no_sense_is_one_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        grid("absorbing", values)


def test_what_cannot_be_run_is_said_before_anything_runs(tiny, page):
    told = []
    with pytest.raises(InputError, match="at most 64"):
        measure_prose(tiny, page, None, CELLS, texts=2, length=60, prompt=8, progress=lambda *pair: told.append(pair))
    with pytest.raises(InputError, match="block_length must divide"):
        cells = [CELLS[0], replace(CELLS[0], block_length=7)]
        measure_prose(tiny, page, None, cells, texts=2, length=20, prompt=8, progress=lambda *pair: told.append(pair))
    with pytest.raises(InputError, match="seed must be"):
        measure_prose(tiny, page, None, CELLS, texts=2, seed=-1)
    assert not told


def test_the_table_has_repetition_and_diversity_beside_perplexity(result):
    lines = as_markdown(result).splitlines()
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert head[3:6] == ["judge perplexity", "distinct-2", "rep-4"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:6]]
    assert rows[0][:3] == ["the real text", "", ""] and rows[0][-2:] == ["-", "-"]
    assert rows[2][0] == "LLaDA, low confidence `confidence`" and rows[2][1:3] == ["temperature 1", "4"]
    assert rows[3][2] == "as needed"
    value = result.rows[2].measures["perplexity"]
    assert rows[2][3] == f"{value.number:.1f} ± {value.error:.1f}" and rows[2][-2] == "4.0 ± 0.0"
    assert "fake judge" in lines[-1] and "seed 3" in lines[-1]
