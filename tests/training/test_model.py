"""Where weights come from, and that logits are computed only where they are asked for."""

import importlib.util

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from ddemo.training.model import MINILM_PACKAGE, Shape, initial_model, noised_logits
from ddemo.training.optimizers import make_optimizers, rate_factor
from ddemo.training.tokenizer import MASK, save_tokenizer, train_tokenizer
from tests.training.conftest import make_text

SHAPE = Shape(layers=2, width=16, heads=2, positions=24, canvas=16)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([make_text(0, 100)], 320)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def encoder_directory(tmp_path_factory):
    """A random BERT encoder with a word-piece vocabulary of its own."""
    directory = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "old", "sail", "##or", "the", *"abcdefghijklmnop"]
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    BertModel(config).save_pretrained(directory)
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(directory)
    return directory


def test_an_encoder_with_another_vocabulary_is_taken_over(encoder_directory, tokenizer):
    encoder = BertModel.from_pretrained(encoder_directory)
    model = initial_model(str(encoder_directory), tokenizer, SHAPE, seeded())
    for name, weight in encoder.encoder.state_dict().items():
        assert torch.equal(model.bert.encoder.state_dict()[name], weight), name
    theirs = encoder.embeddings
    positions = model.bert.embeddings.position_embeddings.weight
    assert torch.equal(positions, theirs.position_embeddings.weight[:24])

    words, ours = theirs.word_embeddings.weight, model.bert.embeddings.word_embeddings.weight
    assert torch.allclose(ours[tokenizer.token_to_id("Ġsailor")], words[[6, 7]].mean(0))
    assert torch.equal(ours[tokenizer.token_to_id("Ġold")], words[5])
    assert torch.equal(ours[tokenizer.token_to_id("A")], words[9])  # lower-cased
    assert torch.equal(ours[tokenizer.token_to_id(MASK)], words[4])
    newline, half = ours[tokenizer.token_to_id("Ċ")], ours[tokenizer.token_to_id("Ã")]
    assert not torch.equal(newline, half)  # both without text, but told apart
    assert torch.allclose(newline, words.mean(0), atol=0.02)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert torch.equal(model.cls.predictions.transform.dense.weight, torch.eye(16))


def test_a_checkpoint_of_the_same_tokenizer_is_taken_as_it_is(tokenizer, tmp_path):
    first = initial_model("none", tokenizer, SHAPE, seeded(1))
    first.save_pretrained(tmp_path)
    save_tokenizer(tokenizer, tmp_path, 24)
    again = initial_model(str(tmp_path), tokenizer, SHAPE, seeded(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_new_weights_depend_on_the_generator_alone(tokenizer):
    torch.manual_seed(5)
    one = initial_model("none", tokenizer, SHAPE, seeded(1))
    two = initial_model("none", tokenizer, SHAPE, seeded(1))
    three = initial_model("none", tokenizer, SHAPE, seeded(2))
    weight = "bert.encoder.layer.1.attention.self.query.weight"
    assert torch.equal(one.get_parameter(weight), two.get_parameter(weight))
    assert not torch.equal(one.get_parameter(weight), three.get_parameter(weight))


@pytest.mark.parametrize(
    ("source", "shape", "complaint"),
    [
        ("nowhere", SHAPE, "neither 'none'"),
        ("encoder", Shape(layers=3, width=16, heads=2, positions=24, canvas=16), "num_hidden_layers 2"),
        ("encoder", Shape(layers=2, width=16, heads=2, positions=41, canvas=16), "positions must be at most 40"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(encoder_directory, tokenizer, source, shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        initial_model(str(encoder_directory) if source == "encoder" else source, tokenizer, shape, seeded())


def test_noised_logits_are_the_models_own_at_those_positions(tokenizer):
    model = initial_model("none", tokenizer, SHAPE, seeded()).eval()
    tokens = torch.randint(3, 320, (3, 10), generator=seeded(1))
    wanted = torch.rand(3, 10, generator=seeded(2)) < 0.4
    with torch.no_grad():
        assert torch.allclose(noised_logits(model, tokens, wanted), model(tokens).logits[wanted], atol=1e-5)


def test_every_weight_has_one_optimizer_and_muon_has_the_layers_matrices(tokenizer):
    model = initial_model("none", tokenizer, SHAPE, seeded())
    adamw, muon = make_optimizers(model, "muon", 1e-3, 0.01)
    groups = [{id(p) for group in o.param_groups for p in group["params"]} for o in (adamw, muon)]
    assert groups[0] | groups[1] == {id(p) for p in model.parameters()}
    assert not groups[0] & groups[1]
    assert groups[1] == {id(p) for n, p in model.named_parameters() if ".layer." in n and p.ndim == 2}
    (only,) = make_optimizers(model, "adamw", 1e-3, 0.01)
    assert sum(len(group["params"]) for group in only.param_groups) == len(list(model.parameters()))


def test_the_rate_warms_up_holds_and_comes_down():
    factors = [rate_factor(step, step / 100, warmup=10, decay=0.25) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:76] == [1.0] * 67
    assert factors[75:] == sorted(factors[75:], reverse=True)
    assert factors[100] == 0.0
    assert rate_factor(0, 0.0, warmup=0, decay=0.0) == rate_factor(99, 1.0, warmup=0, decay=0.0) == 1.0


@pytest.mark.skipif(
    importlib.util.find_spec(MINILM_PACKAGE.replace("-", "_")) is None, reason=f"{MINILM_PACKAGE} is not installed"
)
def test_the_minilm_package_is_found(tokenizer):
    model = initial_model(MINILM_PACKAGE, tokenizer, Shape(), seeded())
    words = model.bert.embeddings.word_embeddings.weight.detach()
    sea, sailor, at = (words[tokenizer.token_to_id(t)] for t in ("Ġsea", "Ġsailor", "Ġat"))
    # words that are close in MiniLM are close here
    assert torch.cosine_similarity(sea, sailor, 0) > torch.cosine_similarity(sea, at, 0)
