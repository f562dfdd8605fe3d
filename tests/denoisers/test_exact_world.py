"""The exact world as a checkpoint: its logits are the truth, its files what `write` makes, its text its own words."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ddemo.denoisers import Checkpoint, load_checkpoint, load_codec
from ddemo.denoisers.exact_world import ExactWorldDenoiser, WordCodec, bits_per_character, write
from ddemo.denoisers.loading import SHIPPED, canvas_limit_of, process_of
from ddemo.errors import InputError
from ddemo.processes.exact import SENTENCES, WORDS, ExactWorld
from ddemo.sampling.canvas import Spacing, read_text
from tests.denoisers.damage import refused

NAMES = {"exact-world": "absorbing", "exact-world-uniform": "uniform"}
MASK, PAD = 11, 10
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module", params=NAMES)
def checkpoint(request) -> Checkpoint:
    return load_checkpoint(request.param, device="cpu")


@pytest.fixture
def broken(tmp_path) -> Path:
    """A copy of the shipped checkpoint, to be damaged."""
    return Path(shutil.copytree(SHIPPED / "exact-world", tmp_path / "broken"))


def small_world(seed: int = 0) -> ExactWorld:
    generator = torch.Generator().manual_seed(seed)
    joint = torch.rand(3, 3, 3, 3, generator=generator, dtype=torch.float64) ** 3
    return ExactWorld(joint / joint.sum())


def probabilities(denoiser, tokens, times, lengths, wanted):
    """[N, K], after the checks that hold for all logits."""
    logits = denoiser(tokens, times, lengths, wanted)
    assert logits.dtype == torch.float32 and logits.shape == (int(wanted.sum()), denoiser.vocab_size)
    assert (logits[:, denoiser.vocab_size - 2 :] == -math.inf).all()
    p = logits[:, :-2].exp()
    torch.testing.assert_close(p.sum(1), torch.ones(len(p)), **CLOSE)
    return p


# The denoiser is the world


def batch(process: str):
    """Eight rows of one to four tokens, padded; masks in them under absorbing noise; some positions wanted."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([4, 1, 3, 2, 4, 4, 3, 2])
    beyond = torch.arange(4) >= lengths[:, None]
    tokens = torch.randint(3, (8, 4), generator=generator)
    if process == "absorbing":
        tokens[torch.rand(8, 4, generator=generator) < 0.5] = 4
    tokens[beyond] = torch.randint(5, (8, 4), generator=generator)[beyond]  # whatever stands there is not read
    wanted = (torch.rand(8, 4, generator=generator) < 0.7) & ~beyond
    return tokens, torch.rand(8, generator=generator, dtype=torch.float64), lengths, wanted


def test_absorbing_logits_are_the_worlds_conditionals():
    world = small_world()
    denoiser = ExactWorldDenoiser(world, "small", "absorbing")
    tokens, times, lengths, wanted = batch("absorbing")
    p, visible = iter(probabilities(denoiser, tokens, times, lengths, wanted)), 0
    for row, i in wanted.nonzero().tolist():
        x_t = tokens[row, : lengths[row]]
        mask = x_t == 4
        visible += not mask[i]
        mask[i] = True  # a word that stands there is not looked at
        torch.testing.assert_close(next(p), world.given(x_t, mask)[i].float(), **CLOSE)
    assert 0 < visible < wanted.sum()
    assert not denoiser.takes_time and (denoiser.process, denoiser.predicts) == ("absorbing", "posterior")


@pytest.mark.parametrize("predicts", ["posterior", "leave-one-out"])
def test_uniform_logits_are_the_worlds_posteriors_at_each_rows_own_time(predicts):
    world = small_world()
    denoiser = ExactWorldDenoiser(world, "small", "uniform", predicts)
    tokens, times, lengths, wanted = batch("uniform")
    ask = world.given_uniform if predicts == "posterior" else world.leave_one_out_uniform
    p = iter(probabilities(denoiser, tokens, times, lengths, wanted))
    for row, i in wanted.nonzero().tolist():
        expected = ask(tokens[row, : lengths[row]], 1 - times[row].item())[i]
        torch.testing.assert_close(next(p), expected.float(), **CLOSE)
    assert denoiser.takes_time and (denoiser.process, denoiser.predicts) == ("uniform", predicts)


def test_a_mask_under_uniform_noise_says_nothing():
    world = small_world()
    denoiser = ExactWorldDenoiser(world, "small", "uniform")
    tokens = torch.tensor([[2, 4, 1, 3]])  # 3 and 4 are [PAD] and [MASK]
    p = probabilities(denoiser, tokens, torch.zeros(1), torch.tensor([4]), tokens == 4)
    expected = world.given(torch.tensor([2, 0, 1, 0]), torch.tensor([False, True, False, True]))[1]
    torch.testing.assert_close(p[0], expected.float(), **CLOSE)


def test_float32_times_are_taken():
    denoiser = ExactWorldDenoiser(small_world(), "small", "uniform")
    tokens, times, lengths, wanted = batch("uniform")
    p = [probabilities(denoiser, tokens, t, lengths, wanted) for t in (times, times.float())]
    torch.testing.assert_close(*p, **CLOSE)


def test_nothing_wanted_and_no_rows():
    denoiser = ExactWorldDenoiser(small_world(), "small", "absorbing")
    tokens, times, lengths, wanted = batch("absorbing")
    assert denoiser(tokens, times, lengths, wanted & False).shape == (0, 5)
    assert denoiser(tokens[:0], times[:0], lengths[:0], wanted[:0]).shape == (0, 5)


@pytest.mark.parametrize("wrong", [{"process": "masked"}, {"predicts": "x0"}])
def test_names_that_mean_nothing(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be one of .* not '{next(iter(wrong.values()))}'"):
        ExactWorldDenoiser(small_world(), "small", **{"process": "uniform"} | wrong)


# The shipped checkpoints


@pytest.mark.parametrize("name, process", NAMES.items())
def test_the_shipped_files_are_those_that_write_makes(name, process, tmp_path):
    write(tmp_path, process)
    made = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    shipped = {file.name: file.read_bytes() for file in (SHIPPED / name).iterdir()}
    assert set(made) == set(shipped)
    for file in made:
        if file == "tokenizer.json":  # its layout is the library's affair
            assert json.loads(made[file]) == json.loads(shipped[file])
        else:
            assert made[file] == shipped[file], file


def test_write_refuses_an_unknown_process(tmp_path):
    with pytest.raises(ValueError, match="process must be one of absorbing, uniform, not 'masked'"):
        write(tmp_path / "none", "masked")
    assert not (tmp_path / "none").exists()


def test_a_shipped_checkpoint_is_the_shipped_world(checkpoint):
    process, denoiser, codec = NAMES[checkpoint.id], checkpoint.denoiser, checkpoint.codec
    assert process_of(checkpoint.directory) == denoiser.process == process
    assert denoiser.takes_time == (process == "uniform")
    assert checkpoint.dtype == "float64" and checkpoint.as_dict()["device"] == "cpu"
    assert denoiser.max_length == canvas_limit_of(checkpoint.directory) == 6
    assert denoiser.vocab_size == codec.vocab_size == 12 and denoiser.mask_id == codec.mask_id == MASK
    torch.testing.assert_close(denoiser.world.joint, ExactWorld.sentences().joint, rtol=1e-12, atol=0)
    assert denoiser.world.words == WORDS == tuple(codec.words)
    assert codec.never_drawn.nonzero().flatten().tolist() == [PAD, MASK]


def test_devices_and_types_of_networks_do_not_matter_to_a_table():
    assert load_checkpoint("exact-world", "cpu", "bfloat16").dtype == "float64"
    with pytest.raises(InputError, match="dtype must be one of"):
        load_checkpoint("exact-world", "cpu", "int4")


def test_the_shipped_worlds_bits_a_character():
    """Entropy of the joint over the mean number of characters, both counted text by text where they are large."""
    world = ExactWorld.sentences()
    every = torch.cartesian_prod(*[torch.tensor([float(len(word)) for word in WORDS], dtype=torch.float64)] * 6)
    characters = (world.joint.flatten() * every.sum(1)).sum().item()
    bits = -(world.joint * world.joint.log2()).sum().item()
    assert bits_per_character(world) == pytest.approx(bits / characters, rel=1e-9)
    assert f"{bits_per_character(world):.4f} bits a character" in (SHIPPED / "exact-world" / "README.md").read_text()


# Its text


@pytest.fixture(scope="module")
def codec() -> WordCodec:
    return load_codec(SHIPPED / "exact-world")


@given(st.lists(st.sampled_from(range(10)), min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_any_words_in_a_row_are_read_back_as_they_were(codec, tokens):
    text = "".join(WORDS[token] for token in tokens)
    assert codec.decode(tokens) == text
    assert codec.encode(text) == (tokens, [WORDS[token] for token in tokens])


def test_a_prompt_keeps_the_visitors_spacing(codec):
    canvas = read_text("The king [MASK:3].", 0, codec, 6)
    assert canvas.tokens.tolist() == [0, 1, MASK, MASK, MASK, 9]
    assert canvas.spacing[2] == Spacing.SPACE_FIRST
    assert codec.leads_with_space.tolist() == [word[0] == " " for word in WORDS] + [False] * 2
    assert not codec.ends_with_whitespace.any()
    assert read_text("[MASK] king", 0, codec, 6).tokens.tolist() == [MASK, 1]
    assert read_text("The queen", 4, codec, 6).tokens.tolist() == [0, 2, MASK, MASK, MASK, MASK]
    assert read_text("The queen loves her son.", 1, codec, 7).text(codec) == "The queen loves her son.[MASK]"


@pytest.mark.parametrize(
    "text, word",
    [
        ("The dragon loves his son.", "' dragon'"),
        ("The kingdom", "' kingdom'"),
        ("king", "'king'"),  # the world's own word has its space
        (" The king", "' '"),
        ("The  king", "' '"),
        ("The king!", "'!'"),
        ("The big bad king", "' big'"),
        ("the king", "'the'"),
        ("The [MASK]", "' ['"),
        ("[PAD]", "'['"),
        ("<unk>", "'<'"),
        ("é", "'é'"),
        ("Ġking", "'Ġking'"),
        ("a\0", "'a'"),
        ("The\u200b", "'<U+200B>'"),
        ("x" * 5000, "'" + "x" * 40 + "'"),
    ],
)
def test_a_word_that_the_world_does_not_have_is_named(codec, text, word):
    with pytest.raises(InputError) as caught:
        codec.encode(text)
    message = str(caught.value)
    assert message.startswith(f"This checkpoint has no word {word}: it only knows 'The', ' king', ")
    assert message.endswith("'.'.") and "\n" not in message and len(message) < 200


def test_a_lone_surrogate_is_refused_as_elsewhere(codec):
    with pytest.raises(InputError, match="Character 1 "):
        codec.encode("\ud800")
    assert codec.encode("") == ([], [])


def test_every_sentence_is_six_tokens(codec):
    assert [len(codec.encode(text)[0]) for text in SENTENCES] == [6] * 10


# Damaged directories


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_is_not_there(broken, name):
    (broken / name).unlink()
    assert name.rpartition(".")[2] in refused(broken)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_table_that_was_cut_short(broken, kept):
    file = broken / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    assert "half-written" in refused(broken)


@pytest.mark.parametrize("name", ["texts", "weights", "spread"])
def test_a_table_with_a_part_missing(broken, name):
    table = load_file(broken / "model.safetensors")
    del table[name]
    save_file(table, broken / "model.safetensors")
    assert f"incomplete: {name} is missing" in refused(broken)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"texts": torch.full((10, 6), 10)}, "texts must hold words 0 to 9"),
        ({"texts": torch.zeros(10, 5, dtype=torch.int64)}, "do not fit each other"),
        ({"texts": torch.zeros(10, 30, dtype=torch.int64)}, "10^30"),
        ({"weights": -torch.ones(10)}, "weights must be 10 positive numbers"),
        ({"spread": torch.tensor(0.0)}, "spread must be positive"),
        ({"spread": torch.tensor(math.nan)}, "spread must be in [0, 1]"),
        ({"spread": torch.ones(3)}, "spread must be in [0, 1]"),
    ],
)
def test_a_table_that_makes_no_world(broken, change, said):
    save_file(load_file(broken / "model.safetensors") | change, broken / "model.safetensors")
    assert said in refused(broken)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"canvas_length": 5}, "do not fit each other"),
        ({"canvas_length": "long"}, "canvas_length is not a whole number"),
        ({"vocab_size": 13}, "do not fit each other"),
        ({"vocab_size": 11}, "outside its 11 tokens"),
        ({"process": "gaussian"}, "is for the noise 'gaussian', not absorbing or uniform"),
        ({"process": ["uniform"]}, "not absorbing or uniform"),
        ({"model_type": "another-world"}, "not a masked language model (its config names ExactWorld)"),
        ({"model_type": ["ddemo_exact_world"]}, "not a masked language model"),
    ],
)
def test_a_config_that_does_not_fit(broken, change, said):
    file = broken / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert said in refused(broken)


@pytest.mark.parametrize("content", ["", "{}", "[]", "{" * 2000])
def test_a_damaged_tokenizer(broken, content):
    (broken / "tokenizer.json").write_text(content)
    assert "tokenizer of broken cannot be read" in refused(broken)


def test_a_copy_elsewhere_has_its_own_name_and_the_same_identity(broken):
    copy = Path(shutil.copytree(broken, broken.parent / "mine"))
    loaded = load_checkpoint(str(copy), device="cpu")
    assert loaded.id == loaded.denoiser.id == "mine"
    assert loaded.revision == load_checkpoint("exact-world", device="cpu").revision
