"""Held-out text for the measurements of quality: a page that the tiny tokenizer knows, and the exact world's."""

import pytest

from ddemo.denoisers import Checkpoint, load_checkpoint
from ddemo.processes.exact import SENTENCES as OF_WORLD
from tests.conftest import SENTENCES

LINES = [
    f"The old {who} looked into the {where}, and said nothing at all. It was a dark night."
    for who in ("sailor", "child", "letter", "chimney")
    for where in ("sea", "fire", "night", "wind")
]


@pytest.fixture(scope="session")
def page() -> list[str]:
    """Two documents of sixteen paragraphs each, and one that is too short for anything."""
    return ["\n".join(LINES), "\n".join(reversed(LINES)) + "\n" + SENTENCES[2], "No."]


@pytest.fixture(scope="session")
def world() -> Checkpoint:
    return load_checkpoint("exact-world")


@pytest.fixture(scope="session")
def uniform_world() -> Checkpoint:
    return load_checkpoint("exact-world-uniform")


@pytest.fixture(scope="session")
def of_world() -> list[str]:
    """Every sentence of the exact world as a document."""
    return list(OF_WORLD)
