"""Between two tokens: the way is that of DDIM, nearest tokens are by brute force, masses are the law's."""

import json
from types import SimpleNamespace

import pytest
import torch

from ddemo.denoisers import load_checkpoint
from ddemo.errors import InputError
from ddemo.processes import LINEAR, gaussian
from ddemo.ui.lab import ddim
from ddemo.ui.lab.ddim import SHARES, VIEW, WRITTEN, carry_out, nearest_rows, scale_of, token_of, way_between
from ddemo.ui.lab.forward import drawable
from ddemo.ui.resident import StoppedWaiting
from tests.ui.conftest import HeldCheckpoint


def values(**settings) -> dict:
    return {setting.name: setting.default for setting in VIEW.settings} | {"last": "fire"} | settings


@pytest.fixture(scope="module")
def table() -> tuple[torch.Tensor, torch.Tensor]:
    """[V, D] and which rows count."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, 6, generator=generator), torch.rand(50, generator=generator) > 0.2


@pytest.mark.parametrize("rows", [7, 1000])
def test_the_nearest_rows_are_those_of_brute_force(table, monkeypatch, rows):
    monkeypatch.setattr(ddim, "ROWS", rows)
    embeddings, meant = table
    points = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    found, distances = nearest_rows(points, embeddings, meant)
    brute = torch.cdist(points, embeddings).masked_fill(~meant, torch.inf).min(-1)
    assert torch.equal(found, brute.indices)
    torch.testing.assert_close(distances, brute.values)
    assert scale_of(embeddings, meant) == pytest.approx(float(embeddings[meant].square().mean().sqrt()))


def test_the_way_is_that_of_ddims_steps(table):
    embeddings, meant = table
    way = way_between(embeddings, meant, (3, 8), SHARES)
    here, before = embeddings[3], 0.0
    for at, share in enumerate(SHARES[1:], start=1):
        here, before = gaussian.step(here, embeddings[8], before, share), share
        torch.testing.assert_close(way.points[at], here, rtol=0, atol=1e-4)
    torch.testing.assert_close(way.distances, torch.cdist(way.points, embeddings[[3, 8]]), rtol=0, atol=1e-4)
    assert way.nearest(0) == (3, 0.0) and way.nearest(len(SHARES) - 1) == (8, 0.0)
    assert not {3, 8} & set(way.others.tolist()) and meant[way.others].all()
    noise = torch.ones(6)
    torch.testing.assert_close(
        way_between(embeddings, meant, (3, 8), [0.0], noise).points[0], noise * scale_of(embeddings, meant)
    )


def test_what_is_shown_is_the_way_and_the_law(tiny):
    held = HeldCheckpoint(tiny)
    shown = {name: json.loads(value) for name, value in VIEW.answer(values(alpha=0.35), held).items()}
    tokens = tuple(token_of(word, tiny.codec) for word in ("sea", "fire"))
    embeddings = tiny.denoiser.token_embeddings()
    assert embeddings.shape == (tiny.denoiser.vocab_size, 32)
    way = way_between(embeddings, drawable(tiny.codec), tokens, [*SHARES, 0.35])
    lines = {trace["meta"]: trace for trace in shown["distances"]["figure"]["data"]}
    assert lines["to fire"]["y"] == pytest.approx(way.distances[:-1, 1].tolist(), abs=1e-5)
    assert lines["to sea here"]["y"] == [pytest.approx(float(way.distances[-1, 0]))]
    assert lines["to the nearest other"]["y"] == pytest.approx(way.other_distances[:-1].tolist(), abs=1e-5)
    masses = {trace["meta"]: trace for trace in shown["masses"]["figure"]["data"]}
    assert masses["fire"]["y"] == pytest.approx([LINEAR.alpha(1 - share) for share in SHARES], abs=1e-6)
    assert masses["sea here"]["y"] == [pytest.approx(0.65)]
    rows = shown["numbers"]["rows"]
    assert len(rows) == len(WRITTEN) + 1 and rows[0][1] == "sea" and rows[-2][1] == "fire"
    discrete = shown["texts"]["groups"][1]["rows"]
    for row in discrete:
        words = [text.strip() for text, _ in row["cells"]]
        assert words[0] == "sea" and words[-1] == "fire" and words == sorted(words, reverse=True)  # turns once


def test_draws_turn_when_the_law_says(tiny):
    """Of 200 seeds and three draws each, the share that has turned by alpha = 0.3: within 5 standard errors."""
    turned = 0
    way = way_between(tiny.denoiser.token_embeddings(), drawable(tiny.codec), (60, 61), SHARES)
    for seed in range(200):
        rows = ddim._texts(way, seed, tiny.codec)[1].rows
        turned += sum(row.cells[3] == row.cells[-1] for row in rows)
    assert abs(turned / 600 - 0.3) < 5 * (0.3 * 0.7 / 600) ** 0.5


def test_families_have_their_tables_and_one_without_says_so(tiny_latent):
    assert tiny_latent.denoiser.token_embeddings().shape == (tiny_latent.denoiser.vocab_size, 8)
    world = HeldCheckpoint(load_checkpoint("exact-world", device="cpu"))
    with pytest.raises(InputError, match="has no embeddings to go through"):
        VIEW.answer(values(), world)  # whose words it does not know either: no others would help


def test_what_is_no_token_or_not_there_yet_is_said_in_a_sentence(tiny):
    held = HeldCheckpoint(tiny)
    for word, why in {"unsinkability": "no single token", " ": "two words", "sea": "same token"}.items():
        with pytest.raises(InputError, match=why):
            VIEW.answer(values(last=word), held)
    waiting = SimpleNamespace(id="slow", codec=tiny.codec, loaded=False, get=held.get)
    with pytest.raises(InputError, match="press Interpolate"):
        VIEW.answer(values(), waiting)
    [update] = carry_out(values(), held, lambda: False)
    assert set(update.shown) == {part.name for part in VIEW.parts}
    with pytest.raises(StoppedWaiting):
        next(carry_out(values(), held, lambda: True))
