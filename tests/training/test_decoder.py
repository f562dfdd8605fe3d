"""A causal decoder becomes a denoiser: its words stay what they were, and it looks both ways."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

pytest.importorskip("matplotlib", reason="training needs requirements-train.txt")

from ddemo.denoisers import load_checkpoint
from ddemo.training.config import TrainingConfig
from ddemo.training.convert import convert, main
from ddemo.training.decoder import cut_model, cut_tokenizer, decoder_logits, decoder_model
from ddemo.training.loop import train
from ddemo.training.tokenizer import END_OF_TEXT, MASK, SPECIAL
from tests.training.conftest import make_text
from tests.training.test_loop import TINY, train_with_and_without_a_stop

THEIRS = [END_OF_TEXT, "<|im_start|>"]
ROWS = 400
KEPT = 300


def byte_level(texts: list[str]) -> Tokenizer:
    """A tokenizer as decoders have it, without entries for all bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())[:-20]
    trainer = trainers.BpeTrainer(
        vocab_size=ROWS, special_tokens=THEIRS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def old() -> Tokenizer:
    return byte_level([make_text(0, 200), "one sail, two sails; three sailors"])


@pytest.fixture(scope="module")
def decoder(old) -> LlamaForCausalLM:
    torch.manual_seed(3)
    settings = LlamaConfig(
        vocab_size=old.get_vocab_size(),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(settings).eval()


@pytest.fixture(scope="module")
def source(old, decoder, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("decoder") / "causal"
    decoder.save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=old, eos_token=END_OF_TEXT).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("converted") / "start"
    convert(str(source), directory, KEPT, 40)
    return directory


# ---------------------------------------------------------------- its words


def test_entries_and_merges_that_stay_mean_what_they_meant(old):
    cut, kept = cut_tokenizer(old, KEPT)
    assert [cut.id_to_token(i) for i in range(len(SPECIAL))] == list(SPECIAL)
    for new, before in enumerate(kept, len(SPECIAL)):
        assert cut.id_to_token(new) == old.id_to_token(before)
    assert max(kept) < KEPT and not {old.token_to_id(name) for name in THEIRS} & {*kept}
    word = next(text for text in map(old.id_to_token, reversed(kept)) if len(text) > 3)
    assert cut.encode(word.replace("Ġ", " ")).tokens == [word], "its merges are still there"


def test_a_cut_vocabulary_falls_back_to_shorter_pieces(old):
    cut, _ = cut_tokenizer(old, KEPT)
    text = make_text(5, 3)
    assert len(cut.encode(text).ids) > len(old.encode(text).ids)
    assert cut.decode(cut.encode(text).ids) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_any_text_can_be_written(text):
    cut, _ = cut_tokenizer(TOKENIZER, KEPT)
    assert cut.decode(cut.encode(text).ids, skip_special_tokens=False) == text


TOKENIZER = byte_level([make_text(1, 100)])


def test_no_token_crosses_the_end_of_a_line(old):
    cut, _ = cut_tokenizer(old, KEPT)
    assert cut.encode("sea\n\nand").tokens.count("Ċ") == 2


def test_a_tokenizer_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="must be a byte-level BPE"):
        cut_tokenizer(Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), 10)


# ---------------------------------------------------------------- its network


def test_rows_follow_their_words(old, decoder):
    cut, kept = cut_tokenizer(old, KEPT)
    model = cut_model(decoder, kept, old.token_to_id(END_OF_TEXT), cut.get_vocab_size(), 40)
    before, after = decoder.get_input_embeddings().weight, model.get_input_embeddings().weight
    assert torch.equal(after[len(SPECIAL) : len(SPECIAL) + len(kept)], before[kept])
    assert torch.equal(after[cut.token_to_id(END_OF_TEXT)], before[old.token_to_id(END_OF_TEXT)])
    mean = before[kept].mean(0)
    for new in (cut.token_to_id(MASK), cut.get_vocab_size() - 1):  # the last is a byte that had no entry
        assert torch.allclose(after[new], mean)
    assert model.lm_head.weight is after
    untied = LlamaForCausalLM(LlamaConfig(**decoder.config.to_dict() | {"tie_word_embeddings": False}))
    model = cut_model(untied, kept, None, cut.get_vocab_size(), 40)
    head, embeddings = model.lm_head.weight, model.get_input_embeddings().weight
    assert torch.equal(head[len(SPECIAL) : len(SPECIAL) + len(kept)], untied.lm_head.weight[kept])
    assert torch.equal(
        embeddings[len(SPECIAL) : len(SPECIAL) + len(kept)], untied.get_input_embeddings().weight[kept]
    )
    assert len(after) == cut.get_vocab_size() > len(SPECIAL) + len(kept)


def test_looking_one_way_it_says_what_the_decoder_says(old, decoder):
    """And looking both ways, which is what it is trained for, something else."""
    cut, kept = cut_tokenizer(old, KEPT)
    model = cut_model(decoder, kept, old.token_to_id(END_OF_TEXT), cut.get_vocab_size(), 40).eval()
    text = cut.encode("the old sailor").ids
    assert min(text) >= len(SPECIAL)
    before = [old.token_to_id(END_OF_TEXT), *(kept[token - len(SPECIAL)] for token in text)]
    theirs = decoder(torch.tensor([before])).logits[0, :-1, kept]

    def ours() -> torch.Tensor:
        everywhere = torch.ones(1, len(text), dtype=torch.bool)
        return decoder_logits(model, torch.tensor([text]), everywhere)[:, len(SPECIAL) : len(SPECIAL) + len(kept)]

    assert not torch.allclose(ours(), theirs, atol=1e-2)
    model.config.is_causal = True
    for layer in model.model.layers:
        layer.self_attn.is_causal = True
    assert torch.allclose(ours(), theirs, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_page_reads_what_training_reads(converted, attention):
    """The logits of a training step are those of the checkpoint as the page loads it."""
    checkpoint = load_checkpoint(str(converted), device="cpu")
    denoiser = checkpoint.denoiser
    assert denoiser.process == "absorbing" and denoiser.shifted and denoiser.max_length == 39
    model = decoder_model(converted)
    model.set_attn_implementation(attention)
    tokens = torch.randint(3, KEPT, (3, 12), generator=torch.Generator().manual_seed(0))
    wanted = torch.rand(3, 12, generator=torch.Generator().manual_seed(1)) < 0.5
    tokens = tokens.masked_fill(wanted, denoiser.mask_id)
    theirs = denoiser(tokens, wanted.float(), torch.full((3,), 12), wanted)
    assert torch.allclose(decoder_logits(model, tokens, wanted), theirs, atol=2e-5)


# ---------------------------------------------------------------- as a start


def test_a_run_from_a_decoder_stops_resumes_and_loads(converted, corpus, tmp_path, monkeypatch):
    told = TINY | {"init": str(converted), "optimizer": "muon"}
    train_with_and_without_a_stop(corpus, tmp_path, monkeypatch, steps=6, settings=told)
    checkpoint = load_checkpoint(str(tmp_path / "straight" / "checkpoint"), device="cpu")
    assert checkpoint.denoiser.shifted and checkpoint.denoiser.before == (SPECIAL.index(END_OF_TEXT),)
    assert not torch.equal(
        checkpoint.denoiser.token_embeddings(), load_checkpoint(str(converted), "cpu").denoiser.token_embeddings()
    )


def test_training_lowers_the_bound(converted, corpus, tmp_path):
    told = TINY | {"init": str(converted), "optimizer": "adamw", "valid_every": 40, "lr": 3e-3}
    config = TrainingConfig(data=corpus, out=tmp_path, steps=40, **told)
    train(config)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"process": "uniform"}, "process must be 'absorbing' to start from a decoder, not 'uniform'"),
        ({"lengths": (8, 60), "positions": 64}, "lengths must be at most 39 to start from"),
    ],
)
def test_what_it_cannot_be_trained_for_is_said_before_the_text_is_read(converted, corpus, tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        train(TrainingConfig(data=corpus, out=tmp_path, steps=1, **TINY | {"init": str(converted)} | change))
    assert not (tmp_path / "cache").exists()


def test_a_decoder_that_was_not_converted_is_refused(source, corpus, tmp_path):
    with pytest.raises(ValueError, match=r"is a decoder that python -m ddemo\.training\.convert has not converted"):
        train(TrainingConfig(data=corpus, out=tmp_path, steps=1, **TINY | {"init": str(source)}))


def test_the_command_says_what_it_wrote_or_why_not(source, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--out", str(out), "--decoder", str(source), "--vocab-size", str(KEPT), "--positions", "40"]) == 0
    assert f" parameters in {out}" in capsys.readouterr().out
    assert load_checkpoint(str(out), "cpu").denoiser.shifted

    bert = tmp_path / "bert"
    BertModel(BertConfig(num_hidden_layers=1, hidden_size=12, vocab_size=30)).save_pretrained(bert)
    for decoder in (str(bert), str(tmp_path / "nowhere")):
        assert main(["--out", str(tmp_path / "no"), "--decoder", decoder]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "no").exists()
