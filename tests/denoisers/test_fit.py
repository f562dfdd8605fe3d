"""Whether a checkpoint fits: estimates against what loaded ones have, and the smallest change that makes them fit."""

import dataclasses
import json
import time
from types import SimpleNamespace

import pytest
import torch

from ddemo.denoisers import load_checkpoint, loading
from ddemo.denoisers.catalog import catalog
from ddemo.denoisers.fit import (
    CACHE_COPIES,
    COPIES,
    Growth,
    Size,
    Use,
    bytes_of,
    fit,
    in_bytes,
    need_of,
    size_of_directory,
    size_of_download,
)
from ddemo.errors import InputError
from tests.denoisers import dit_checkpoints

GB = 10**9
LLADA = {  # sizes as its config.json has them
    "d_model": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 32,
    "mlp_hidden_size": 12288,
    "vocab_size": 126464,
    "embedding_size": 126464,
    "torch_dtype": "bfloat16",
}
QWEN = {"hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8}
QWEN |= {"head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936}


def config_of(directory) -> dict:
    return json.loads((directory / "config.json").read_text())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_weights_of_a_loaded_checkpoint_have_the_bytes_that_were_estimated(tiny_directory, dtype):
    loaded = load_checkpoint(str(tiny_directory), "cpu", dtype)
    estimated = need_of(size_of_directory(tiny_directory, config_of(tiny_directory)), Use(dtype)).weights
    assert loaded.weight_bytes == pytest.approx(estimated, rel=0.05)
    assert loaded.fit.need.weights == estimated and loaded.fit.use == Use(dtype, 32, 1)


@pytest.mark.parametrize("kind", ["mdlm", "sedd", "udlm"])
def test_sizes_of_the_dit_line_are_read_from_its_files(kind, tmp_path):
    directory = dit_checkpoints.write(kind, tmp_path / kind)
    size = size_of_directory(directory, config_of(directory))
    assert (size.width, size.layers) == (dit_checkpoints.WIDTH, dit_checkpoints.BLOCKS)
    assert abs(size.vocabulary - dit_checkpoints.WORDS) <= 1
    loaded = load_checkpoint(str(directory), "cpu")
    assert loaded.weight_bytes == pytest.approx(4 * size.numbers, rel=0.05)


def test_tied_weights_count_once_and_a_table_is_no_network():
    layer = torch.nn.Linear(8, 8, bias=False)
    twin = torch.nn.Linear(8, 8, bias=False)
    twin.weight = layer.weight
    assert bytes_of(SimpleNamespace(model=torch.nn.Sequential(layer, twin))) == 8 * 8 * 4
    assert bytes_of(object()) == 0
    assert load_checkpoint("exact-world").weight_bytes == 0


def test_sizes_from_configs_of_other_families():
    llada = Size.of_config(LLADA, 8_015_581_184)
    assert (llada.width, llada.hidden, llada.layers, llada.vocabulary) == (4096, 12288, 32, 126464)
    assert llada.kept == 2 * 4096
    assert Size.of_config(QWEN, 0).kept == 2 * 8 * 128
    assert Size.of_config({"model": {"hidden_size": 768, "n_blocks": 12, "n_heads": 12}, "tokens": 50257}, 0) == Size(
        0, 50257, 768, 3072, 12, 2 * 768
    )
    assert Size.of_config({"hidden_size": "wide", "vocab_size": True, "n_layers": -3}, 5) == Size(5)


def test_a_download_is_sized_by_the_hubs_count_else_by_its_bytes():
    assert size_of_download(LLADA, {"BF16": 5, "F32": 2}, 10**6).numbers == 7
    assert size_of_download(LLADA, {}, 16 * GB).numbers == 8 * GB
    assert size_of_download({}, {}, 16 * GB).numbers == 4 * GB
    assert size_of_download({"torch_dtype": ["odd"]}, {}, 16).numbers == 4


def test_a_need_is_the_sum_of_its_parts():
    size = Size(numbers=10, vocabulary=7, width=4, hidden=16, layers=3, kept=8)
    need = need_of(size, Use("bfloat16", 5, 2, cached=True))
    assert (need.weights, need.logits, need.cache) == (20, 5 * 2 * 4 * COPIES * 7, CACHE_COPIES * 5 * 2 * 2 * 3 * 8)
    assert need.total == need.weights + need.activations + need.logits + need.cache
    assert need_of(size, Use("bfloat16", 5, 2)).cache == 0


def test_more_of_anything_needs_more():
    size, use = Size.of_config(LLADA, 8 * GB), Use("bfloat16", 128, 2)
    for change in ({"dtype": "float32"}, {"length": 129}, {"lanes": 3}, {"cached": True}):
        assert need_of(size, dataclasses.replace(use, **change)).total > need_of(size, use).total


@pytest.mark.parametrize(
    "free, verdict, change",
    [
        (40 * GB, "fits", None),
        (20 * GB, "tight", None),
        (17_500_000_000, "does not fit", Use("bfloat16", 128, 3)),
        (16_400_000_000, "does not fit", Use("bfloat16", 64, 1)),
        (15 * GB, "does not fit", None),
    ],
)
def test_eight_billion_numbers_in_two_bytes_each(free, verdict, change):
    found = fit(Size.of_config(LLADA, 8_015_581_184), Use("bfloat16", 128, 4), free)
    assert (found.verdict, found.change) == (verdict, change)
    assert found.sentence.startswith("It needs about 17.9 GB (bfloat16, 4 lanes of 128 tokens), and ")


def test_half_the_digits_are_the_last_resort():
    size = Size.of_config(QWEN, 600_000_000)
    assert fit(size, Use("float32", 128, 2), 2_500_000_000).change == Use("bfloat16", 128, 2)
    assert fit(size, Use("bfloat16", 128, 2), GB).change is None


def test_a_change_is_the_smallest_that_fits():
    size, use = Size.of_config(LLADA, 8 * GB), Use("float32", 1024, 4)
    for free in range(14 * GB, 60 * GB, 500_000_000):
        found = fit(size, use, free)
        assert (found.verdict == "does not fit") == (found.need.total > free)
        if found.change is None:
            continue
        assert need_of(size, found.change).total <= free
        if found.change.lanes < use.lanes:
            assert need_of(size, dataclasses.replace(found.change, lanes=found.change.lanes + 1)).total > free


@pytest.mark.parametrize("wrong", [{"dtype": "int4"}, {"dtype": "float32", "lanes": 0}])
def test_a_use_that_is_none(wrong):
    with pytest.raises(ValueError, match="must be"):
        Use(**wrong)


def test_what_cannot_fit_is_not_loaded_unless_forced(tiny_directory, monkeypatch):
    loaded = []
    real = loading.MASKED_LM.load
    monkeypatch.setattr(loading, "free_memory", lambda device: 100_000)
    family = dataclasses.replace(loading.MASKED_LM, load=lambda *given: loaded.append(given) or real(*given))
    monkeypatch.setattr(loading, "MASKED_LM", family)
    with pytest.raises(InputError, match=r"^tiny-mdm needs about 1 MB of memory in float32, and 1 MB is free\.$"):
        load_checkpoint(str(tiny_directory), "cpu")
    assert not loaded
    assert load_checkpoint(str(tiny_directory), "cpu", force=True).fit.verdict == "does not fit"
    assert len(loaded) == 1


def test_catalog_entries_can_be_sized_before_anything_is_asked():
    for entry in catalog().values():
        if entry.bytes and entry.parameters:
            need = need_of(Size(entry.parameters), Use("bfloat16"))
            assert need.total == 2 * entry.parameters


def test_growth_is_the_most_that_was_taken():
    with Growth(torch.device("cpu")) as growth:
        held = torch.ones(30_000_000)  # 120 MB for a while
        time.sleep(0.05)
        del held
    assert 100_000_000 < growth.bytes < 250_000_000
    with Growth(torch.device("cpu")) as growth:
        pass
    assert growth.bytes < 50_000_000


def test_bytes_for_people():
    assert [in_bytes(count) for count in (10, 2_400_000, 16_031_000_000)] == ["1 MB", "2 MB", "16.0 GB"]
