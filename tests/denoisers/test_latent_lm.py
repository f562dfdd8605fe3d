"""The latent model: Bayes' rule around a masked language model, the same answers in any company, and its files."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddemo.denoisers import load_checkpoint
from ddemo.denoisers.latent_lm import LatentLMDenoiser
from ddemo.denoisers.loading import process_of
from ddemo.errors import InputError
from ddemo.metrics import bound, evaluate
from ddemo.processes import gaussian
from tests.conftest import LATENT_DIM as DIM

TEXT = "The old sailor looked into the sea, and said nothing at all."


@pytest.fixture(scope="module")
def directory(tiny_latent):
    return tiny_latent.directory


@pytest.fixture(scope="module")
def checkpoint(tiny_latent):
    return tiny_latent


@pytest.fixture
def broken(directory, tmp_path):
    return shutil.copytree(directory, tmp_path / "broken")


def rows_of(denoiser, *lengths: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, denoiser.dim, generator=generator) for length in lengths]


def ask(denoiser, rows, times=0.6):
    lengths = torch.tensor([len(row) for row in rows])
    latents = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    inside = torch.arange(latents.shape[1]) < lengths[:, None]
    wanted = inside & (torch.arange(latents.shape[1]) % 3 != 1)
    return denoiser(latents, torch.full(inside.shape, times), lengths, wanted), wanted


def test_it_loads_as_what_it_is(checkpoint):
    denoiser = checkpoint.denoiser
    assert isinstance(denoiser, LatentLMDenoiser)
    assert (denoiser.process, denoiser.predicts, denoiser.takes_time) == ("gaussian", "posterior", True)
    assert (denoiser.id, denoiser.dim, denoiser.max_length) == ("tiny-latent", DIM, 64)
    assert denoiser.vocab_size == checkpoint.codec.vocab_size == len(denoiser.embeddings)
    assert torch.equal(~denoiser.words, checkpoint.codec.never_drawn)
    norms = denoiser.embeddings.norm(dim=-1)
    assert torch.allclose(norms, math.sqrt(DIM) * denoiser.words)
    assert process_of(checkpoint.directory) == "gaussian"


def test_the_answer_is_the_networks_context_times_what_the_latent_says(checkpoint):
    """Written out for one row: mean embeddings in, logits out, log q(x_t | w) added."""
    denoiser, model = checkpoint.denoiser, checkpoint.denoiser.model
    (row,) = rows_of(denoiser, 16)
    logits, wanted = ask(denoiser, [row], times=0.4)
    words = denoiser.words
    evidence = gaussian.evidence(row, gaussian.alpha_bar(0.4), denoiser.embeddings)
    alone = (evidence + model.log_prior).softmax(-1)
    with torch.no_grad():
        context = model(
            inputs_embeds=(alone @ model.bert.embeddings.word_embeddings.weight)[None],
            token_type_ids=torch.full((1, 16), 6),  # 0.4 of 15, the last of 16 kinds
        ).logits[0]
    expected = (context + evidence)[wanted[0]]
    torch.testing.assert_close(logits[:, words], expected[:, words], rtol=1e-4, atol=1e-4)
    assert (logits[:, ~words] == -math.inf).all() and logits.dtype == torch.float32
    assert context[:, words].std() > 0.1 and evidence[:, words].std() > 0.1


def test_without_signal_the_latent_says_nothing(checkpoint):
    denoiser = checkpoint.denoiser
    one, other = (ask(denoiser, [row], times=1.0)[0] for row in rows_of(denoiser, 12, 12))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    noisy = [ask(denoiser, [row], times=0.5)[0] for row in rows_of(denoiser, 12, 12)]
    assert not torch.allclose(*noisy, atol=0.5)


def test_a_clean_latent_is_its_word(checkpoint):
    denoiser = checkpoint.denoiser
    ids, _ = checkpoint.codec.encode(TEXT)
    tokens = torch.tensor(ids)
    logits = denoiser(
        denoiser.embeddings[tokens][None],
        torch.zeros(1, len(ids)),
        torch.tensor([len(ids)]),
        torch.ones(1, len(ids), dtype=torch.bool),
    )
    assert torch.equal(logits.argmax(-1), tokens)
    assert logits.softmax(-1).amax(-1).min() > 0.99


def test_a_known_word_informs_the_others(checkpoint):
    denoiser = checkpoint.denoiser
    (row,) = rows_of(denoiser, 10)
    times = torch.full((1, 10), 0.9)
    times[0, 4] = 0.0
    wanted = torch.arange(10)[None] == 5
    answers = []
    for word in (5, 6):
        row[4] = denoiser.embeddings[word]
        answers.append(denoiser(row[None].clone(), times, torch.tensor([10]), wanted))
    assert not torch.allclose(*answers, atol=1e-2)


def test_padding_in_the_batch_changes_nothing(checkpoint):
    denoiser = checkpoint.denoiser
    rows = rows_of(denoiser, 3, 17, 9, 1)
    logits, wanted = ask(denoiser, rows)
    for row, part in zip(rows, logits.split(wanted.sum(-1).tolist()), strict=True):
        latents, times = row[None], torch.full((1, len(row)), 0.6)
        with torch.no_grad():  # without any padding
            hidden = denoiser.model.read(latents, times)
            expected = denoiser.model.answer(hidden, latents, times)[0][torch.arange(len(row)) % 3 != 1]
        torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-4)


def test_a_row_has_the_same_bits_whatever_its_company(checkpoint):
    denoiser = checkpoint.denoiser
    rows = rows_of(denoiser, 3, 17, 9, 32, 1, 16, 30, 64)
    logits, wanted = ask(denoiser, rows)
    for row, part in zip(rows, logits.split(wanted.sum(-1).tolist()), strict=True):
        assert torch.equal(ask(denoiser, [row])[0], part)


def test_positions_taken_in_parts_give_the_same(checkpoint, monkeypatch):
    denoiser = checkpoint.denoiser
    rows = rows_of(denoiser, 30, 28)
    whole, _ = ask(denoiser, rows)
    monkeypatch.setattr("ddemo.denoisers.latent_lm.POSITIONS_AT_ONCE", 16)
    torch.testing.assert_close(ask(denoiser, rows)[0], whole, rtol=1e-5, atol=1e-5)


def test_nothing_wanted_gives_no_rows(checkpoint):
    denoiser = checkpoint.denoiser
    none = torch.zeros(1, 5, dtype=torch.bool)
    assert denoiser(torch.zeros(1, 5, DIM), torch.ones(1, 5), torch.tensor([5]), none).shape == (0, 378)


def test_double_precision_latents_are_taken(checkpoint):
    denoiser = checkpoint.denoiser
    rows = rows_of(denoiser, 12)
    assert torch.equal(ask(denoiser, [row.double() for row in rows])[0], ask(denoiser, rows)[0])


def test_in_half_precision_a_clean_latent_is_still_its_word(directory):
    loaded = load_checkpoint(str(directory), device="cpu", dtype="bfloat16")
    assert loaded.dtype == "bfloat16" and loaded.denoiser.embeddings.dtype == torch.float32
    test_a_clean_latent_is_its_word(loaded)


def test_the_checkpoint_is_measured_and_repeats(checkpoint):
    first = evaluate(checkpoint, [TEXT * 4], window=32, times=4)
    assert first == evaluate(checkpoint, [TEXT * 4], window=32, times=4)
    assert first != evaluate(checkpoint, [TEXT * 4], window=32, times=4, seed=1)
    assert first.nats_per_token > 2  # random weights


def test_how_windows_of_unequal_lengths_are_batched_changes_nothing(checkpoint):
    windows = [torch.arange(4, 4 + length) for length in (20, 3, 11)]
    results = [
        bound(checkpoint.denoiser, windows, [1] * 3, 3, rows, torch.Generator().manual_seed(3)) for rows in (1, 5, 64)
    ]
    for result in results[1:]:
        assert result.nats_per_token == pytest.approx(results[0].nats_per_token, rel=1e-4)
        assert result.nats_per_token_stderr == pytest.approx(results[0].nats_per_token_stderr, rel=1e-4)


def refused(directory) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(str(directory), device="cpu")
    message = str(caught.value)
    assert "broken" in message and str(directory.parent) not in message
    assert "\n" not in message and len(message) < 300 and message.endswith(".")
    return message


def change_config(directory, **changes) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("name", ["embeddings", "log_prior", "bert.encoder.layer.1.output.dense.weight"])
def test_a_tensor_that_is_missing(broken, name):
    tensors = load_file(broken / "model.safetensors")
    del tensors[name]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert f"{name} is missing" in refused(broken)


@pytest.mark.parametrize("value", [-math.inf, math.nan])
def test_weights_that_know_no_word(broken, value):
    tensors = load_file(broken / "model.safetensors")
    tensors["log_prior"].fill_(value)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    assert "place none of its words" in refused(broken)


@pytest.mark.parametrize(
    "change", [{"latent_dim": 9}, {"vocab_size": 300}, {"hidden_size": 64}, {"latent_dim": "wide"}], ids=str
)
def test_a_config_that_does_not_fit_the_weights(broken, change):
    change_config(broken, **change)
    refused(broken)


@pytest.mark.parametrize("process", ["absorbing", "uniform", None, 5])
def test_a_noise_that_it_does_not_reverse(broken, process):
    change_config(broken, process=process)
    assert "not gaussian" in refused(broken)


def test_its_weights_are_no_masked_model(broken):
    change_config(broken, model_type="bert", process="uniform", architectures=["LatentBert"])
    assert "not a masked language model" in refused(broken)
