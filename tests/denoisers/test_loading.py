"""Loading: a good directory becomes a checkpoint, every other becomes one sentence without a path in it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ddemo.denoisers import find_checkpoint, load_checkpoint
from ddemo.denoisers.loading import DTYPES, pick_device, pick_dtype, process_of
from ddemo.denoisers.stored import LoadStopped
from ddemo.errors import InputError
from tests.denoisers import decoder_checkpoints, dit_checkpoints
from tests.denoisers.damage import change_config, change_weights, refused

DENSE = "bert.encoder.layer.1.output.dense.weight"


@pytest.fixture
def broken(tiny_directory, tmp_path) -> Path:
    """A copy of the tiny checkpoint, to be damaged."""
    return Path(shutil.copytree(tiny_directory, tmp_path / "broken"))


def test_a_good_directory_loads(tiny, tiny_directory):
    assert tiny.id == "tiny-mdm" and tiny.denoiser.id == "tiny-mdm"
    assert tiny.directory == tiny_directory
    assert tiny.denoiser.vocab_size == tiny.codec.vocab_size == 378
    assert tiny.denoiser.mask_id == tiny.codec.mask_id
    assert tiny.denoiser.max_length == 64  # canvas_length, not the 96 positions
    assert tiny.denoiser.device == torch.device("cpu") and tiny.dtype == "float32"
    assert not tiny.denoiser.takes_time
    assert (tiny.denoiser.process, tiny.denoiser.predicts) == ("absorbing", "posterior")
    assert not tiny.denoiser.model.training


def test_the_identity_of_a_checkpoint_follows_its_weights(tiny, broken):
    first = tiny.as_dict()
    assert first["id"] == "tiny-mdm" and first["device"] == "cpu" and first["dtype"] == "float32"
    assert len(first["revision"]) == 12 and all(isinstance(value, str) for value in first.values())
    assert load_checkpoint(str(broken), device="cpu").revision == first["revision"]
    change_weights(broken, lambda tensors: tensors["bert.embeddings.LayerNorm.bias"].add_(1))
    assert load_checkpoint(str(broken), device="cpu").revision != first["revision"]


def test_a_directory_can_be_named_in_many_ways(tiny_directory, monkeypatch):
    monkeypatch.chdir(tiny_directory)
    for name in (".", "../tiny-mdm", "../tiny-mdm/.", f"{tiny_directory}/"):
        assert find_checkpoint(name).name == "tiny-mdm"


@pytest.mark.parametrize("name", ["no-such-model", "x" * 5000, "a\0b", "~nobody-at-all/y", "a/b/c", "../../nowhere"])
def test_a_missing_directory_is_named_as_it_was_asked_for(name):
    with pytest.raises(InputError, match="There is no checkpoint") as caught:
        find_checkpoint(name)
    assert repr(name[:200])[1:-1] in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_is_no_checkpoint(broken):
    with pytest.raises(InputError, match="There is no checkpoint"):
        find_checkpoint(str(broken / "config.json"))


def test_an_empty_directory(tmp_path):
    (tmp_path / "broken").mkdir()
    assert "config.json is missing" in refused(tmp_path / "broken")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_that_is_not_there(broken, name):
    (broken / name).unlink()
    assert name.rpartition(".")[2] in refused(broken)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_config_that_is_no_config(broken, content):
    (broken / "config.json").write_bytes(content)
    assert "config.json" in refused(broken)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_weights_that_were_cut_short(broken, kept):
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert "half-written" in refused(broken)


def test_weights_with_a_tensor_missing(broken):
    change_weights(broken, lambda tensors: tensors.pop(DENSE))
    assert f"{DENSE} is missing" in refused(broken)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 64},
        {"num_hidden_layers": 3},
        {"num_attention_heads": 5},
        {"hidden_act": "nothing"},
        {"hidden_size": "wide"},
        {"model_type": "unheard-of"},
        {"vocab_size": 100},
        {"canvas_length": "long"},
        {"canvas_length": 0},
        {"max_position_embeddings": None},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_the_weights(broken, change):
    change_config(broken, **change)
    assert "broken" in refused(broken)


@pytest.mark.parametrize("kinds", [["GPT2LMHeadModel"], [], None, 5, "BertForMaskedLM", [None], ["x" * 1000]])
def test_an_architecture_that_is_no_masked_model(broken, kinds):
    change_config(broken, architectures=kinds)
    assert "not a masked language model" in refused(broken)


def test_the_noise_is_known_without_weights(broken):
    for file in broken.glob("*.safetensors"):
        file.unlink()
    assert process_of(broken) == "absorbing"
    change_config(broken, process="absorbing")
    assert process_of(broken) == "absorbing"


@pytest.mark.parametrize("process", ["gaussian", "x" * 1000, None, 5, []])
def test_a_noise_that_masked_models_do_not_reverse(broken, process):
    change_config(broken, process=process)
    assert "not absorbing" in refused(broken)


def test_a_network_for_uniform_noise_is_told_the_time_by_token_types(broken):
    change_config(broken, process="uniform")
    denoiser = load_checkpoint(str(broken), device="cpu").denoiser
    assert (denoiser.process, denoiser.predicts, denoiser.takes_time) == ("uniform", "leave-one-out", True)
    tokens = torch.arange(4, 10)[None]
    wanted, lengths = torch.ones(1, 6, dtype=torch.bool), torch.tensor([6])
    clean, noised = (denoiser(tokens, torch.full((1, 6), t), lengths, wanted) for t in (0.0, 1.0))
    assert not torch.equal(clean, noised)
    model = denoiser.model(input_ids=tokens, token_type_ids=torch.ones_like(tokens)).logits[0]
    torch.testing.assert_close(noised, model)


def test_a_tokenizer_without_a_mask(broken):
    file = broken / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["mask_token"]
    file.write_text(json.dumps(settings))
    assert "names a mask token" in refused(broken)


@pytest.mark.parametrize("mask_id", [378, -1, "1", 1.0, True])
def test_a_mask_id_that_is_no_token(broken, mask_id):
    file = broken / "tokenizer_config.json"
    settings = json.loads(file.read_text())
    del settings["mask_token"]
    file.write_text(json.dumps(settings))
    change_config(broken, mask_token_id=mask_id)
    assert "as its mask, outside its 378 tokens" in refused(broken)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"version": "1.0", "model": {"type": "NOPE"}}', "{" * 2000])
def test_a_damaged_tokenizer(broken, content):
    (broken / "tokenizer.json").write_text(content)
    assert "tokenizer of broken cannot be read" in refused(broken)


def test_a_damaged_tokenizer_config(broken):
    (broken / "tokenizer_config.json").write_text("[]")
    assert "tokenizer of broken cannot be read" in refused(broken)


def test_code_in_a_checkpoint_is_not_run(broken):
    change_config(broken, auto_map={"AutoModelForMaskedLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.C"})
    (broken / "modeling_evil.py").write_text("raise SystemExit('executed')")
    assert load_checkpoint(str(broken), device="cpu").id == "broken"


@pytest.mark.parametrize("name", ["gpu", "", "cpu:0", "CPU", "meta", "x" * 999])
def test_unknown_devices(name):
    with pytest.raises(InputError, match=r"device must be one of auto, cpu, cuda, mps, not '") as caught:
        pick_device(name)
    assert len(str(caught.value)) < 120


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA device"):
        pick_device("cuda")


@pytest.mark.parametrize("name", ["int8", "float64", "Float32", "", "half"])
def test_unknown_dtypes(name):
    with pytest.raises(InputError, match="dtype must be one of auto, float32"):
        pick_dtype(name, torch.device("cpu"))


def test_automatic_dtypes(monkeypatch):
    assert pick_dtype("auto", torch.device("cpu")) is torch.float32
    for has_it, kind in ((True, torch.bfloat16), (False, torch.float32)):  # a T4 has not
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has_it=has_it: has_it)
        assert pick_dtype("auto", torch.device("cuda")) is kind
    assert all(pick_dtype(name, torch.device("cpu")) is kind for name, kind in DTYPES.items())


def test_weights_take_the_dtype_asked_for(tiny_directory):
    loaded = load_checkpoint(str(tiny_directory), device="cpu", dtype="bfloat16")
    assert loaded.dtype == "bfloat16"
    assert {weight.dtype for weight in loaded.denoiser.model.parameters()} == {torch.bfloat16}
    tokens = torch.full((1, 3), loaded.codec.mask_id)
    logits = loaded.denoiser(tokens, torch.ones(tokens.shape), torch.tensor([3]), tokens == loaded.codec.mask_id)
    assert logits.dtype == torch.float32 and logits.shape == (3, loaded.codec.vocab_size)


# ---------------------------------------------------------------- hostile checkpoints


def index(directory: Path, weight_map) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "/etc/outside.safetensors",
        "a/b.safetensors",
        "..\\x.safetensors",
        "weights.bin",
        7,
        None,
    ],
)
def test_a_shard_index_that_leads_elsewhere(broken, shard):
    (broken.parent / "outside.safetensors").write_bytes((broken / "model.safetensors").read_bytes())
    index(broken, {"bert.embeddings.LayerNorm.bias": shard})
    assert "which is no shard" in refused(broken)


def test_a_shard_that_is_not_there(broken):
    index(broken, {"bert.embeddings.LayerNorm.bias": "model-00002-of-00002.safetensors"})
    assert "model-00002-of-00002.safetensors is missing" in refused(broken)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": {}}}'])
def test_a_damaged_shard_index(broken, content):
    (broken / "model.safetensors.index.json").write_text(content)
    assert "shard index" in refused(broken)


def test_pickle_files_only(broken):
    class Evil:
        def __reduce__(self):
            return exit, ("executed",)

    torch.save({"weights": Evil()}, broken / "pytorch_model.bin")
    (broken / "model.safetensors").unlink()
    assert "a .safetensors file is missing" in refused(broken)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(broken, wrong):
    change_weights(broken, lambda tensors: tensors[DENSE][3, 5].fill_(wrong))
    assert "encoder.layer.1.output.dense.weight holds numbers that are not finite" in refused(broken)


def test_a_tensor_of_another_shape(broken):
    change_weights(broken, lambda tensors: tensors.update({DENSE: torch.zeros(3, 5)}))
    assert f"{DENSE} is 3 x 5, not 32 x 64" in refused(broken)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"num_hidden_layers": 10**9}, "config.json says 1,000,000,000 layers, and only 42 tensors are there"),
        ({"type_vocab_size": 10**12}, "token_type_embeddings.weight is 2 x 32, not 1000000000000 x 32"),
        ({"max_position_embeddings": 10**10}, "position_embeddings.weight is 96 x 32, not 10000000000 x 32"),
    ],
    ids=str,
)
def test_a_config_that_asks_for_more_than_is_stored(broken, change, says):
    """Refused before memory is: it would take other visitors' checkpoints with it."""
    change_config(broken, **change)
    assert says in refused(broken)


def test_an_adapter_is_not_taken_for_the_checkpoint_that_it_names(broken):
    (broken / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    assert "broken is an adapter for another checkpoint" in refused(broken)


def test_a_tokenizer_that_is_larger_than_the_network(broken):
    change_config(broken, vocab_size=377)
    assert "has a token 377, outside the 377 of its network" in refused(broken)


def test_tokens_that_the_tokenizer_does_not_have_are_never_drawn(broken):
    def change(tensors):
        for name in ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"):
            tensors[name] = torch.cat([tensors[name], tensors[name][:6]])

    change_weights(broken, change)
    change_config(broken, vocab_size=384)
    codec = load_checkpoint(str(broken), device="cpu").codec
    assert codec.vocab_size == 384 and codec.never_drawn[378:].all()


def test_a_family_that_brings_its_own_code_is_not_run(broken):
    change_config(broken, model_type="evil", architectures=["Evil"], auto_map={"AutoModel": "modeling_evil.Evil"})
    (broken / "modeling_evil.py").write_text("raise SystemExit('executed')")
    assert "code of its own, which is not run" in refused(broken)


# ---------------------------------------------------------------- stopping


class Asked:
    """Says that a load is to stop from the given time of asking on, and counts how often it was asked."""

    def __init__(self, stop_at: int):
        self.stop_at, self.times = stop_at, 0

    def __call__(self) -> bool:
        self.times += 1
        return self.times >= self.stop_at


@pytest.mark.parametrize(("family", "name"), [(decoder_checkpoints, "llada"), (dit_checkpoints, "mdlm")])
def test_a_load_stops_between_two_tensors(tmp_path, family, name):
    directory = family.write(name, tmp_path / name)
    asked = Asked(stop_at=4)
    with pytest.raises(LoadStopped, match=f"^Loading {name} was stopped.$"):
        load_checkpoint(str(directory), device="cpu", stopped=asked)
    assert asked.times == 4, "nothing was read after it"
    wanted = Asked(stop_at=10**9)
    assert load_checkpoint(str(directory), device="cpu", stopped=wanted).id == name
    assert wanted.times > 4


@pytest.mark.parametrize("stop_at", [1, 2])
def test_a_load_by_the_library_stops_before_or_after_it(tiny_directory, stop_at):
    with pytest.raises(LoadStopped, match=r"^Loading tiny-mdm was stopped.$"):
        load_checkpoint(str(tiny_directory), device="cpu", stopped=Asked(stop_at))
