"""Loading decoders: public directories become checkpoints, damaged or foreign ones one sentence."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from ddemo.__main__ import main
from ddemo.denoisers import load_checkpoint, load_codec, process_of
from ddemo.denoisers.decoder_loading import _check_shift
from ddemo.denoisers.loading import canvas_limit_of, recommended_of
from tests.denoisers import decoder_checkpoints as tiny
from tests.denoisers.damage import change_config, change_weights, refused

GATE = "model.layers.1.mlp.gate_proj.weight"


@pytest.fixture(params=tiny.CONFIGS)
def name(request) -> str:
    return request.param


@pytest.fixture
def broken(tmp_path) -> Path:
    """An A2D checkpoint in one file, to be damaged."""
    return tiny.write("a2d-qwen3", tmp_path / "broken")


def answers(directory: Path) -> torch.Tensor:
    denoiser = load_checkpoint(str(directory), device="cpu").denoiser
    tokens = torch.tensor([[1, denoiser.mask_id, 3, denoiser.mask_id]])
    return denoiser(tokens, torch.ones(1, 4), torch.tensor([4]), tokens == denoiser.mask_id)


# Good directories


def test_a_public_directory_loads(tmp_path, name):
    directory = tiny.write(name, tmp_path / name)
    loaded = load_checkpoint(str(directory), device="cpu")
    denoiser, codec = loaded.denoiser, loaded.codec
    assert loaded.id == denoiser.id == name and loaded.dtype == "float32"
    assert len(denoiser.token_embeddings()) == denoiser.vocab_size
    assert process_of(directory) == denoiser.process == "absorbing" and not denoiser.takes_time
    assert denoiser.max_length == canvas_limit_of(directory)
    assert denoiser.vocab_size == codec.vocab_size == tiny.ROWS
    assert denoiser.mask_id == codec.mask_id == tiny.MASKS[name]
    assert bool(denoiser.before) == (name in tiny.SHIFTED)
    assert not any(weight.requires_grad for weight in denoiser.model.parameters())
    assert denoiser.checks[0].startswith(f"All {len(tiny.shapes(name))} tensors")
    assert denoiser.checks[1] == f"The mask is token {tiny.MASKS[name]} of {tiny.ROWS}."
    assert recommended_of(directory).get("block_length", 0) == (4 if name.endswith("bd3lm") else 0)
    ids, shown = codec.encode("abc d")
    assert ids == [0, 1, 2, 10, 3] and shown == ["a", "b", "c", " ", "d"] and codec.decode(ids) == "abc d"


def test_what_ends_a_text_may_be_drawn_and_what_means_something_else_may_not(tmp_path):
    for name, ends in {"llada": ["end", "turned"], "dream": ["end", "turned"], "diffullama": ["end"]}.items():
        codec = load_codec(tiny.write(name, tmp_path / name))
        assert codec.ends.tolist() == [tiny.AT[end] for end in ends]
        assert not codec.never_drawn[codec.ends].any()
        assert codec.never_drawn[[tiny.AT["begin"], codec.mask_id, tiny.ROWS - 1]].all()


def test_attention_is_checked(tmp_path):
    seen = {
        name: [
            check.split(" ", 1)[0]
            for check in load_checkpoint(str(tiny.write(name, tmp_path / name))).denoiser.checks
        ]
        for name in ("llada", "dream", "a2d-qwen3-bd3lm")
    }
    assert seen["llada"] == ["All", "The", "Bidirectional:"]
    assert seen["dream"] == ["All", "The", "Bidirectional:", "Every"]
    assert seen["a2d-qwen3-bd3lm"] == ["All", "The", "Inside", "Later"]


class Shifted:
    """Knows every token, through outputs of which that at i - 1 is about position i."""

    mask_id, max_length = tiny.AT["mask"], tiny.LENGTH

    def __init__(self, shifted: bool):
        self.shifted = shifted

    def __call__(self, tokens, times, lengths, wanted):
        columns = wanted.nonzero()[:, 1]
        assert (tokens == self.mask_id).sum(1).tolist() == [1] * len(tokens)  # one at a time
        return torch.nn.functional.one_hot(columns if self.shifted else columns + 1, tiny.ROWS).float()


@pytest.mark.parametrize("shifted", [True, False])
def test_the_shift_is_tried_on_a_known_sentence_and_never_refused(tmp_path, monkeypatch, shifted):
    codec = load_codec(tiny.write("dream", tmp_path / "dream"))
    assert list(_check_shift(Shifted(shifted), codec)) == []  # its tokenizer cannot spell the sentence
    monkeypatch.setattr("ddemo.denoisers.decoder_loading.SENTENCE", "abcdefghij")
    (said,) = _check_shift(Shifted(shifted), codec)
    assert ("as it should be" in said) == shifted
    assert re.search(r"\b1 (as read here|and|the other way)", said) and said.endswith(".")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's list of mapped files")
@pytest.mark.parametrize("name", ["llada", "diffugpt", "a2d-qwen2"])
def test_the_weights_stay_in_the_mapped_files(tmp_path, name):
    directory = tiny.write(name, tmp_path / "mapped")
    loaded = load_checkpoint(str(directory), device="cpu")
    ranges = [
        [int(end, 16) for end in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(".safetensors") and str(directory) in line
    ]
    for weight in loaded.denoiser.model.parameters():
        assert any(low <= weight.data_ptr() < high for low, high in ranges)


def test_head_and_embedding_share_one_table(tmp_path):
    for name, shared in {"illada": True, "diffugpt": True, "llada-tied": True, "llada": False}.items():
        model = load_checkpoint(str(tiny.write(name, tmp_path / name)), device="cpu").denoiser.model
        same = model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
        assert same == shared


def test_diffugpt_under_the_names_of_gpt2(tmp_path):
    plain, renamed = (tiny.write("diffugpt", tmp_path / which) for which in ("plain", "renamed"))

    def change(tensors):
        for key in list(tensors):
            tensors[key.replace("embed_tokens", "transformer.wte").replace("denoise_model", "transformer")] = (
                tensors.pop(key)
            )
        tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64).tril()  # the causal mask of old versions

    change_weights(renamed, change)
    assert torch.equal(answers(plain), answers(renamed))


def test_a_mask_that_nobody_names_is_the_family_s(tmp_path):
    """DiffuGPT-medium's was added to the tokenizer after its 50,257 tokens; A2D's likewise."""
    for name in ("diffugpt", "a2d-qwen2"):
        directory = tiny.write(name, tmp_path / name)
        for file in ("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"):
            if (directory / file).is_file():
                text = (directory / file).read_text().replace("<|mask|>", "<other>").replace("[M]", "<other>")
                told = json.loads(text)
                told.pop("mask_token", None)
                (directory / file).write_text(json.dumps(told))
        codec = load_codec(directory)
        assert codec.mask_id == len(codec.tokenizer) > tiny.AT["mask"]  # the first id after the tokenizer's


def test_block_diffusion_is_told_by_the_name_where_config_json_does_not(tmp_path):
    directory = tiny.write("a2d-qwen3", tmp_path / "Qwen3-0.6B-diffusion-bd3lm-v0.1")
    assert recommended_of(directory).get("block_length", 0) == 32
    snapshot = tmp_path / "models--dllm-hub--Qwen3-0.6B-diffusion-bd3lm-v0.1" / "snapshots" / "abc"
    assert recommended_of(tiny.write("a2d-qwen3", snapshot))["block_length"] == 32
    assert recommended_of(tiny.write("a2d-qwen3", tmp_path / "Qwen3-0.6B-diffusion-mdlm-v0.1")) == {}


def test_the_text_length_is_the_one_that_was_trained_on(tmp_path):
    dream = tiny.write("dream", tmp_path / "dream")
    change_config(dream, max_position_embeddings=131072)
    assert canvas_limit_of(dream) == 2047
    gpt = tiny.write("diffugpt", tmp_path / "diffugpt")
    change_config(gpt, task_specific_params=None)
    assert canvas_limit_of(gpt) == 63


# Damaged and foreign directories


@pytest.mark.parametrize("lost", ["model.layers.1.self_attn.q_norm.weight", "model.embed_tokens.weight"])
def test_a_tensor_that_is_missing(broken, lost):
    change_weights(broken, lambda tensors: tensors.pop(lost))
    assert "incomplete" in refused(broken)


def test_a_head_that_is_missing_where_nothing_is_shared(broken):
    change_config(broken, tie_word_embeddings=False)
    assert "lm_head.weight is missing" in refused(broken)


def test_a_tensor_that_nobody_knows(broken):
    change_weights(broken, lambda tensors: tensors.update({"model.layers.0.lora_a": torch.zeros(2)}))
    assert "layers.0.lora_a" in refused(broken)


def test_a_tensor_of_another_shape(broken):
    change_weights(broken, lambda tensors: tensors.update({GATE: torch.zeros(tiny.HIDDEN, 31)}))
    assert f"{GATE} is 48 x 31, not 48 x 32" in refused(broken)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(broken, value):
    change_weights(broken, lambda tensors: tensors[GATE][3, 4].fill_(value))
    assert f"{GATE} holds numbers that are not finite" in refused(broken)


def test_a_network_that_does_not_look_around(broken):
    def change(tensors):
        for i in range(tiny.LAYERS):
            tensors[f"model.layers.{i}.self_attn.o_proj.weight"].zero_()

    change_weights(broken, change)
    assert "does not look ahead" in refused(broken)


def test_a_network_that_reads_left_to_right_is_caught(broken, monkeypatch):
    """Should a later version of the library no longer heed the flag that makes attention look both ways."""
    from transformers import PreTrainedConfig

    monkeypatch.setattr(
        PreTrainedConfig, "is_causal", property(lambda self: True, lambda self, value: None), raising=False
    )
    assert "does not look ahead" in refused(broken)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"num_hidden_layers": 3}, "is missing"),
        ({"hidden_size": 64}, "damaged"),
        ({"num_attention_heads": 0}, "damaged"),
        ({"num_hidden_layers": 10**9}, "1,000,000,000 layers"),
        ({"num_hidden_layers": "two"}, "no network can be built"),
        ({"max_position_embeddings": None}, "max_position_embeddings is not a number"),
        ({"mask_token_id": 32}, "token 32 as its mask, outside its 32 tokens"),
        ({"mask_token_id": "x"}, "names token x as its mask"),
        ({"block_size": 0}, "block_size is not a number"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"model_type": "qwen3"}, "not a masked language model"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(broken, change, says):
    change_config(broken, **change)
    assert says in refused(broken)


@pytest.mark.parametrize(
    "change",
    [{"block_type": "sequential"}, {"attention_layer_norm": True}, {"scale_logits": True}, {"rope": False}],
    ids=str,
)
def test_a_llada_whose_blocks_are_not_llama_s(tmp_path, change):
    directory = tiny.write("llada", tmp_path / "llada")
    change_config(directory, **change)
    assert f"a LLaDA with {next(iter(change))}" in refused(directory)


@pytest.mark.parametrize(
    "config, says",
    [
        ({"model_type": "llada", "architectures": ["LLaDAMoEModelLM"], "num_experts": 64}, "LLaDA-MoE"),
        ({"model_type": "llada", "num_experts": 64}, "LLaDA-MoE"),
        ({"model_type": "llada2_moe", "architectures": ["LLaDA2MoeModelLM"]}, "LLaDA 2.0"),
        ({"model_type": "llada21_moe"}, "LLaDA 2.1"),
        ({"model_type": "sdar", "architectures": ["SDARForCausalLM"]}, "SDAR"),
        ({"model_type": "sdar_moe"}, "SDAR"),
        ({"model_type": "diffusion_gemma", "architectures": ["DiffusionGemmaForBlockDiffusion"]}, "DiffusionGemma"),
        ({"model_type": "Fast_dLLM_Qwen", "architectures": ["Fast_dLLM_QwenForCausalLM"]}, "Fast-dLLM"),
        ({"model_type": "Dream", "architectures": ["DreamForCausalLM"]}, "DreamReasoner"),
        ({"model_type": "editflow-qwen3"}, "Edit Flow"),
        ({"model_type": "rnd1", "architectures": ["RND1LM"]}, "RND1"),
        ({"model_type": "mmada", "architectures": ["MMadaModelLM"]}, "MMaDA"),
        ({"model_type": "llava_llada"}, "LLaDA-V"),
    ],
    ids=str,
)
def test_what_is_known_but_not_read_is_called_by_its_name(broken, config, says):
    (broken / "config.json").write_text(json.dumps(config | {"vocab_size": 32, "hidden_size": 32}))
    message = refused(broken)
    assert message.startswith("broken cannot be read here: it is ") and says in message


@pytest.mark.parametrize("name", ["diffugpt", "diffullama"])
def test_an_autoregressive_network_is_not_taken_for_one_that_began_as_it(tmp_path, name):
    directory = tiny.write(name, tmp_path / "autoregressive")
    if name == "diffugpt":
        change_weights(
            directory,
            lambda tensors: [
                tensors.update({k.replace("denoise_model", "h"): tensors.pop(k)}) for k in list(tensors)
            ],
        )
    for file in directory.glob("*.json"):
        told = json.loads(file.read_text())
        told.pop("mask_token", None)
        file.write_text(json.dumps(told))
    assert "not a masked language model" in refused(directory)


@pytest.mark.parametrize("stolen", ["../secret.safetensors", "/etc/x.safetensors", "weights.bin", 7])
def test_an_index_that_points_elsewhere(tmp_path, stolen):
    directory = tiny.write("llada", tmp_path / "llada")
    index = directory / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"]["model.transformer.wte.weight"] = stolen
    index.write_text(json.dumps(told))
    assert "which is no shard" in refused(directory)


def test_an_index_whose_file_is_missing_or_that_is_none(tmp_path):
    directory = tiny.write("llada", tmp_path / "llada")
    (directory / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors is missing" in refused(directory)
    (directory / "model.safetensors.index.json").write_text("[]")
    assert "shard index of llada is damaged" in refused(directory)


def test_a_tokenizer_of_more_tokens_than_the_network(broken):
    change_weights(
        broken,
        lambda tensors: tensors.update({"model.embed_tokens.weight": tensors["model.embed_tokens.weight"][:12]}),
    )
    assert "12 tokens, which its tokenizer of 16 does not fit" in refused(broken)


def test_pickled_weights_are_not_read(broken):
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    assert "has no weights: a .safetensors file is missing" in refused(broken)


@pytest.mark.parametrize("name", ["llada", "dream"])
def test_remote_code_is_not_run(tmp_path, name):
    directory = tiny.write(name, tmp_path / name)
    for module in ("configuration", "modeling", "tokenization"):
        (directory / f"{module}_{name}.py").write_text("raise SystemExit('executed')")
    assert load_checkpoint(str(directory), device="cpu").id == name


# Runs


@pytest.mark.parametrize(
    "name, sampler",
    [
        ("llada", "confidence"),
        ("llada-tied", "threshold"),
        ("illada", "random"),
        ("dream", "dream-entropy"),
        ("diffugpt", "ancestral"),
        ("diffullama", "ancestral"),
        ("a2d-llama", "factor"),
        ("a2d-qwen2", "first-hitting"),
        ("a2d-qwen3", "confidence"),
        ("a2d-qwen3-bd3lm", "confidence"),
    ],
)
def test_a_tiny_checkpoint_runs_on_the_command_line(tmp_path, capsys, name, sampler):
    directory = tiny.write(name, tmp_path / name)
    asked = ["generate", "abc", "--length", "8", "--steps", "8", "--sampler", sampler, "--seed", "3", "--json"]
    assert main([*asked, "--checkpoint", str(directory), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["text"].startswith("abc") and len(report["text"]) > 5
    assert report["settings"].get("block_length", 0) == (4 if name.endswith("bd3lm") else 0)


def test_a_blank_page_is_written_by_a_shifted_network(tmp_path, capsys):
    directory = tiny.write("diffugpt", tmp_path / "diffugpt")
    asked = ["generate", "--length", "12", "--steps", "12", "--sampler", "ancestral", "--seed", "1", "--json"]
    assert main([*asked, "--checkpoint", str(directory), "--device", "cpu"]) == 0
    assert len(json.loads(capsys.readouterr().out)["text"]) >= 12
