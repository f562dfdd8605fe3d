"""Public masked language models in their standard format: loaded, framed as they were trained, and run."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    EuroBertConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from ddemo.__main__ import main
from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.loading import canvas_limit_of

LETTERS = ("a", "b", "c", "d", "e", "f", "g", "h")
WORDPIECE = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
EUROBERT = ("<|pad|>", "<|unk|>", "<|begin_of_text|>", "<|end_of_text|>", "<|mask|>")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES |= {"vocab_size": 20, "max_position_embeddings": 40, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
MODERN = SIZES | {"cls_token_id": 2, "sep_token_id": 3}
CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"
FAMILIES = {
    "bert": (BertConfig(**SIZES), WORDPIECE),
    "roberta": (RobertaConfig(**SIZES), ROBERTA),
    "distilbert": (
        DistilBertConfig(
            vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40, pad_token_id=0
        ),
        WORDPIECE,
    ),
    "modernbert": (ModernBertConfig(**MODERN), WORDPIECE),
    "modernbert-chat": (ModernBertConfig(**MODERN), WORDPIECE),
    "eurobert": (EuroBertConfig(**SIZES, num_key_value_heads=2, mask_token_id=4), EUROBERT),
}


def tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Letters and the family's special tokens, put around each text as the public tokenizers do."""
    pad, unknown, first, last, mask = special = FAMILIES[name][1]
    vocabulary = {token: i for i, token in enumerate([*special, *LETTERS])}
    if special is WORDPIECE:
        vocabulary |= {f"##{letter}": len(vocabulary) + i for i, letter in enumerate(LETTERS[:7])}
        backend = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    else:
        backend = Tokenizer(models.BPE(vocabulary, []))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", special_tokens=[(first, 2), (last, 3)]
    )
    named = (
        {"cls_token": first, "sep_token": last} if special is WORDPIECE else {"bos_token": first, "eos_token": last}
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token=pad, unk_token=unknown, mask_token=mask, **named
    )
    if name.endswith("chat"):
        made.chat_template = CHAT
    return made


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("masked") / request.param
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(FAMILIES[request.param][0])
    with torch.no_grad():  # fresh weights are so small that all logits would look alike
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(directory)
    tokenizer(request.param).save_pretrained(directory)
    return directory


def test_a_public_directory_loads_and_is_asked_as_it_was_trained(directory):
    loaded = load_checkpoint(str(directory), device="cpu")
    denoiser, framed = loaded.denoiser, not directory.name.endswith("chat")
    assert (denoiser.before, denoiser.after) == (((2,), (3,)) if framed else ((), ()))
    positions = 40 - 2 * (directory.name == "roberta")
    assert denoiser.max_length == canvas_limit_of(directory) == positions - 2 * framed
    assert denoiser.mask_id == 4 and bool(loaded.codec.never_drawn[:3].all())
    rows = [torch.tensor([5, 4, 7, 4, 9]), torch.tensor([4, 6, 4])]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    wanted = tokens == 4
    logits = denoiser(tokens, torch.ones(tokens.shape), torch.tensor([5, 3]), wanted)
    reference, expected = AutoModelForMaskedLM.from_pretrained(directory).eval(), []
    for row in rows:
        around = torch.cat([torch.tensor([2]), row, torch.tensor([3])]) if framed else row
        with torch.no_grad():
            expected.append(reference(input_ids=around[None]).logits[0][around == 4])
    expected = torch.cat(expected)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_the_longest_canvas_and_the_vocabulary_projection(directory):
    denoiser = load_checkpoint(str(directory), device="cpu").denoiser
    last, rows = denoiser._head[-1], []
    handle = last.register_forward_hook(
        lambda module, given, result: rows.append(given[0].numel() // given[0].shape[-1])
    )
    tokens = torch.full((1, denoiser.max_length), 6)
    tokens[0, 3] = 4
    assert denoiser(tokens, torch.ones(tokens.shape), torch.tensor([tokens.shape[1]]), tokens == 4).isfinite().all()
    handle.remove()
    assert rows == [16]  # the one that was wanted, in a stride of 16


def test_it_runs_on_the_command_line(directory, capsys):
    asked = ["generate", "abc", "--length", "6", "--steps", "6", "--sampler", "confidence", "--seed", "3", "--json"]
    assert main([*asked, "--checkpoint", str(directory), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["text"].replace(" ", "").startswith("abc") and len(report["text"]) > 6
    assert not any(token in report["text"] for token in FAMILIES[directory.name][1])
