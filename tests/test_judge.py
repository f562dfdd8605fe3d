"""The optional judge: on a tiny causal model always, on the real one where it is installed."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from ddemo import judge
from ddemo.errors import InputError
from ddemo.judge import Judge, load_judge
from tests.conftest import tiny_tokenizer

CONTEXT = 32


@pytest.fixture(scope="module")
def causal(tmp_path_factory) -> Path:
    """A random causal model in Transformers format."""
    directory = tmp_path_factory.mktemp("judges") / "tiny-causal"
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT, "vocab_size": len(tokenizer)}
    model = GPT2LMHeadModel(GPT2Config(**size, initializer_range=0.5))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def tiny_judge(causal) -> Judge:
    return load_judge(str(causal))


def by_hand(judge: Judge, text: str) -> list[float]:
    """-log p of each token but the first, every one from a pass of its own over what stands before it."""
    ids = judge.tokenizer(text, add_special_tokens=False)["input_ids"]
    nats = []
    for at in range(1, len(ids)):
        with torch.inference_mode():
            logits = judge.model(input_ids=torch.tensor([ids[:at]])).logits[0, -1]
        nats.append(-logits.log_softmax(-1)[ids[at]].item())
    return nats


def test_perplexity_is_that_of_one_token_after_the_other(tiny_judge):
    text = "The old sailor looked into the sea."
    nats = by_hand(tiny_judge, text)
    assert 2 < len(nats) < CONTEXT and max(nats) - min(nats) > 1
    assert tiny_judge.perplexity(text) == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-4)
    assert tiny_judge.name == "tiny-causal"


def test_every_token_of_a_long_text_is_judged_once_with_half_a_window_before_it(tiny_judge):
    """Each token is a function of what stands before it, so the windows can be cut by hand."""
    text = "".join(f"The sea, {number}. " for number in range(30))
    ids = tiny_judge.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 3 * CONTEXT and tiny_judge.window == CONTEXT
    nats = 0.0
    for at in range(1, len(ids)):
        start = max(0, (at - CONTEXT) // (CONTEXT // 2) + 1) * (CONTEXT // 2)
        with torch.inference_mode():
            logits = tiny_judge.model(input_ids=torch.tensor([ids[start:at]])).logits[0, -1]
        nats -= logits.log_softmax(-1)[ids[at]].item()
    assert tiny_judge.perplexity(text) == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)


def test_too_short_a_text_has_no_perplexity(tiny_judge):
    assert tiny_judge.perplexity("") is None
    (first,) = tiny_judge.tokenizer("T", add_special_tokens=False)["input_ids"]
    assert first and tiny_judge.perplexity("T") is None
    assert tiny_judge.perplexity("The old") > 1


def test_what_the_judge_writes_is_drawn_token_by_token(tiny_judge):
    """By hand: a pass of its own for every token, without what the model keeps of the passes before."""
    text, count = "The old sailor", 24
    ids = tiny_judge.tokenizer(text, add_special_tokens=False)["input_ids"]
    generator, written = torch.Generator().manual_seed(7), ""
    while len(written) < count:
        with torch.inference_mode():
            logits = tiny_judge.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        logits = logits.index_fill(0, torch.tensor(tiny_judge.tokenizer.all_special_ids), -math.inf)
        ids.append(int(torch.multinomial(logits.softmax(-1), 1, generator=generator)))
        written = tiny_judge.tokenizer.decode(ids)[len(text) :].rstrip("\ufffd")
    found = tiny_judge.continue_text(text, count, torch.Generator().manual_seed(7))
    assert found == written[:count] and len(found) == count
    assert tiny_judge.continue_text(text, count, torch.Generator().manual_seed(8)) != found


def test_what_the_judge_writes_has_its_law(tiny_judge):
    """The first token after a text: shares of single characters against their probabilities."""
    text, draws, generator = "The", 400, torch.Generator().manual_seed(0)
    ids = torch.tensor([tiny_judge.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        p = tiny_judge.model(input_ids=ids).logits[0, -1].double()
    p = p.index_fill(0, torch.tensor(tiny_judge.tokenizer.all_special_ids), -math.inf).softmax(-1)
    likeliest = int(p.argmax())
    first = tiny_judge.tokenizer.decode([likeliest])[0]
    share = sum(tiny_judge.continue_text(text, 1, generator) == first for _ in range(draws)) / draws
    same = sum(float(p[i]) for i in range(len(p)) if tiny_judge.tokenizer.decode([i])[:1] == first)
    assert 0.02 < same < 0.98 and abs(share - same) < 5 * math.sqrt(same * (1 - same) / draws) + 0.01


def test_what_the_judge_cannot_write(tiny_judge):
    generator = torch.Generator().manual_seed(0)
    assert tiny_judge.continue_text("The old", 0, generator) == ""
    with pytest.raises(ValueError, match="at least one token"):
        tiny_judge.continue_text("", 5, generator)
    with pytest.raises(InputError, match=f"no further than {CONTEXT} tokens"):
        tiny_judge.continue_text("The old", 4000, generator)


def test_names_of_special_tokens_in_a_text_are_characters(tiny_judge):
    text = "The sea <|endoftext|> and"
    ids = tiny_judge.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tiny_judge.tokenizer.eos_token_id not in ids
    seen = []
    tiny_judge.model.register_forward_pre_hook(lambda _, __, named: seen.append(named["input_ids"]), with_kwargs=True)
    tiny_judge.perplexity(text)
    assert seen[0][0].tolist() == ids


# ---------------------------------------------------------------- none, or none that works


def refused(name: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_judge(name)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".") and len(sentence) < 300
    return sentence


def without(monkeypatch, *absent: str) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in absent else there(name, *rest)
    )


def test_no_judge_is_a_sentence_that_says_how_to_get_one(monkeypatch):
    without(monkeypatch, judge.CARRIER)
    assert refused() == f"No judge is installed: {judge.INSTALL}."


@pytest.mark.parametrize("package", judge.ALSO_NEEDED)
def test_what_reads_gguf_is_asked_for(monkeypatch, tmp_path, package):
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    without(monkeypatch, package)
    monkeypatch.setattr(judge, "ALSO_NEEDED", (package,))
    assert f"without the package {package}" in refused(str(tmp_path / "some.gguf"))


def test_the_carrier_is_not_imported(monkeypatch, tmp_path):
    """Its module would import llama.cpp; only the file beside it is of use."""
    package = tmp_path / judge.CARRIER
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "a-judge.gguf").write_bytes(b"GGUF, and then nothing")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(judge, "ALSO_NEEDED", ())
    assert refused().startswith("The judge a-judge")


def test_what_is_no_judge_is_refused(causal, tmp_path):
    assert "neither a .gguf file" in refused("nowhere")
    assert "neither a .gguf file" in refused(str(tmp_path / "absent" / "judge"))
    (tmp_path / "empty").mkdir()
    assert "a .safetensors file is missing" in refused(str(tmp_path / "empty"))
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in causal.iterdir():
        (damaged / file.name).write_bytes(
            file.read_bytes()[:2000] if file.suffix == ".safetensors" else file.read_bytes()
        )
    assert refused(str(damaged)).startswith("The judge damaged cannot be loaded")
    assert str(tmp_path) not in refused(str(damaged))


def test_pickled_weights_and_foreign_code_are_not_read(causal, tmp_path):
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in causal.iterdir():
        if file.suffix != ".safetensors":
            (pickled / file.name).write_bytes(file.read_bytes())
    torch.save({}, pickled / "pytorch_model.bin")
    assert "a .safetensors file is missing" in refused(str(pickled))
    (pickled / "other.safetensors").write_bytes((causal / "model.safetensors").read_bytes())
    assert "cannot be loaded" in refused(str(pickled))  # the pickle is no way around it
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "model.safetensors").write_bytes((causal / "model.safetensors").read_bytes())
    (foreign / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoModelForCausalLM": "code.Model"}}')
    (foreign / "code.py").write_text("raise SystemExit('ran')")
    assert "cannot be loaded" in refused(str(foreign))


def test_a_hub_id_is_read_without_code_or_pickles(monkeypatch):
    import transformers

    asked = []

    def offline(name, **options):
        asked.append((name, options))
        raise OSError("no network")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name, **options: asked.append(options))
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", offline)
    assert refused("owner/some-model") == "The judge owner/some-model cannot be loaded (OSError)."
    tokenizer_options, (name, options) = asked
    assert name == "owner/some-model" and options["use_safetensors"] is True
    assert options["trust_remote_code"] is False and tokenizer_options["trust_remote_code"] is False


# ---------------------------------------------------------------- the real one


@pytest.mark.slow
def test_the_real_judge_prefers_a_sentence_to_its_words_reversed():
    for package in (judge.CARRIER, *judge.ALSO_NEEDED):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the judge is optional and {package} is not installed: {judge.INSTALL}")
    real = load_judge()
    assert real.name.startswith("SmolLM2-135M-Instruct")
    text = "The capital of France is Paris, which is also its largest city."
    assert real.perplexity(text) == pytest.approx(8.5, abs=0.5)
    assert real.perplexity(" ".join(reversed(text.split()))) > 6000
