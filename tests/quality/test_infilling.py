"""Infilling: known answers from a denoiser that knows the text, one that knows nothing, and counts made by hand."""

import math

import pytest
import torch

from ddemo.errors import InputError
from ddemo.quality import held_out
from ddemo.quality.infilling import Counts, as_markdown, measure_infilling, middle
from tests.conftest import SENTENCES
from tests.quality.fakes import FakeJudge, Ignorant, Knowing, with_denoiser

BASELINES = ("commonest token", "drawn by frequency", "likeliest successor")


def of_rows(result, by: str) -> dict:
    """Span -> row."""
    return {row.span: row for row in result.rows if row.by == by}


# ---------------------------------------------------------------- counts


def ids_of(codec, text: str) -> list[int]:
    return codec.encode(text)[0]


def test_counts_by_hand(world):
    """Of two texts: "king" is followed by "loves" twice and by "fears" once, "her" by "son" alone."""
    texts = [" king loves her son king fears", " king loves"]
    counts = Counts.of(world.codec, texts)
    king, loves, her, son, fears = ids_of(world.codec, " king loves her son fears")
    assert counts.tokens[[king, loves, her, son, fears]].tolist() == [3, 2, 1, 1, 1]
    assert counts.tokens.sum() == 8 and counts.commonest == king
    assert counts.following(king, 4).tolist() == [loves, her, son, king]
    assert counts.following(fears, 2).tolist() == [king, loves], "never seen before another: the commonest, and on"
    queen = ids_of(world.codec, " queen")[0]
    assert counts.following(queen, 1).tolist() == [king], "no pair runs across two texts, and none has a queen"


def test_of_equally_frequent_successors_the_first_is_taken(world):
    counts = Counts.of(world.codec, [" king loves", " king fears"])
    king, loves, fears = (ids_of(world.codec, f" {word}")[0] for word in ("king", "loves", "fears"))
    assert counts.following(king, 1).tolist() == [min(loves, fears)]


def test_only_so_many_characters_are_read(world):
    read = []

    def texts():
        for number in range(10):
            read.append(number)
            yield " king"

    counts = Counts.of(world.codec, texts(), characters=15)
    assert (counts.characters, int(counts.tokens.sum()), len(read)) == (15, 3, 3)
    with pytest.raises(InputError, match="no training text"):
        Counts.of(world.codec, [])


def test_tokens_are_drawn_with_their_frequency(world):
    counts = Counts.of(world.codec, [" king" * 3 + " queen"])
    drawn = counts.drawn(4000, torch.Generator().manual_seed(0))
    king, queen = (ids_of(world.codec, f" {word}")[0] for word in ("king", "queen"))
    assert set(drawn.tolist()) == {king, queen}
    share = (drawn == king).double().mean().item()
    assert abs(share - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 4000)


# ---------------------------------------------------------------- the measurement


def test_the_middle():
    assert (middle(9, 1), middle(9, 4), middle(10, 4)) == (slice(4, 5), slice(2, 6), slice(3, 7))


def test_who_knows_the_text_restores_all_of_it(tiny, page):
    different = SENTENCES[:3]
    knowing = with_denoiser(tiny, Knowing(tiny.denoiser, [torch.tensor(ids_of(tiny.codec, s)) for s in different]))
    result = measure_infilling(knowing, different, page, FakeJudge(), spans=(1, 3), sentences=3, context=7)
    for by in ("default", "argmax"):
        for row in of_rows(result, f"{tiny.id}, {by}").values():
            assert (row.restored.number, row.whole.number) == (1.0, 1.0)
            assert row.texts == of_rows(result, "original")[row.span].texts
            assert row.perplexity == of_rows(result, "original")[row.span].perplexity


def test_the_original_is_the_other_end(tiny, page):
    judge = FakeJudge()
    result = measure_infilling(tiny, page, page, judge, spans=(1, 3), sentences=4, context=7)
    for span, row in of_rows(result, "original").items():
        assert row.restored.number == row.whole.number == 1.0 and span in (1, 3)
        assert all(any(text in document for document in page) for text in row.texts)
        sizes = torch.tensor([len(text) for text in row.texts]).double()
        assert row.perplexity.number == pytest.approx(sizes.log().mean().exp().item())


def test_every_way_of_filling_changes_the_span_alone(tiny, page):
    result = measure_infilling(tiny, page, page, None, spans=(3,), sentences=6, context=7)
    assert {row.by for row in result.rows} == {f"{tiny.id}, default", f"{tiny.id}, argmax", *BASELINES, "original"}
    sentences = held_out.sentences(tiny.codec, page, 6, 10, 64, torch.Generator().manual_seed(0))
    for row in result.rows:
        for ids, text in zip(sentences, row.texts, strict=True):
            place = middle(len(ids), 3)
            assert text.startswith(tiny.codec.decode(ids[: place.start].tolist()))
            assert text.endswith(tiny.codec.decode(ids[place.stop :].tolist()))


def test_who_knows_nothing_is_right_by_chance(world, of_world):
    """Uniform over the ten words, which a default setting draws from: one in ten, within five standard errors."""
    count, span = 10, 2
    ignorant = with_denoiser(world, Ignorant(world.denoiser))
    hits = [
        of_rows(
            measure_infilling(
                ignorant, of_world, of_world, None, (span,), sentences=count, seed=1000 * seed, context=4
            ),
            f"{world.id}, default",
        )[span].restored.number
        for seed in range(12)
    ]
    share, tokens = sum(hits) / len(hits), count * span * len(hits)
    assert abs(share - 0.1) < 5 * math.sqrt(0.1 * 0.9 / tokens)


@pytest.mark.parametrize("name", ["world", "uniform_world"])
def test_an_argmax_in_the_exact_world_is_bayes_answer(name, request, of_world):
    """One masked word of each sentence: it comes back where it is the likeliest given the others, by the joint."""
    checkpoint = request.getfixturevalue(name)
    rare = [
        "The queen fears her son.",
        "The king fears his queen.",
        "The son loves his king.",
    ]  # where the verb is not
    texts = of_world + rare
    result = measure_infilling(checkpoint, texts, of_world, None, spans=(1,), sentences=13, context=5)
    found = of_rows(result, f"{checkpoint.id}, argmax")[1]
    joint, right = checkpoint.denoiser.world.joint, 0
    for text in of_rows(result, "original")[1].texts:
        ids = ids_of(checkpoint.codec, text)
        place = middle(6, 1).start
        right += int(joint[tuple(ids[:place])][(slice(None), *ids[place + 1 :])].argmax()) == ids[place]
    assert right == 10
    if name == "world":
        assert found.restored.number == pytest.approx(10 / 13)
    else:  # the reverse process is random on its way, so only nearly all follow the likeliest
        assert abs(found.restored.number - 10 / 13) <= 0.2


def test_latents_fill_too(tiny_latent, page):
    result = measure_infilling(tiny_latent, page, page, None, spans=(2,), sentences=2, context=7)
    assert all(row.restored.number is not None for row in result.rows)
    assert all(row.perplexity.number is None and row.perplexity.why for row in result.rows)


def test_the_same_again_in_other_batches(tiny, page):
    arguments = (tiny, page, page, FakeJudge(), (1, 3), 5, 2, 7)
    one, other = (measure_infilling(*arguments, together=together) for together in (2, 16))
    assert one == other
    assert measure_infilling(*arguments[:6], 3, 7).rows != one.rows


@pytest.mark.parametrize("spans", [(), (0,), (1, 60)])
def test_spans_need_context(tiny, page, spans):
    with pytest.raises(InputError, match="Spans must have 1 to 56 tokens"):
        measure_infilling(tiny, page, page, None, spans)


def test_the_table(tiny, page):
    told = []
    result = measure_infilling(
        tiny, page, page, FakeJudge(), (1, 3), 4, context=7, progress=lambda *pair: told.append(pair)
    )
    lines = as_markdown(result).splitlines()
    assert len([line for line in lines if line.startswith("| 1 |")]) == 6
    assert "| 3 | original | 100.0 ± 0.0 % | 100.0 ± 0.0 % |" in "\n".join(lines)
    assert f"{sum(map(len, page)):,} characters" in lines[-1]
    assert told[-1] == (64, 64)
