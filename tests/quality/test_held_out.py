"""Prompts, sentences and windows are cut from the text as they stand there."""

import pytest
import torch

from ddemo.errors import InputError
from ddemo.quality import held_out


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_passage_is_the_beginning_of_a_paragraph_cut_at_a_word_and_what_follows_it(tiny, page):
    found = held_out.passages(tiny.codec, page, 12, 20, 8, generator())
    assert len({tuple(passage.prompt.tolist() + passage.following.tolist()) for passage in found}) > 3
    for passage in found:
        prompt = tiny.codec.decode(passage.prompt.tolist())
        whole = tiny.codec.decode([*passage.prompt.tolist(), *passage.following.tolist()])
        assert 1 <= len(passage.prompt) <= 8 and len(passage.following) == 20
        assert any(whole in text and (text.startswith(whole) or "\n" + whole in text) for text in page)
        assert whole[len(prompt)] == " " and "\n" not in prompt
        assert tiny.codec.encode(prompt)[0] == passage.prompt.tolist(), "as it would be read on the page"


def test_what_follows_may_run_into_the_next_paragraph(tiny, page):
    found = held_out.passages(tiny.codec, page, 4, 40, 8, generator())
    assert all("\n" in tiny.codec.decode(passage.following.tolist()) for passage in found)


def test_the_seed_decides_which(tiny, page):
    def prompts(seed: int):
        return [passage.prompt.tolist() for passage in held_out.passages(tiny.codec, page, 6, 20, 8, generator(seed))]

    assert prompts(0) == prompts(0) != prompts(1)


def test_windows_begin_with_a_paragraph(tiny, page):
    for window in held_out.windows(tiny.codec, page, 8, 16, generator()):
        shown = tiny.codec.decode(window.tolist())
        assert len(window) == 16 and any(line.startswith(shown) for text in page for line in text.split("\n"))


def test_a_window_may_be_a_whole_text(world, of_world):
    """Six words is all that there is: the text's end is not taken for a cut."""
    found = held_out.windows(world.codec, of_world, len(of_world), 6, generator())
    assert sorted(world.codec.decode(window.tolist()) for window in found) == sorted(of_world)


def test_sentences_are_whole_and_of_the_lengths_asked_for(tiny):
    text = 'He came. "Did she?" the old man asked her.\nNobody knew\nIt was 3.5 in all; then he went away! So.'
    whole = {
        "He came.",
        '"Did she?"',
        "the old man asked her.",
        "Nobody knew",
        "It was 3.5 in all; then he went away!",
    }
    found = held_out.sentences(tiny.codec, [text], 6, 1, 60, generator())
    assert {tiny.codec.decode(ids.tolist()) for ids in found} == whole | {"So."}
    sizes = {sentence: len(tiny.codec.encode(sentence)[0]) for sentence in whole}
    middling = {sentence for sentence, size in sizes.items() if 6 <= size <= 20}
    assert 0 < len(middling) < len(whole)
    found = held_out.sentences(tiny.codec, [text], len(middling), 6, 20, generator())
    assert {tiny.codec.decode(ids.tolist()) for ids in found} == middling


@pytest.mark.parametrize("count", [0, -1, 1000])
def test_too_little_text_is_one_sentence(tiny, page, count):
    for cut in (
        lambda: held_out.windows(tiny.codec, page, count, 16, generator()),
        lambda: held_out.sentences(tiny.codec, page, count, 4, 64, generator()),
        lambda: held_out.passages(tiny.codec, page, count, 20, 8, generator()),
    ):
        with pytest.raises(InputError, match=r"at least 1, not|ask for fewer"):
            cut()
    with pytest.raises(InputError, match="only 0 paragraphs"):
        held_out.windows(tiny.codec, [], 1, 16, generator())
