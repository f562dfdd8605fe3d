"""Loading the DiT line: public directories become checkpoints, damaged or foreign ones one sentence."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddemo.__main__ import main
from ddemo.denoisers import find_checkpoint, load_checkpoint, load_codec, process_of
from ddemo.denoisers import tokenizers as tokenizer_files
from ddemo.denoisers.loading import canvas_limit_of, recommended_of
from tests.denoisers import dit_checkpoints as tiny
from tests.denoisers.damage import change_config, change_weights, refused

PROCESSES = {name: "uniform" if name.startswith(("udlm", "duo")) else "absorbing" for name in tiny.CONFIGS}
WIDE = "blocks.1.mlp.0.weight"


@pytest.fixture(params=tiny.CONFIGS)
def name(request) -> str:
    return request.param


@pytest.fixture
def broken(tmp_path) -> Path:
    """An MDLM checkpoint, to be damaged."""
    return tiny.write("mdlm", tmp_path / "broken")


# Good directories


def test_a_public_directory_loads(tmp_path, name):
    directory = tiny.write(name, tmp_path / name)
    loaded = load_checkpoint(str(directory), device="cpu")
    denoiser, codec = loaded.denoiser, loaded.codec
    assert loaded.id == denoiser.id == name and loaded.dtype == "float32"
    assert len(denoiser.token_embeddings()) == min(denoiser.states, denoiser.vocab_size)
    assert process_of(directory) == denoiser.process == PROCESSES[name]
    begins = name == "bd3lm"  # as its sampler's texts do
    assert denoiser.before == ((21,) if begins else ())
    assert denoiser.max_length == canvas_limit_of(directory) == tiny.LENGTH - begins
    assert denoiser.vocab_size == codec.vocab_size and denoiser.mask_id == codec.mask_id == codec.vocab_size - 1
    assert not any(weight.requires_grad for weight in denoiser.model.parameters())
    assert f"All {len(tiny.shapes(name))} tensors" in denoiser.checks[0]
    assert recommended_of(directory) == ({"block_length": 4} if name == "bd3lm" else {})
    ids, shown = codec.encode("abcu")
    assert ids == [0, 1, 2, 20] and shown == ["a", "b", "c", "u"] and codec.decode(ids) == "abcu"


def test_what_is_never_drawn(tmp_path):
    """Masks; under uniform noise nothing that the noise consists of, so that K is the network's."""
    for name, expected in {"mdlm": [22], "sedd": [22], "udlm": [22], "duo": [23]}.items():
        codec = load_codec(tiny.write(name, tmp_path / name))
        assert codec.never_drawn.nonzero().flatten().tolist() == expected
        assert codec.ends.tolist() == [21]


def test_attention_is_checked(tmp_path):
    seen = {
        name: load_checkpoint(str(tiny.write(name, tmp_path / name)), device="cpu").denoiser.checks[1:]
        for name in ("mdlm", "bd3lm")
    }
    assert seen["mdlm"] == ("Bidirectional: the last token moves the logits of the first position.",)
    assert [check.split(" ", 1)[0] for check in seen["bd3lm"]] == ["Inside", "Later"]


def test_names_may_have_a_prefix_or_none_and_lie_in_several_files(tmp_path):
    plain, parts = tiny.write("mdlm", tmp_path / "plain"), tiny.write("mdlm", tmp_path / "parts")
    tensors = {
        name.removeprefix("backbone."): tensor for name, tensor in load_file(parts / "model.safetensors").items()
    }
    (parts / "model.safetensors").unlink()
    halves = list(tensors)[::2], list(tensors)[1::2]
    for i, half in enumerate(halves, start=1):
        save_file({name: tensors[name] for name in half}, parts / f"model-0000{i}-of-00002.safetensors")
    tokens, lengths = torch.tensor([[1, 22, 3, 22]]), torch.tensor([4])
    whole, split = (
        load_checkpoint(str(directory), device="cpu").denoiser(tokens, torch.ones(1, 4), lengths, tokens == 22)
        for directory in (plain, parts)
    )
    assert torch.equal(whole, split)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of mapped files")
def test_the_weights_stay_in_the_mapped_file(tmp_path):
    directory = tiny.write("mdlm", tmp_path / "mapped")
    loaded = load_checkpoint(str(directory), device="cpu")
    ranges = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(directory / "model.safetensors"))
    ]
    for weight in loaded.denoiser.model.parameters():
        assert any(low <= weight.data_ptr() < high for low, high in ranges)


@pytest.mark.parametrize("block_size, looks", [(1, ["Later"]), (16, ["Bidirectional:"])])
def test_blocks_of_one_token_and_of_the_whole_text(tmp_path, block_size, looks):
    directory = tiny.write("bd3lm", tmp_path / "blocks")
    change_config(directory, block_size=block_size)
    checks = load_checkpoint(str(directory), device="cpu").denoiser.checks
    assert [check.split(" ", 1)[0] for check in checks[1:]] == looks


def test_block_diffusion_that_was_only_pretrained_is_bidirectional(tmp_path):
    directory = tiny.write("bd3lm", tmp_path / "pretrained")
    change_config(directory, cross_attn=False, block_size=1024)
    loaded = load_checkpoint(str(directory), device="cpu")
    assert loaded.denoiser.checks[1].startswith("Bidirectional") and recommended_of(directory) == {}


# Damaged and foreign directories


@pytest.mark.parametrize("lost", ["blocks.1.norm2.weight", "vocab_embed.embedding", "sigma_map.mlp.2.bias"])
def test_a_tensor_that_is_missing(broken, lost):
    change_weights(broken, lambda tensors: tensors.pop(f"backbone.{lost}"))
    assert "incomplete" in refused(broken)


def test_a_block_that_is_missing(broken):
    def change(tensors):
        for key in [key for key in tensors if ".blocks.0." in key]:
            del tensors[key]

    change_weights(broken, change)
    assert "config.json says blocks 2, its weights have 1." in refused(broken)


def test_a_tensor_that_nobody_knows(broken):
    change_weights(broken, lambda tensors: tensors.update({"backbone.blocks.0.lora_a": torch.zeros(2)}))
    assert "blocks.0.lora_a" in refused(broken)


def test_a_tensor_of_another_shape(broken):
    change_weights(broken, lambda tensors: tensors.update({f"backbone.{WIDE}": torch.zeros(128, 31)}))
    assert f"{WIDE} is 128 x 31, not 128 x 32" in refused(broken)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(broken, value):
    change_weights(broken, lambda tensors: tensors[f"backbone.{WIDE}"][3, 4].fill_(value))
    assert f"{WIDE} holds numbers that are not finite" in refused(broken)


def test_a_network_that_does_not_look_around(broken):
    def change(tensors):
        for i in range(tiny.BLOCKS):
            tensors[f"backbone.blocks.{i}.attn_out.weight"].zero_()

    change_weights(broken, change)
    assert "does not look ahead" in refused(broken)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"hidden_dim": 64}, "width 64, its weights have 32"),
        ({"n_blocks": 3}, "blocks 3, its weights have 2"),
        ({"vocab_size": 24}, "vocab_size 24, its weights have 23"),
        ({"cond_dim": 8}, "cond_dim 8, its weights have 16"),
        ({"n_heads": 5}, "multiple of 2 * heads"),
        ({"n_heads": None}, "its n_heads is not a number"),
        ({"n_heads": True}, "its n_heads is not a number"),
        ({"hidden_dim": "wide"}, "its hidden_dim is not a number"),
        ({"model_length": 0}, "its model_length is not a number"),
        ({"causal": True}, "autoregressive"),
        ({"adaln": False}, "without adaLN"),
        ({"model_type": "mdlm2"}, "not a masked language model"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(broken, change, says):
    if "model_type" in change:
        change["architectures"] = []
    change_config(broken, **change)
    assert says in refused(broken)


@pytest.mark.parametrize(
    "lost, says", [("n_heads", "n_heads is missing"), ("model_length", "model_length is missing")]
)
def test_a_config_without_what_tensors_cannot_tell(broken, lost, says):
    file = broken / "config.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != lost}))
    assert says in refused(broken)


@pytest.mark.parametrize(
    "part, change, says",
    [
        ("graph", {"type": "uniform"}, "another noise"),
        ("noise", {"type": "geometric"}, "another schedule"),
        ("model", {"scale_by_sigma": False}, "not scaled by sigma"),
        ("model", {"n_heads": 0}, "n_heads"),
    ],
    ids=str,
)
def test_scores_of_another_kind(tmp_path, part, change, says):
    directory = tiny.write("sedd", tmp_path / "sedd")
    change_config(directory, **{part: tiny.SEDD[part] | change})
    assert says in refused(directory)


def test_another_projects_mdlm_is_not_taken_for_this_one(broken):
    file = broken / "config.json"
    file.write_text(json.dumps({"model_type": "mdlm", "architectures": ["MDLM"], "backbone_config": {}}))
    assert "not a masked language model (its config names MDLM)" in refused(broken)


def test_pickled_weights_are_not_read(broken):
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    assert "has no weights: a .safetensors file is missing" in refused(broken)


def test_remote_code_is_not_run(broken):
    change_config(broken, auto_map={"AutoConfig": "modeling_evil.C", "AutoModelForMaskedLM": "modeling_evil.M"})
    (broken / "modeling_evil.py").write_text("raise SystemExit('executed')")
    assert load_checkpoint(str(broken), device="cpu").id == "broken"


# Tokenizers


def test_a_tokenizer_that_does_not_fit(broken):
    tokenizer = tiny.letters()
    tokenizer.add_tokens(["one", "two", "three"])
    tokenizer.save_pretrained(broken)
    assert "23 tokens, which its tokenizer of 25 does not fit" in refused(broken)


def test_the_mask_that_a_tokenizer_names_is_the_mask(tmp_path):
    """As for LM1B: BERT's tokenizer has a mask, so that MDLM adds none; SEDD's is always the last state."""
    for name, expected in {"mdlm": 21, "sedd": 22}.items():
        directory = tiny.write(name, tmp_path / name)
        tokenizer = tiny.letters()
        tokenizer.add_special_tokens({"mask_token": "<|endoftext|>"})
        tokenizer.save_pretrained(directory)
        assert load_codec(directory).mask_id == expected


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the Hub, which is out of reach, and a table in which 23 tokens have a known tokenizer."""
    from huggingface_hub import constants

    from ddemo.denoisers import dit_loading

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(dit_loading, "TOKENIZERS", {23: ("somebody/letters", "letters")})
    for function in ("try_to_load_from_cache", "hf_hub_download"):  # their defaults were read at import
        whole = getattr(tokenizer_files, function)
        monkeypatch.setattr(
            tokenizer_files, function, lambda *of, whole=whole: whole(*of, cache_dir=str(tmp_path / "hub"))
        )
    return tmp_path / "hub"


def test_a_checkpoint_without_a_tokenizer_borrows_the_public_one_from_the_cache(tmp_path, cache):
    own, borrowed = tiny.write("mdlm", tmp_path / "own"), tiny.write("mdlm", tmp_path / "borrowed", tokenizer=False)
    place = cache / "models--letters" / "snapshots" / ("0" * 40)  # under the older of the two names
    place.mkdir(parents=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(own / file, place / file)
    (cache / "models--letters" / "refs").mkdir()
    (cache / "models--letters" / "refs" / "main").write_text("0" * 40)
    assert find_checkpoint(str(borrowed)) == borrowed
    first, second = load_codec(own), load_codec(borrowed)
    assert first.encode("abc") == second.encode("abc") and second.mask_id == 22
    assert torch.equal(first.never_drawn, second.never_drawn) and second.ends.tolist() == [21]


def test_without_cache_and_hub_the_sentence_says_what_to_do(tmp_path, cache):
    directory = tiny.write("mdlm", tmp_path / "alone", tokenizer=False)
    message = refused(directory)
    assert "somebody/letters" in message and "put its tokenizer.json beside the weights" in message


def test_a_vocabulary_that_nobody_knows(tmp_path):
    assert "none is known for 23 tokens" in refused(tiny.write("mdlm", tmp_path / "alone", tokenizer=False))


# Runs


@pytest.mark.parametrize(
    "name, sampler",
    [
        ("mdlm", "ancestral"),
        ("mdlm", "remdm-cap"),
        ("sedd", "sedd-analytic"),
        ("sedd", "sedd-euler"),
        ("sedd", "first-hitting"),
        ("bd3lm", "first-hitting"),
        ("bd3lm", "confidence"),
        ("udlm", "uniform-ancestral"),
        ("duo", "uniform-joint"),
    ],
)
def test_a_tiny_checkpoint_runs_on_the_command_line(tmp_path, capsys, name, sampler):
    directory = tiny.write(name, tmp_path / name)
    asked = ["generate", "abc", "--length", "8", "--steps", "8", "--sampler", sampler, "--seed", "3", "--json"]
    assert main([*asked, "--checkpoint", str(directory), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["text"].startswith("abc") and len(report["text"]) > 5
    assert report["checkpoint"]["process"] == PROCESSES[name]
    assert report["settings"].get("block_length", 0) == (4 if name == "bd3lm" else 0)


def test_block_diffusion_says_which_length_fits(tmp_path, capsys):
    directory = tiny.write("bd3lm", tmp_path / "bd3lm")
    assert main(["generate", "abc", "--length", "10", "--checkpoint", str(directory), "--device", "cpu"]) == 2
    assert "block_length must divide the 10 masks" in capsys.readouterr().err
