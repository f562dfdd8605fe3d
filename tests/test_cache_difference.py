"""How far a cache is from none: not at all where it is exact, and elsewhere the numbers are the run's."""

import pytest
import torch

from ddemo import benchmark, runs
from ddemo.cache_difference import cache_differences
from ddemo.denoisers import load_checkpoint
from ddemo.sampling import SamplerConfig
from tests.denoisers import decoder_checkpoints

CONFIG = SamplerConfig(draw="argmax", steps=12, block_length=4)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    root = tmp_path_factory.mktemp("difference")
    return lambda name: load_checkpoint(str(decoder_checkpoints.write(name, root / name)), device="cpu")


def test_an_exact_cache_changes_nothing(load):
    [found] = cache_differences(load("a2d-qwen3-bd3lm"), "abc", 16, CONFIG)
    assert (found.cache, found.exact, found.steps) == ("prefix", True, 12)
    assert found.tokens_differ == found.likeliest_differ == 0.0 and found.largest_logit < 1e-4
    assert found.answers == 4 * (4 + 2 + 1), "masks of a block of 4 that are left before each of its 3 steps"


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_an_approximate_one_is_measured_on_the_run_itself(load, name):
    checkpoint = load(name)
    prefix, dual = cache_differences(checkpoint, "abc", 16, CONFIG)
    assert (prefix.cache, dual.cache) == ("prefix", "dual") and not prefix.exact and not dual.exact
    for found in (prefix, dual):
        ends = []
        for kind in ("none", found.cache):
            trace = runs.begin(checkpoint, "abc", 16, SamplerConfig(**CONFIG.as_dict() | {"cache": kind}))
            list(runs.carry_out(checkpoint, trace))
            ends.append(trace.tokens_at(trace.last_step))
        assert found.tokens_differ == pytest.approx(float((ends[0] != ends[1]).double().mean()))
        assert found.largest_logit > 1e-3 and 0 <= found.likeliest_differ < 1


def test_a_checkpoint_that_can_keep_nothing_has_no_difference(tiny):
    assert cache_differences(tiny, "The", 4, SamplerConfig(steps=2)) == []
    assert benchmark.cached(tiny, 8, 4) == []


def test_the_benchmark_of_a_checkpoint_prints_it(load):
    rows = benchmark.cached(load("llada"), 16, 8)
    assert [row["cache"] for row in rows] == ["prefix", "dual"] and rows[0]["steps"] == 8
    assert torch.tensor([row["largest_logit"] for row in rows]).isfinite().all()
