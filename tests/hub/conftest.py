"""The stand-in for the Hub with a tiny checkpoint on it, and an empty cache that `huggingface_hub` uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from ddemo.denoisers import hub
from tests.hub.stand_in import Repository, StandIn, stand_in

ID = "someone/tiny-mdm"


@pytest.fixture
def repository(tiny_directory) -> Repository:
    return Repository.of(tiny_directory)


@pytest.fixture
def server(repository) -> Iterator[StandIn]:
    with stand_in({ID: repository}) as running:
        yield running


@pytest.fixture
def cache(tmp_path, server, monkeypatch) -> Iterator[Path]:
    """An empty cache; the Hub is the stand-in, without a token, and patience is short."""
    place = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    monkeypatch.setattr(hub, "TICK", 0.02)
    monkeypatch.setattr(hub, "CHUNK", 4096)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    close_session()
    yield place
    close_session()
