"""Repair: damage that is counted, and repairs whose outcome is known or worked out from the world's joint."""

import math

import pytest
import torch

from ddemo.errors import InputError
from ddemo.quality.repair import (
    LEAST_LIKELY,
    LEAST_LIKELY_STANDING,
    ORIGINAL,
    UNTOUCHED,
    Damage,
    as_markdown,
    by_doubt,
    by_going_on,
    measure_repair,
    own_probability,
    probability_when_masked,
)
from ddemo.sampling import SamplerConfig
from tests.quality.fakes import FakeJudge, Ignorant, Knowing, with_denoiser


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows_of(checkpoint, texts) -> torch.Tensor:
    return torch.stack([torch.tensor(checkpoint.codec.encode(text)[0]) for text in texts])


@pytest.fixture
def damage(tiny) -> Damage:
    words = (~tiny.codec.never_drawn).nonzero().flatten()
    text = words[torch.randint(len(words), (12, 20), generator=generator(5))]
    return Damage.of(text, 0.15, tiny.codec, generator())


# ---------------------------------------------------------------- damage


def test_so_many_tokens_are_wrong_and_no_special_one_is_put_there(damage, tiny):
    assert damage.count == 3 and (damage.wrong.sum(-1) == 3).all()
    assert torch.equal(damage.tokens != damage.original, damage.wrong)
    put = damage.tokens[damage.wrong]
    assert not tiny.codec.never_drawn[put].any() and not torch.isin(put, tiny.codec.ends).any()
    assert damage.wrong.any(0).sum() > 10, "wherever"


def test_each_other_word_is_equally_likely(world):
    """In a world of ten words, of which nine are wrong."""
    text = torch.full((4000, 6), 4)
    damage = Damage.of(text, 1 / 6, world.codec, generator())
    counts = damage.tokens[damage.wrong].bincount(minlength=10)[:10]
    assert counts[4] == 0
    rest = torch.cat([counts[:4], counts[5:]]).double()
    assert ((rest - 4000 / 9).square() / (4000 / 9)).sum() < 27.9, "chi-squared, 8 degrees of freedom, 0.0005"


def test_a_run_goes_on_from_the_time_at_which_as_many_tokens_are_wrong(world):
    """Under uniform noise on K words, 1 - alpha of the tokens are hit and (1 - alpha)(1 - 1 / K) of them changed."""
    damage = Damage.of(torch.zeros(4, 6, dtype=torch.int64), 0.3, world.codec, generator())
    share = damage.count / 6
    assert damage.time(SamplerConfig("uniform-ancestral"), "uniform") * 0.9 == pytest.approx(share)
    assert damage.time(SamplerConfig("p2"), "absorbing") == pytest.approx(share)
    curved = damage.time(SamplerConfig("uniform-ancestral", schedule="cosine"), "uniform")
    assert (1 - math.sin(math.pi * (1 - curved) / 2)) * 0.9 == pytest.approx(share)
    assert Damage.of(damage.original, 0.99, world.codec, generator()).time(SamplerConfig(), "uniform") == 1.0


def test_the_denoiser_is_told_that_time_and_every_position_is_free(tiny, damage):
    knowing = Knowing(tiny.denoiser, list(damage.original), "uniform", "leave-one-out")
    by_going_on(with_denoiser(tiny, knowing), SamplerConfig("uniform-ancestral"), damage, 6)
    assert len(knowing.times) == 6 and all((times > 0).all() for times in knowing.times)
    (first,) = knowing.times[0].unique().tolist()
    assert first == pytest.approx(damage.time(SamplerConfig(), "uniform"), rel=0.03)
    levels = [float(times[0, 0]) for times in knowing.times]
    assert levels == sorted(levels, reverse=True) and levels[-1] == pytest.approx(levels[0] / 6)


# ---------------------------------------------------------------- ways of repair


@pytest.mark.parametrize("sampler", ["uniform-ancestral", "uniform-joint", "posterior-argmax"])
@pytest.mark.parametrize("draw", ["sample", "argmax"])
def test_uniform_noise_with_one_who_knows_repairs_all(tiny, damage, sampler, draw):
    knowing = with_denoiser(tiny, Knowing(tiny.denoiser, list(damage.original), "uniform", "leave-one-out"))
    work = by_going_on(knowing, SamplerConfig(sampler, draw), damage, 6)
    assert torch.equal(work.tokens, damage.original) and work.nfe == [6] * 12


def test_masks_without_remasking_leave_everything_as_it_is(tiny, damage):
    checkpoint = with_denoiser(tiny, Knowing(tiny.denoiser, list(damage.original)))
    for sampler in ("confidence", "ancestral"):
        work = by_going_on(checkpoint, SamplerConfig(sampler), damage, 6)
        assert torch.equal(work.tokens, damage.tokens) and work.nfe == [0] * 12
    assert checkpoint.denoiser.rows == 0


@pytest.mark.parametrize("draw", ["sample", "argmax"])
def test_path_planning_doubts_what_it_would_write_and_not_what_stands(tiny, damage, draw):
    """One who is sure of every position masks any: right tokens come back, wrong ones only where they were masked."""
    checkpoint = with_denoiser(tiny, Knowing(tiny.denoiser, list(damage.original)))
    work = by_going_on(checkpoint, SamplerConfig("p2", draw), damage, 9)
    assert torch.equal(work.tokens[~damage.wrong], damage.original[~damage.wrong])
    restored = (work.tokens == damage.original)[damage.wrong]
    assert 0 < restored.sum() < len(restored) and 1 < min(work.nfe) <= max(work.nfe) <= 9


def test_path_planning_masks_as_many_as_are_wrong_and_no_more(tiny, damage):
    """Whoever knows nothing keeps rewriting: no step finds more masks than there are wrong tokens."""
    seen = []

    class Watching(Ignorant):
        def __call__(self, tokens, *others):
            seen.append((tokens == self.mask_id).sum(-1))
            return super().__call__(tokens, *others)

    by_going_on(with_denoiser(tiny, Watching(tiny.denoiser)), SamplerConfig("p2"), damage, 9)
    assert (seen[0] == 0).all() and (seen[1] == damage.count).all()
    assert max(int(masks.max()) for masks in seen) == damage.count


@pytest.mark.parametrize(("way", "asked"), [(LEAST_LIKELY, 20), (LEAST_LIKELY_STANDING, 1)])
def test_least_likely_with_one_who_knows_repairs_all_and_counts_every_row(tiny, damage, way, asked):
    checkpoint = with_denoiser(tiny, Knowing(tiny.denoiser, list(damage.original)))
    work = by_doubt(checkpoint, way, damage, steps=2)
    assert torch.equal(work.tokens, damage.original)
    assert work.nfe == [asked + 2] * 12 and checkpoint.denoiser.rows == 12 * (asked + 2)


def test_remasking_by_doubt_is_told_what_the_model_thinks_of_the_tokens(tiny, damage, monkeypatch):
    """ReMDM (confidence) asks how probable each token was when it was written: one call more tells."""
    lanes = []

    def keep(checkpoint, given, together):
        lanes.extend(given)
        return damage.tokens

    checkpoint = with_denoiser(tiny, Knowing(tiny.denoiser, list(damage.original)))
    monkeypatch.setattr("ddemo.quality.repair._run", keep)
    work = by_going_on(checkpoint, SamplerConfig("remdm-conf"), damage, 4)
    assert work.nfe == [1] * 12 == [checkpoint.denoiser.rows // 12] * 12
    for lane, wrong, tokens in zip(lanes, damage.wrong, damage.tokens, strict=True):
        assert torch.equal(lane.decoded, own_probability(checkpoint, tokens))
        assert lane.decoded[wrong].max() < 1e-6 and lane.decoded[~wrong].min() > 0.999


def law_at(world, ids: torch.Tensor, at: int) -> torch.Tensor:
    """[K] of the token at one position given all others, from the joint."""
    given = world.denoiser.world.joint[tuple(slice(None) if i == at else int(token) for i, token in enumerate(ids))]
    return given / given.sum()


def test_probabilities_in_the_exact_world(world, of_world):
    """Each token's, given all others: by Bayes from the joint."""
    for ids in windows_of(world, of_world[:3]):
        by_hand = torch.stack([law_at(world, ids, at)[ids[at]] for at in range(6)])
        torch.testing.assert_close(probability_when_masked(world, ids), by_hand, rtol=1e-5, atol=1e-7)


def test_least_likely_in_the_exact_world_is_bayes_answer(world, of_world):
    """One wrong word: the least probable given the others is masked and becomes the likeliest, by the joint."""
    damage = Damage.of(windows_of(world, of_world), 1 / 6, world.codec, generator(3))
    by_hand = damage.tokens.clone()
    for ids in by_hand:
        worst = min(range(6), key=lambda at, ids=ids: float(law_at(world, ids, at)[ids[at]]))
        ids[worst] = law_at(world, ids, worst).argmax()
    work = by_doubt(world, LEAST_LIKELY, damage, steps=1)
    assert torch.equal(work.tokens, by_hand)
    assert (by_hand == damage.original).all(-1).sum() >= 7, "most sentences of that world forgive one wrong word"


def test_uniform_noise_in_the_exact_world_repairs_more_than_it_spoils(uniform_world, of_world):
    damage = Damage.of(windows_of(uniform_world, of_world).repeat(4, 1), 1 / 6, uniform_world.codec, generator())
    work = by_going_on(uniform_world, SamplerConfig("uniform-ancestral"), damage, 8, together=40)
    restored = (work.tokens == damage.original) & damage.wrong
    spoilt = (work.tokens != damage.original) & ~damage.wrong
    assert restored.sum() / damage.wrong.sum() > 0.6 and spoilt.sum() / (~damage.wrong).sum() < 0.15


# ---------------------------------------------------------------- the measurement


@pytest.fixture(scope="module")
def result(world, of_world):
    """The masked world against itself with uniform noise would need the same tokens, which it has."""
    return measure_repair([world], of_world, FakeJudge(), shares=(1 / 6, 0.5), windows=4, length=6, steps=4, seed=2)


def test_rows_for_each_share(result, world):
    ways = ["confidence", "p2", "p2", "remdm-conf", "remdm-rescale", LEAST_LIKELY, LEAST_LIKELY_STANDING]
    assert [row.by for row in result.rows] == 2 * [ORIGINAL, UNTOUCHED, *ways]
    assert [row.checkpoint for row in result.rows[:3]] == ["", "", world.id]
    untouched, without = result.rows[1], result.rows[2]
    assert untouched.left.number == pytest.approx(1 / 6) and result.rows[0].left.number == 0
    assert (without.restored.number, without.changed.number, without.damaged.number) == (0, 0, 0)
    assert without.nfe.number == 0 and without.texts == untouched.texts and without.left == untouched.left


def test_shares_are_of_what_they_say(result, world):
    """By hand from the texts: the first two rows of a share tell what was wrong."""
    for first in (0, 9):
        original, damaged = (windows_of(world, row.texts) for row in result.rows[first : first + 2])
        wrong = original != damaged
        for row in result.rows[first + 2 : first + 9]:
            after = windows_of(world, row.texts)
            for value, which, among in (
                (row.restored, after == original, wrong),
                (row.changed, after != damaged, wrong),
                (row.damaged, after != original, ~wrong),
            ):
                assert value.number == pytest.approx((which & among).sum().item() / among.sum().item())
            assert row.left.number == pytest.approx((after != original).double().mean().item())


def test_a_uniform_checkpoint_against_a_masked_one(world, uniform_world, of_world):
    told = []
    result = measure_repair(
        [uniform_world, world], of_world, None, (1 / 6,), 3, 6, 4, progress=lambda *pair: told.append(pair)
    )
    assert {row.checkpoint for row in result.rows} == {"", world.id, uniform_world.id}
    assert [one["id"] for one in result.others] == [world.id]
    assert result.rows[2].checkpoint == uniform_world.id and told[-1] == (3 * 24, 3 * 24)
    table = as_markdown(result)
    assert f"and {world.id} {world.revision}." in table and "| 16.6667 % |" in table


def test_the_same_again_in_other_batches(result, world, of_world):
    again = measure_repair([world], of_world, FakeJudge(), (1 / 6, 0.5), 4, 6, 4, seed=2, together=3)
    assert [row.texts for row in again.rows] == [row.texts for row in result.rows]
    other = measure_repair([world], of_world, FakeJudge(), (1 / 6, 0.5), 4, 6, 4, seed=3)
    assert [row.texts for row in other.rows] != [row.texts for row in result.rows]


def test_who_knows_nothing_spoils_what_it_touches(world, of_world):
    ignorant = with_denoiser(world, Ignorant(world.denoiser))
    result = measure_repair([ignorant], of_world, None, (1 / 6,), 10, 6, 6)
    row = next(row for row in result.rows if row.by == "p2" and row.draw == "sample")
    assert row.left.number > 1 / 6


def test_what_cannot_be_compared_is_one_sentence(world, tiny, tiny_latent, of_world, page):
    for checkpoints, documents, given, sentence in (
        ([world, tiny], of_world, {"length": 6}, "have different tokens"),
        ([tiny_latent], page, {}, "gaussian noise, under which no token is right or wrong"),
        ([world], of_world, {"length": 7}, "A window must have 2 to 6 tokens, not 7"),
        ([world], of_world, {"length": 6, "shares": [1.0]}, "must be above 0 and below 1"),
        ([world], of_world, {"length": 6, "steps": 1}, "steps must be at least 2"),
        ([world], of_world, {"length": 6, "windows": 90}, "The text has only 10 paragraphs"),
    ):
        with pytest.raises(InputError, match=sentence):
            measure_repair(checkpoints, documents, None, **given)
    with pytest.raises(InputError, match="has no times to begin at"):
        damage = Damage.of(torch.zeros(2, 6, dtype=torch.int64), 0.2, world.codec, generator())
        by_going_on(world, SamplerConfig("first-hitting"), damage, 4)


def test_what_goes_wrong_in_a_run_is_not_swallowed(tiny, damage):
    class Broken(Knowing):
        def __call__(self, *_):
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        by_going_on(with_denoiser(tiny, Broken(tiny.denoiser, [])), SamplerConfig("p2"), damage, 4)
