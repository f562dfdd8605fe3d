"""Documents are read as they are, and windows of them are a function of the generator."""

import json
import lzma

import numpy as np
import pytest
import torch

from ddemo.errors import InputError
from ddemo.training import data
from ddemo.training.data import TokenFile, count_tokens, open_tokens, read_documents, sample_windows, write_tokens
from ddemo.training.tokenizer import END_OF_TEXT, NEWLINE, train_tokenizer

RECORDS = [
    {"split": "train", "text": "One  two.\r\nThree \N{EM DASH} four.\n"},
    {"split": "valid", "text": "Held out."},
    {"split": "train", "text": ""},
    {"split": "train", "title": "Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "text": "Five."},
]


def write_lines(path, records):
    text = "".join(json.dumps(record) + "\n\n" for record in records)
    path.write_bytes(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["books.jsonl", "books.jsonl.xz"])
def test_json_lines_give_the_documents_of_a_split(tmp_path, name):
    path = write_lines(tmp_path / name, RECORDS)
    assert list(read_documents(path, "train")) == [RECORDS[0]["text"], "Five."]
    assert list(read_documents(path, "valid")) == ["Held out."]


def test_where_no_split_is_named_the_end_is_held_out_and_nothing_is_lost(tmp_path):
    text = "".join(f"Line {i} of a text.\r\n" for i in range(300))
    (tmp_path / "book.txt").write_bytes(text.encode())
    with lzma.open(tmp_path / "book.txt.xz", "wb") as file:
        file.write(text.encode())
    write_lines(tmp_path / "book.jsonl", [{"text": text}])
    for name in ("book.txt", "book.txt.xz", "book.jsonl"):
        (train,) = read_documents(tmp_path / name, "train")
        (valid,) = read_documents(tmp_path / name, "valid")
        assert train + valid == text
        assert valid.startswith("Line ")
        assert 0.02 <= len(valid) / len(text) < 0.03


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"text": "fine"}\n{"txt": 1}\n', "line 2"),
        ("a.jsonl", b'{"text": ["no"]}\n', "line 1"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "line 1"),
        ("a.jsonl", b"[1, 2]\n", "line 1"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("a.jsonl.xz", b"not compressed", "damaged"),
        ("a.csv", b"a,b", "expected a name ending"),
        (None, None, "no file"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path, name, content, complaint):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=complaint):
        list(read_documents(tmp_path / (name or "missing.txt"), "train"))


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="train, valid"):
        list(read_documents(tmp_path / "a.txt", "test"))


def test_token_file_is_the_documents_joined_by_the_end_of_text(tmp_path, monkeypatch):
    texts = ["First line.\nSecond  line.\n\nThird.", "Another\n", "One line only"] * 3
    tokenizer = train_tokenizer(texts, 280)
    end, newline = tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(NEWLINE)
    done = []
    monkeypatch.setattr(data, "PIECE", 5)  # cut documents as long ones are, here at almost every line
    write_tokens(tokenizer, texts, tmp_path / "tokens", end, done.append)
    file = open_tokens(tmp_path / "tokens", newline, end)
    whole = [token for text in texts for token in [*tokenizer.encode(text).ids, end]]
    assert file.tokens.tolist() == whole
    assert sum(done) == sum(map(len, texts))
    breaks = [i + 1 for i, token in enumerate(whole[:-1]) if token in (newline, end)]
    assert file.starts.tolist() == [0, *breaks]


def test_tokens_are_counted_over_the_whole_file(monkeypatch):
    monkeypatch.setattr(data, "PIECE", 7)
    tokens = np.array([1, 1, 3, 0, 3] * 9, dtype="<u2")
    assert count_tokens(TokenFile(tokens, np.zeros(1)), 5).tolist() == [9, 18, 0, 18, 0]


def numbered(count: int, every: int) -> TokenFile:
    """Tokens that are their own position; a paragraph begins at each multiple of `every`."""
    return TokenFile(np.arange(count, dtype="<u2"), np.arange(0, count, every))


def test_windows_depend_on_the_generator_alone_and_reach_everywhere():
    file = numbered(50, every=10)

    def draw(seed: int) -> torch.Tensor:
        return sample_windows(file, 2000, 8, torch.Generator().manual_seed(seed))

    windows = draw(0)
    assert windows.shape == (2000, 8)
    assert torch.equal(windows, draw(0))
    assert not torch.equal(windows, draw(1))
    assert (windows.diff(dim=1) == 1).all()
    assert set(windows[:, 0].tolist()) == set(range(43))  # 42 is the last start with a whole window after it


def test_the_asked_share_of_windows_starts_at_a_paragraph():
    file = numbered(1000, every=50)
    for share, expected in ((0.0, 1 / 50), (0.5, 0.5 + 0.5 / 50), (1.0, 1.0)):
        windows = sample_windows(file, 4000, 10, torch.Generator().manual_seed(0), share)
        at_paragraph = (windows[:, 0] % 50 == 0).float().mean().item()
        assert at_paragraph == pytest.approx(expected, abs=0.03)  # over three standard errors


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="fewer than one window of 8"):
        sample_windows(numbered(7, every=5), 1, 8, torch.Generator())
    assert sample_windows(numbered(8, every=5), 3, 8, torch.Generator()).tolist() == [list(range(8))] * 3
