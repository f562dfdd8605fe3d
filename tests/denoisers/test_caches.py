"""Caches by blocks: exact where they say so, elsewhere attention to what was kept, and never stale."""

import pytest
import torch
from torch import Tensor
from transformers import Cache, DynamicLayer

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.caches import BOTH_WAYS, BY_BLOCKS, DUAL, NO_CACHES, PREFIX, BlockCache
from tests.denoisers import decoder_checkpoints as tiny
from tests.denoisers import dit_checkpoints

CLOSE = {"rtol": 0, "atol": 1e-4}
BLOCKS, DIT = "a2d-qwen3-bd3lm", "bd3lm"
LOOKING_BOTH_WAYS = [name for name in tiny.CONFIGS if name != BLOCKS]


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory) -> dict:
    root = tmp_path_factory.mktemp("caches")
    written = [*(tiny.write(name, root / name) for name in tiny.CONFIGS), dit_checkpoints.write(DIT, root / DIT)]
    return {path.name: load_checkpoint(str(path), device="cpu").denoiser for path in written}


def canvas(mask_id: int, length: int, prompt: int, block: range, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Letters up to the block, masks from there on; and the block [L] bool."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(len(tiny.LETTERS), (length,), generator=generator)
    places = torch.arange(length)
    tokens[(places >= prompt) & (places >= block.start)] = mask_id
    return tokens, (places >= block.start) & (places < block.stop)


def partly_filled(tokens: Tensor, block: Tensor, seed: int = 1) -> Tensor:
    """The canvas with about half of the block filled."""
    generator = torch.Generator().manual_seed(seed)
    chosen = block & (torch.rand(len(tokens), generator=generator) < 0.5)
    chosen[block.nonzero()[0]] = True
    chosen[block.nonzero()[-1]] = False
    return torch.randint(len(tiny.LETTERS), tokens.shape, generator=generator).where(chosen, tokens)


def ask(denoiser, tokens: Tensor, block: Tensor, prompt: int, cache: BlockCache | None = None) -> Tensor:
    """Logits at the block, of one row."""
    times = (torch.arange(len(tokens)) >= prompt).float() * 0.5
    caches = () if cache is None else ([cache],)
    return denoiser(tokens[None], times[None], torch.tensor([len(tokens)]), block[None], *caches)


@pytest.fixture
def passed(denoisers):
    """How many positions go through a network, pass by pass."""
    seen, handles = [], []
    for name, denoiser in denoisers.items():
        network = denoiser.model if name == DIT else denoiser.model.base_model
        layer = {DIT: "blocks", "diffugpt": "h"}.get(name, "layers")
        layer = getattr(network, layer)[0]
        handles.append(layer.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[1])))
    yield seen
    for handle in handles:
        handle.remove()


# ---------------------------------------------------------------- exact


@pytest.mark.parametrize("prompt", [0, 3, 4, 7])
@pytest.mark.parametrize("length", [2, 4, 6, 8])
@pytest.mark.parametrize("name, size", [(BLOCKS, 30), (DIT, 15)])
def test_with_blocks_of_attention_cached_logits_are_those_without(denoisers, name, size, prompt, length):
    """Whatever blocks the lane is filled in, and through all of them with one cache that grows."""
    denoiser, cut = denoisers[name], size - (size - prompt) % length
    assert prompt < cut <= size <= denoiser.max_length
    assert denoiser.caches == BY_BLOCKS and denoiser.caches.word == "exact"
    cache = None
    for start in range(prompt, cut, length):
        began, block = canvas(denoiser.mask_id, size, prompt, range(start, start + length))
        cache = BlockCache(PREFIX, began, block) if cache is None else cache.following(began, block)
        for tokens in (began, partly_filled(began, block), partly_filled(began, block, 2)):
            expected = ask(denoiser, tokens, block, prompt)
            torch.testing.assert_close(ask(denoiser, tokens, block, prompt, cache), expected, **CLOSE)


def test_finished_blocks_go_through_once_and_later_ones_never(denoisers, passed):
    denoiser, size = denoisers[BLOCKS], 36
    cache = None
    for start in (16, 20, 24):
        began, block = canvas(denoiser.mask_id, size, 16, range(start, start + 4))
        cache = BlockCache(PREFIX, began, block) if cache is None else cache.following(began, block)
        for tokens in (began, partly_filled(began, block)):
            ask(denoiser, tokens, block, 16, cache)
    assert len(cache.held.places) == 24
    assert passed == [16] * 3 + [16] * 3 + [16] * 3, "prompt or last block, then two steps; rounded up to 16"


def test_a_cache_that_grew_is_the_same_to_the_bit_as_one_made_at_once(denoisers):
    denoiser, cache = denoisers[BLOCKS], None
    for start in (5, 9, 13, 17):
        began, block = canvas(denoiser.mask_id, 24, 5, range(start, start + 4))
        cache = BlockCache(PREFIX, began, block) if cache is None else cache.following(began, block)
        tokens = partly_filled(began, block)
        ask(denoiser, began, block, 5, cache)
        grown = ask(denoiser, tokens, block, 5, cache)
        assert torch.equal(grown, ask(denoiser, tokens, block, 5, BlockCache(PREFIX, began, block)))


@pytest.mark.parametrize("place", [0, 6, 9])
def test_what_was_kept_is_not_read_once_the_text_before_the_block_changed(denoisers, place):
    denoiser, prompt = denoisers[BLOCKS], 5
    began, block = canvas(denoiser.mask_id, 24, prompt, range(13, 17))
    cache = BlockCache(PREFIX, began, block)
    ask(denoiser, began, block, prompt, cache)
    changed = began.clone()
    changed[place] = (changed[place] + 1) % len(tiny.LETTERS)
    cache = cache.following(changed, block)
    expected = ask(denoiser, changed, block, prompt)
    assert (expected - ask(denoiser, began, block, prompt)).abs().max() > 1e-3
    torch.testing.assert_close(ask(denoiser, changed, block, prompt, cache), expected, **CLOSE)
    other = ask(denoiser, changed, block, prompt + 1)  # blocks are counted from elsewhere now
    torch.testing.assert_close(ask(denoiser, changed, block, prompt + 1, cache), other, **CLOSE)


def test_a_network_that_is_told_the_time_keeps_nothing(tmp_path, monkeypatch):
    config = dit_checkpoints.CONFIGS[DIT] | {"time_conditioning": True}
    monkeypatch.setitem(dit_checkpoints.CONFIGS, DIT, config)
    denoiser = load_checkpoint(str(dit_checkpoints.write(DIT, tmp_path / DIT)), device="cpu").denoiser
    assert denoiser.takes_time and denoiser.caches == NO_CACHES


# ---------------------------------------------------------------- approximate


class Overwritten(Cache):
    """A pass over a whole canvas in which some positions show the keys and values of another pass."""

    def __init__(self, places: Tensor | None = None, instead: "Overwritten | None" = None):
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.places, self.instead, self.made = places, instead, []

    def update(self, keys, values, layer, *_, **__):
        if self.instead is not None:
            keys, values = keys.clone(), values.clone()
            old_keys, old_values = self.instead.made[layer]
            keys[:, :, self.places], values[:, :, self.places] = (
                old_keys[:, :, self.places],
                old_values[:, :, self.places],
            )
        self.made.append((keys, values))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return query_length, 0


def brute_force(denoiser, tokens: Tensor, began: Tensor, block: Tensor, kind: str) -> Tensor:
    """Logits at the block where every position goes through, and those that are kept are seen as they were."""
    lead, shift = len(denoiser.before), int(denoiser.shifted)
    front = torch.tensor(denoiser.before, dtype=torch.int64)
    now, then = (torch.cat([front, x])[None] for x in (tokens, began))
    inside = block.nonzero().squeeze(-1) + lead
    places = torch.arange(now.shape[1])
    kept = places < int(inside[0]) - shift
    if kind == DUAL:
        kept |= places > int(inside[-1])
    first = Overwritten()
    with torch.inference_mode():
        denoiser.model.base_model(input_ids=then, position_ids=places[None], past_key_values=first, use_cache=True)
        second = Overwritten(kept.nonzero().squeeze(-1), first)
        given = {"input_ids": now, "position_ids": places[None], "past_key_values": second, "use_cache": True}
        x = denoiser.model.base_model(**given)[0][0]
        return denoiser.model.lm_head(x[inside - shift])


@pytest.mark.parametrize("kind", [PREFIX, DUAL])
@pytest.mark.parametrize("name", LOOKING_BOTH_WAYS)
@pytest.mark.parametrize("start", [5, 13])
def test_attention_is_paid_to_what_was_kept(denoisers, name, kind, start):
    denoiser = denoisers[name]
    assert denoiser.caches == BOTH_WAYS and denoiser.caches.word == "approximate"
    began, block = canvas(denoiser.mask_id, 29, 5, range(start, start + 8))
    tokens, cache = partly_filled(began, block), BlockCache(kind, began, block)
    full = ask(denoiser, tokens, block, 5)
    first = ask(denoiser, began, block, 5, cache)
    torch.testing.assert_close(first, ask(denoiser, began, block, 5), **CLOSE)
    found = ask(denoiser, tokens, block, 5, cache)
    torch.testing.assert_close(found, brute_force(denoiser, tokens, began, block, kind), **CLOSE)
    assert (found - full).abs().max() > 1e-3, "it is approximate"


@pytest.mark.parametrize("kind", [PREFIX, DUAL])
@pytest.mark.parametrize("name", LOOKING_BOTH_WAYS)
def test_a_cache_of_the_canvas_as_it_stands_is_none(denoisers, name, kind):
    """Refreshed at each step it changes nothing: kept keys and values, beside the block, are the whole."""
    denoiser = denoisers[name]
    began, block = canvas(denoiser.mask_id, 27, 6, range(10, 18))
    for tokens in (began, partly_filled(began, block)):
        cache, expected = BlockCache(kind, tokens, block), ask(denoiser, tokens, block, 6)
        torch.testing.assert_close(ask(denoiser, tokens, block, 6, cache), expected, **CLOSE)
        torch.testing.assert_close(ask(denoiser, tokens, block, 6, cache), expected, **CLOSE)


@pytest.mark.parametrize("kind", [PREFIX, DUAL])
@pytest.mark.parametrize("name", LOOKING_BOTH_WAYS)
def test_a_cache_that_is_made_again_inside_the_block_is_the_same_to_the_bit(denoisers, name, kind):
    denoiser = denoisers[name]
    began, block = canvas(denoiser.mask_id, 27, 6, range(10, 18))
    tokens, cache = partly_filled(began, block), BlockCache(kind, began, block)
    ask(denoiser, began, block, 6, cache)
    went_on = ask(denoiser, tokens, block, 6, cache)
    assert torch.equal(went_on, ask(denoiser, tokens, block, 6, BlockCache(kind, began, block)))


@pytest.mark.parametrize("kind, rows", [(PREFIX, 32), (DUAL, 16)])
def test_only_the_block_and_under_a_prefix_cache_what_follows_go_through(denoisers, passed, kind, rows):
    denoiser = denoisers["llada"]
    began, block = canvas(denoiser.mask_id, 44, 6, range(16, 24))
    cache = BlockCache(kind, began, block)
    for tokens in (began, partly_filled(began, block), partly_filled(began, block, 2)):
        ask(denoiser, tokens, block, 6, cache)
    assert passed == [48, rows, rows]
    assert len(cache.held.places) == (16 if kind == PREFIX else 36)


@pytest.mark.parametrize("name", [*tiny.CONFIGS, DIT])
def test_what_is_kept_has_the_bytes_that_were_estimated(denoisers, name):
    denoiser = denoisers[name]
    began, block = canvas(denoiser.mask_id, 15, 4, range(8, 12))
    cache = BlockCache(PREFIX, began, block)
    ask(denoiser, began, block, 4, cache)
    numbers = cache.held.numbers
    assert numbers.nbytes == numbers.untyped_storage().nbytes() == denoiser.kept_bytes * len(cache.held.places)


# ---------------------------------------------------------------- company


@pytest.mark.parametrize("name", [*tiny.CONFIGS, DIT])
def test_company_changes_no_bit(denoisers, name):
    """Rows of several lengths, blocks and kinds, with and without a cache, fresh and under way."""
    denoiser = denoisers[name]
    kinds = denoiser.caches.kinds
    rows, expected = [], []
    sizes = [(24, 8, 4), (31, 12, 8), (24, 8, 4), (16, 4, 12), (40, 20, 8)]
    for index, (size, start, length) in enumerate(sizes if name != DIT else [(12, 8, 4), (15, 4, 8), (9, 5, 4)]):
        began, block = canvas(denoiser.mask_id, size, 4, range(start, start + length), index)
        kind = kinds[index % len(kinds)] if index != 2 else None
        tokens = partly_filled(began, block) if index % 2 else began
        alone = BlockCache(kind, began, block) if kind else None
        expected.append(ask(denoiser, tokens, block, 4, alone))
        rows.append((tokens, block, BlockCache(kind, began, block) if kind else None))
    longest = max(len(tokens) for tokens, _, _ in rows)
    shape = (len(rows), longest)
    tokens, wanted = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    lengths = torch.tensor([len(row) for row, _, _ in rows])
    for index, (row, block, _) in enumerate(rows):
        tokens[index, : len(row)], wanted[index, : len(row)] = row, block
    places = torch.arange(longest)
    times = ((places >= 4) & (places < lengths[:, None])).float() * 0.5
    for again in (False, True):  # then with what was kept
        logits = denoiser(tokens, times, lengths, wanted, [cache for _, _, cache in rows])
        for part, alone in zip(logits.split(wanted.sum(1).tolist()), expected, strict=True):
            assert torch.equal(part, alone) or again
            torch.testing.assert_close(part, alone, **CLOSE)


def test_rows_may_share_one_cache(denoisers):
    """As steps of one block do that are gone through again together."""
    denoiser = denoisers["dream"]
    began, block = canvas(denoiser.mask_id, 24, 4, range(8, 16))
    steps = [began, partly_filled(began, block), partly_filled(began, block, 2)]
    one_by_one = [ask(denoiser, tokens, block, 4, BlockCache(DUAL, began, block)) for tokens in steps]
    times = ((torch.arange(24) >= 4).float() * 0.5).expand(3, -1)
    cache = BlockCache(DUAL, began, block)
    wanted = block.expand(3, -1)
    together = denoiser(torch.stack(steps), times, torch.tensor([24] * 3), wanted, [cache] * 3).split(8)
    assert all(torch.equal(one, other) for one, other in zip(together, one_by_one, strict=True))


# ---------------------------------------------------------------- what is refused


def test_what_cannot_be_asked(denoisers):
    denoiser = denoisers["llada"]
    began, block = canvas(denoiser.mask_id, 20, 4, range(8, 12))
    with pytest.raises(ValueError, match="kind must be prefix or dual, not 'none'"):
        BlockCache("none", began, block)
    with pytest.raises(ValueError, match="at least one position"):
        BlockCache(DUAL, began, block & False)
    edited = began.clone()
    edited[0] += 1
    with pytest.raises(ValueError, match="tokens must be those of the cache outside of its block"):
        ask(denoiser, edited, block, 4, BlockCache(DUAL, began, block))
    with pytest.raises(ValueError, match="wanted must lie in the block"):
        ask(denoiser, began, block | (began >= 0), 4, BlockCache(DUAL, began, block))
    with pytest.raises(ValueError, match=f"the cache must be one of prefix for {BLOCKS}, not dual"):
        ask(denoisers[BLOCKS], began, block, 4, BlockCache(DUAL, began, block))


def test_another_block_or_canvas_is_another_cache():
    began, block = canvas(16, 20, 4, range(8, 12))
    cache = BlockCache(PREFIX, began, block)
    assert cache.following(began.clone(), block.clone()) is cache
    changed = began.clone()
    changed[1] += 1
    for other in (cache.following(changed, block), cache.following(began, block.roll(1))):
        assert other is not cache and other.kind == PREFIX and other.held is None
