"""Where weights come from, and that logits are computed only where they are asked for."""

import importlib.util

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from ddemo.processes import gaussian
from ddemo.training.model import MINILM_PACKAGE, Shape, initial_model, latent_logits, latent_model, noised_logits
from ddemo.training.optimizers import OPTIMIZERS, make_optimizers, rate_factor
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


LATENT_SHAPE = Shape(layers=2, width=16, heads=2, positions=24, canvas=16, time_kinds=8)


@pytest.fixture(scope="module")
def masked_directory(tokenizer, tmp_path_factory):
    """A masked model whose answers depend on what it reads."""
    directory = tmp_path_factory.mktemp("masked")
    model = initial_model("none", tokenizer, SHAPE, seeded(1))
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.3 * torch.randn(weight.shape, generator=seeded(2))
    model.save_pretrained(directory)
    save_tokenizer(tokenizer, directory, 24)
    return directory


@pytest.fixture(scope="module")
def counts(tokenizer):
    counts = torch.randint(1, 90, (tokenizer.get_vocab_size(),), generator=seeded(3))
    counts[:2] = 0  # padding and mask are no words
    return counts


def test_a_latent_model_starts_as_the_masked_model_that_it_is_made_of(tokenizer, masked_directory, counts):
    """All noise is read as masks; words without noise as themselves."""
    masked = initial_model(str(masked_directory), tokenizer, SHAPE, seeded()).eval()
    model = latent_model(str(masked_directory), tokenizer, LATENT_SHAPE, 6, counts, seeded()).eval()
    tokens = torch.randint(2, 320, (2, 10), generator=seeded(1))
    unknown = torch.rand(2, 10, generator=seeded(2)) < 0.4
    latents = torch.randn(2, 10, 6, generator=seeded(4)).where(unknown[..., None], model.embeddings[tokens])
    words = counts > 0
    with torch.no_grad():
        ours = latent_logits(model, latents, unknown, unknown.float())
        theirs = noised_logits(masked, tokens.masked_fill(unknown, tokenizer.token_to_id(MASK)), unknown)
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours[:, words], theirs[:, words], rtol=0.01, atol=0.01)
    assert (ours[:, ~words] == -torch.inf).all()


def test_latent_embeddings_are_placed_by_the_words_and_only_words_have_one(tokenizer, masked_directory, counts):
    model = latent_model(str(masked_directory), tokenizer, LATENT_SHAPE, 6, counts, seeded())
    words = counts > 0
    placed = gaussian.on_sphere(model.bert.embeddings.word_embeddings.weight.detach()[words], 6)
    torch.testing.assert_close(model.embeddings[words], placed, rtol=1e-2, atol=1e-3)
    assert torch.equal(model.embeddings, model.embeddings.bfloat16().float())
    assert (model.embeddings[~words] == 0).all() and (model.log_prior[~words] == -torch.inf).all()
    shares = counts[words] / counts.sum()
    torch.testing.assert_close(model.log_prior[words].exp(), shares, rtol=0.04, atol=0)  # what bfloat16 can tell


def test_a_latent_checkpoint_is_gone_on_with(tokenizer, masked_directory, counts, tmp_path):
    first = latent_model(str(masked_directory), tokenizer, LATENT_SHAPE, 6, counts, seeded())
    first.save_pretrained(tmp_path)
    save_tokenizer(tokenizer, tmp_path, 24)
    again = latent_model(str(tmp_path), tokenizer, LATENT_SHAPE, 6, counts + 5, seeded(9))
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in first.state_dict().items())
    with pytest.raises(ValueError, match="latent_dim must be 6"):
        latent_model(str(tmp_path), tokenizer, LATENT_SHAPE, 5, counts, seeded())
    with pytest.raises(ValueError, match="another tokenizer"):
        latent_model(str(tmp_path), train_tokenizer([make_text(1, 50)], 310), LATENT_SHAPE, 6, counts[:310], seeded())
    with pytest.raises(ValueError, match="ddemo_latent, not a bert"):
        initial_model(str(tmp_path), tokenizer, SHAPE, seeded())


def test_every_weight_has_one_optimizer_and_muon_has_the_layers_matrices(tokenizer):
    model = initial_model("none", tokenizer, SHAPE, seeded())
    adamw, muon = make_optimizers(model, "muon", 1e-3, 0.01)
    groups = [{id(p) for group in o.param_groups for p in group["params"]} for o in (adamw, muon)]
    assert groups[0] | groups[1] == {id(p) for p in model.parameters()}
    assert not groups[0] & groups[1]
    assert groups[1] == {id(p) for n, p in model.named_parameters() if ".layer." in n and p.ndim == 2}
    (only,) = make_optimizers(model, "adamw", 1e-3, 0.01)
    assert sum(len(group["params"]) for group in only.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_weights_decay_and_vectors_do_not(tokenizer, kind):
    model = initial_model("none", tokenizer, SHAPE, seeded())
    groups = [group for optimizer in make_optimizers(model, kind, 1e-3, 0.25) for group in optimizer.param_groups]
    decays = [(weight.ndim, group["weight_decay"]) for group in groups for weight in group["params"]]
    assert {ndim for ndim, _ in decays} == {1, 2}
    assert all(decay == (0.25 if ndim >= 2 else 0.0) for ndim, decay in decays)


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
