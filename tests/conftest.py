"""Small stand-ins that tests share: a tiny random checkpoint in the shipped format, and fake denoisers."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from ddemo.denoisers import Checkpoint, TextCodec, load_checkpoint
from ddemo.denoisers.latent_lm import LatentBert, LatentConfig
from ddemo.processes import gaussian

torch.set_num_threads(1)  # tensors this small are slower on many threads, the more so beside other work

LATENT_DIM = 8
SENTENCES = [
    "The old sailor looked into the sea, and said nothing at all.",
    "It was a dark night; the wind cried in the chimney like a child.",
    "She took the letter, read it twice, and put it into the fire.",
    'Naïve "quotes", café tables — and a line\nbroken in two.',
] * 8


def tiny_tokenizer(vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE like the shipped one, small."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["[PAD]", "[MASK]", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        mask_token="[MASK]",
        pad_token="[PAD]",
        eos_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


def write_tiny_checkpoint(directory: Path) -> Path:
    """A random two-layer masked model in standard format; 64 tokens at most."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=96,
        canvas_length=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    BertForMaskedLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-mdm")


@pytest.fixture(scope="session")
def tiny(tiny_directory) -> Checkpoint:
    return load_checkpoint(str(tiny_directory), device="cpu")


def random_latent_bert(vocab_size: int, never: torch.Tensor) -> LatentBert:
    """Two small layers with weights large enough for answers to differ; `never` [V] are no words."""
    torch.manual_seed(0)
    config = LatentConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=96,
        canvas_length=64,
        pad_token_id=0,
        type_vocab_size=16,
        latent_dim=LATENT_DIM,
        process="gaussian",
    )
    model = LatentBert(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
        model.embeddings.copy_(gaussian.on_sphere(torch.randn(vocab_size, LATENT_DIM), LATENT_DIM))
        model.embeddings[never] = 0.0
        model.log_prior.copy_(torch.rand(vocab_size).masked_fill(never, 0.0)).div_(model.log_prior.sum()).log_()
    return model


@pytest.fixture(scope="session")
def tiny_latent(tmp_path_factory) -> Checkpoint:
    """A random latent model in the shipped format; 64 tokens at most."""
    directory, tokenizer = tmp_path_factory.mktemp("checkpoints") / "tiny-latent", tiny_tokenizer()
    never = torch.arange(len(tokenizer)) < 2  # padding and mask
    random_latent_bert(len(tokenizer), never).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return load_checkpoint(str(directory), device="cpu")


class FakeDenoiser:
    """Logits that depend on position, left neighbour and, where it is read, the time, through a fixed random table.

    Each row is answered by itself, so whatever a lane does to another one shows exactly. Counts calls and rows.
    """

    id = "fake"
    predicts = "posterior"
    device = torch.device("cpu")

    def __init__(
        self,
        vocab_size: int = 12,
        mask_id: int = 11,
        max_length: int = 64,
        seed: int = 0,
        process: str = "absorbing",
        takes_time: bool = False,
    ):
        self.vocab_size, self.mask_id, self.max_length = vocab_size, mask_id, max_length
        self.process, self.takes_time = process, takes_time
        self.calls = self.rows = 0
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(max_length, vocab_size, vocab_size, generator=generator)

    def __call__(self, tokens: Tensor, times: Tensor, lengths: Tensor, wanted: Tensor) -> Tensor:
        self.calls += 1
        self.rows += len(tokens)
        return self.logits(tokens, wanted, times if self.takes_time else torch.zeros(tokens.shape))

    def logits(self, tokens: Tensor, wanted: Tensor, times: Tensor) -> Tensor:
        """[N, V] for rows of tokens, wanted and times, all [B, L]."""
        rows, positions = wanted.nonzero(as_tuple=True)
        left = tokens[rows, (positions - 1).clamp_min(0)]
        return self.table[positions, left] * (1.0 + times[rows, positions, None]).float()


@pytest.fixture
def fake() -> FakeDenoiser:
    return FakeDenoiser()


@pytest.fixture(scope="session")
def make_fake() -> type[FakeDenoiser]:
    """The class, for tests that need their own vocabulary, seed or many fakes."""
    return FakeDenoiser


def wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing, accent-stripping WordPiece like BERT's: it loses case, spacing and most of Unicode."""
    words = ["the", "old", "sailor", "sea", "and", "a", "cafe", "light", "house", *"[]#!.,-12", "mask"]
    pieces = [*words, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"), "##house"]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)]
    backend = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture(scope="session")
def wordpiece() -> TextCodec:
    tokenizer = wordpiece_tokenizer()
    return TextCodec(tokenizer, len(tokenizer), tokenizer.mask_token_id)


@pytest.fixture(scope="session")
def node() -> str:
    """Node, for JavaScript's own tests; without it a test skips, and fails where CI=true."""
    found = shutil.which("node")
    if found is None:
        reason = "node is not installed, so the page's JavaScript cannot be tested"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


@pytest.fixture
def run_in_node(node) -> Callable[..., str]:
    """run_in_node(script, *arguments, read=""): what a script writes, with `read` as its standard input."""

    def run(script: str, *arguments: Path, read: str = "") -> str:
        command = [node, "-e", script, *map(str, arguments)]
        done = subprocess.run(command, input=read, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture
def is_function_body(run_in_node) -> Callable[[str], None]:
    """Whether a component's scripts can stand in one `new Function(...)`, where Gradio puts them."""
    names = ("element", "trigger", "props", "watch", "server")
    script = f"new Function(...{json.dumps(names)}, require('fs').readFileSync(0, 'utf8'));"
    return lambda body: run_in_node(script, read=body)


@pytest.fixture
def passes_in_node(node) -> Callable[[Path], None]:
    """Runs a file of JavaScript tests, all of which must pass, and none be left out."""

    def check(tests: Path) -> None:
        done = subprocess.run([node, "--test", str(tests)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "# pass 0" not in done.stdout and "# skipped 0" in done.stdout

    return check
