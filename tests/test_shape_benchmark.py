"""The benchmark of shapes: random weights where they stay, times that add up, and what does not fit is refused."""

import json
import math

import pytest
import torch

from ddemo import shape_benchmark
from ddemo.__main__ import main
from ddemo.denoisers import shapes
from ddemo.denoisers.decoder_loading import KINDS
from ddemo.denoisers.fit import bytes_of
from ddemo.denoisers.shapes import SHAPES, NetworkShape, random_denoiser, size_of
from ddemo.errors import InputError
from ddemo.shape_benchmark import QUICK, as_table, measure_shape

CPU = torch.device("cpu")
LLAMA = {"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "mlp_hidden_size": 48}
QWEN = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
QWEN |= {"head_dim": 12, "intermediate_size": 48}
DIT = {"hidden_dim": 32, "n_blocks": 2, "n_heads": 2, "cond_dim": 16}
TINY = {
    "both-ways": NetworkShape("both-ways", "llada", LLAMA, "nobody", 40, 64),
    "tied": NetworkShape("tied", "a2d-qwen3", QWEN, "nobody", 40, 64, tied=True),
    "shifted": NetworkShape("shifted", "diffugpt", {"n_embd": 32, "n_layer": 2, "n_head": 2}, "nobody", 40, 64, True),
    "in-blocks": NetworkShape("in-blocks", "bd3lm", DIT | {"block_size": 4}, "nobody", 40, 64),
    "scores": NetworkShape("scores", "sedd", DIT, "nobody", 40, 64),
}


@pytest.fixture(autouse=True)
def tiny_shapes(monkeypatch):
    for module in (shapes, shape_benchmark):
        monkeypatch.setattr(module, "SHAPES", {**SHAPES, **TINY})


def test_the_table_has_the_sizes_that_are_public():
    """Parameters as the families' papers and cards give them; no weights are made for it."""
    millions = {name: round(size_of(shape).numbers / 1e6) for name, shape in SHAPES.items()}
    assert millions == {
        "mdlm": 170,
        "sedd-small": 170,
        "bd3lm": 170,
        "diffugpt-small": 124,
        "a2d-0.6b": 596,
        "dream-7b": 7616,
        "llada-8b": 8016,
    }
    assert size_of(SHAPES["llada-8b"]).kept == 2 * 4096 and size_of(SHAPES["dream-7b"]).kept == 2 * 4 * 128
    assert all(shape.is_dit or shape.family in KINDS for shape in SHAPES.values())


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_weights_are_drawn_in_their_type_and_once(name, dtype):
    denoiser = random_denoiser(TINY[name], CPU, dtype)
    assert {weight.dtype for weight in denoiser.model.parameters()} == {dtype}
    weights = size_of(TINY[name]).numbers * dtype.itemsize
    assert weights <= bytes_of(denoiser) <= weights + 1024, "rotary frequencies besides"
    tokens = torch.full((2, 9), denoiser.mask_id)
    tokens[1, 4] = 3
    logits = denoiser(tokens, torch.full((2, 9), 0.5), torch.tensor([9, 9]), torch.ones(2, 9, dtype=torch.bool))
    assert logits.shape == (18, 40) and logits.isfinite().all() and logits.std() > 1e-3
    again = random_denoiser(TINY[name], CPU, dtype)
    assert all(torch.equal(a, b) for a, b in zip(denoiser.model.parameters(), again.model.parameters(), strict=True))


@pytest.mark.parametrize("name, kinds", [("both-ways", 3), ("shifted", 3), ("in-blocks", 2), ("scores", 1)])
def test_a_row_for_each_length_and_cache_and_times_that_add_up(name, kinds):
    report = measure_shape(name, CPU, torch.float32, [32, 16], QUICK)
    assert json.loads(json.dumps(report)) == report and report["numbers"] == size_of(TINY[name]).numbers
    assert [(row["length"], row["cache"]) for row in report["rows"]] == [
        (length, kind) for length in (16, 32) for kind in ("none", "prefix", "dual")[:kinds]
    ]
    for row in report["rows"]:
        assert row["block"] == (4 if name == "in-blocks" else row["length"] // 4)
        assert row["exact"] == (row["cache"] == "none" or name == "in-blocks")
        assert 0 < row["pass_ms"] <= row["step_ms"] and row["over_pass"] >= 0 and row["first_ms"] > 0
        assert row["committed"] == 1.0, "random weights are sure of nothing"
        assert row["peak_bytes"] > report["weight_bytes"]
        for k, each in zip(report["together"], row["ms_per_token"], strict=True):
            steps = math.ceil(row["block"] / k) - 1
            assert each == pytest.approx((row["first_ms"] + steps * row["step_ms"]) / row["block"])
        assert row["tokens_per_second"] == pytest.approx(1000 / row["ms_per_token"][0])
    plain = report["rows"][0]
    assert plain["times_faster"][0] == 1.0
    assert "times faster" in as_table(report) and ("approximate" in as_table(report)) == (kinds == 3)


def test_the_block_that_is_timed_stands_in_the_middle(monkeypatch):
    """So that a prefix cache is timed on as many positions as it has on average."""
    seen = []
    real = shape_benchmark.denoise
    monkeypatch.setattr(
        shape_benchmark, "denoise", lambda denoiser, lanes: seen.append(lanes[0]) or real(denoiser, lanes)
    )
    measure_shape("both-ways", CPU, torch.float32, [32], QUICK)
    lane = seen[-1]
    assert lane.stage.open.nonzero().squeeze(-1).tolist() == list(range(12, 20)) and lane.step == 2


def test_what_cannot_be_measured_is_refused_in_a_sentence(monkeypatch, capsys):
    for arguments, said in (
        (("gpt-5", CPU, torch.float32), "shape must be one of mdlm, sedd-small"),
        (("both-ways", CPU, torch.float32, [65]), "lengths must be from 4 to 64 for both-ways"),
    ):
        with pytest.raises(InputError, match=said):
            measure_shape(*arguments)
    monkeypatch.setattr(shape_benchmark, "free_memory", lambda device: 2_000_000_000)
    monkeypatch.setattr(shape_benchmark, "random_denoiser", lambda *_: pytest.fail("weights were made"))
    assert main(["bench", "--shape", "llada-8b", "--dtype", "bfloat16", "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert (
        told.startswith("ddemo: llada-8b is not measured here. It needs about 18.4 GB (bfloat16,")
        and "2.0 GB is free" in told
    )


def test_the_command_writes_the_table_into_a_document(tmp_path, capsys):
    page = tmp_path / "speed.md"
    page.write_text("# Speed\n<!-- begin shape both-ways -->\n<!-- end shape both-ways -->\n")
    arguments = [
        "bench",
        "--shape",
        "both-ways",
        "--device",
        "cpu",
        "--quick",
        "--lengths",
        "16",
        "--write",
        str(page),
    ]
    assert main(arguments) == 0
    table = capsys.readouterr().out.strip()
    assert "dual (approximate)" in table and table in page.read_text()
