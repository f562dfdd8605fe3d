"""The denoiser against the plain Transformers model: same logits, fewer of them."""

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    RobertaConfig,
)

from ddemo.denoisers.masked_lm import MaskedLMDenoiser

MASK, VOCAB = 4, 50
SIZE = {"vocab_size": VOCAB, "pad_token_id": 1}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "bert": BertConfig(**SIZE, **SMALL, max_position_embeddings=40),
    "roberta": RobertaConfig(**SIZE, **SMALL, max_position_embeddings=40),
    "distilbert": DistilBertConfig(**SIZE, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40),
    "modernbert": ModernBertConfig(**SIZE, **SMALL, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def model(request):
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(FAMILIES[request.param]).eval()
    with torch.no_grad():  # fresh weights are so small that all logits would look alike
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model


def denoiser_of(model) -> MaskedLMDenoiser:
    return MaskedLMDenoiser(model, "test", MASK, 32, VOCAB)


def rows_of(*lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(5, VOCAB, (length,), generator=generator) for length in lengths]
    for row in rows:
        row[torch.rand(len(row), generator=generator) < 0.4] = MASK
        row[-1] = MASK
    return rows


def ask(denoiser, rows):
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    wanted = (tokens == MASK) & (torch.arange(tokens.shape[1]) < lengths[:, None])
    return denoiser(tokens, torch.ones(tokens.shape), lengths, wanted), wanted


def test_logits_are_those_of_the_model_at_the_wanted_positions(model):
    rows = rows_of(12, 12)
    logits, wanted = ask(denoiser_of(model), rows)
    with torch.no_grad():
        expected = model(input_ids=torch.stack(rows)).logits[wanted]
    assert logits.shape == (int(wanted.sum()), VOCAB) and logits.dtype == torch.float32
    assert expected.std() > 0.1  # alike would prove nothing
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_padding_in_the_batch_changes_nothing(model):
    rows = rows_of(3, 17, 9, 1)
    logits, wanted = ask(denoiser_of(model), rows)
    parts = logits.split(wanted.sum(-1).tolist())
    with torch.no_grad():
        for row, part in zip(rows, parts, strict=True):
            expected = model(input_ids=row[None]).logits[0][row == MASK]
            torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-4)


def test_a_row_has_the_same_bits_whatever_its_company(model):
    denoiser = denoiser_of(model)
    rows = rows_of(3, 17, 9, 32, 1, 16, 30)
    logits, wanted = ask(denoiser, rows)
    for row, part in zip(rows, logits.split(wanted.sum(-1).tolist()), strict=True):
        assert torch.equal(ask(denoiser, [row])[0], part)


def test_a_canvas_limit_that_is_no_multiple_of_the_stride(model):
    denoiser = MaskedLMDenoiser(model, "test", MASK, 37, VOCAB)
    logits, wanted = ask(denoiser, rows_of(37, 33))
    assert len(logits) == int(wanted.sum())


def test_nothing_wanted_gives_no_rows(model):
    tokens = torch.full((1, 5), 7)
    wanted = torch.zeros(1, 5, dtype=torch.bool)
    logits = denoiser_of(model)(tokens, torch.ones(tokens.shape), torch.tensor([5]), wanted)
    assert logits.shape == (0, VOCAB)


def test_the_output_needs_no_gradient_and_the_model_stays_as_it_was(model):
    before = [weight.clone() for weight in model.parameters()]
    logits, _ = ask(denoiser_of(model), rows_of(6))
    assert not logits.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_head_wider_than_the_vocabulary_is_cut(model):
    rows = rows_of(6)
    narrow = MaskedLMDenoiser(model, "test", MASK, 32, VOCAB - 3)
    torch.testing.assert_close(ask(narrow, rows)[0], ask(denoiser_of(model), rows)[0][:, :-3])


def test_the_loaded_checkpoint_agrees_with_transformers_own_loading(tiny, tiny_directory):
    reference = AutoModelForMaskedLM.from_pretrained(tiny_directory).eval()
    ids, _ = tiny.codec.encode("The old sailor looked into the sea")
    tokens = torch.tensor([ids])
    tokens[0, 2:5] = tiny.codec.mask_id
    wanted = tokens == tiny.codec.mask_id
    logits = tiny.denoiser(tokens, torch.ones(tokens.shape), torch.tensor([len(ids)]), wanted)
    with torch.no_grad():
        torch.testing.assert_close(logits, reference(input_ids=tokens).logits[wanted], rtol=1e-5, atol=1e-5)
