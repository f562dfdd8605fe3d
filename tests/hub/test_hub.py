"""Downloads on a stand-in for the Hub: what is fetched, what goes on after a break, and how it fails."""

import errno
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from ddemo.denoisers import find_checkpoint, hub, load_checkpoint
from ddemo.errors import InputError
from tests.hub.conftest import ID

WEIGHTS = "model.safetensors"


def blob(cache: Path, repository, name: str = WEIGHTS) -> Path:
    return cache / f"models--{ID.replace('/', '--')}" / "blobs" / repository.blob(name)


def unfinished(cache: Path, repository) -> Path:
    file = blob(cache, repository)
    return file.with_name(file.name + hub.UNFINISHED)


def refused(name: str = ID) -> str:
    """The one sentence with which a download is refused."""
    with pytest.raises(InputError) as caught:
        hub.download(hub.plan(name))
    said = str(caught.value)
    assert "\n" not in said and len(said) < 300 and said.endswith(".")
    assert "http" not in said and "hf_secret" not in said
    return said


def until(holds) -> None:
    """Wait a little for something that another thread does."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---------------------------------------------------------------- what goes well


def test_a_plan_names_what_is_needed_and_nothing_else(repository, cache):
    repository.files |= {"modeling_evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "README.md": b"#"}
    repository.files["onnx.safetensors"] = b"another copy"
    planned = hub.plan(ID)
    assert planned.commit == repository.commit and planned.id == hub.HubId(ID, "main")
    names = {file.name for file in planned.files}
    assert names == {"config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"}
    assert planned.missing == planned.bytes == sum(len(repository.files[name]) for name in names)
    assert planned.weights == len(repository.files[WEIGHTS]) and planned.config["canvas_length"] == 64
    assert planned.cached == frozenset() and planned.free > 0
    assert not cache.exists(), "a plan fetches nothing"


def test_a_fresh_download_loads_and_is_known_by_its_id(repository, server, cache, tiny):
    seen = []
    directory = hub.download(hub.plan(ID), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == hub.plan(ID).bytes
    assert hub.plan(ID).missing == 0
    assert blob(cache, repository).read_bytes() == repository.files[WEIGHTS]
    checkpoint = load_checkpoint(ID, "cpu")
    assert checkpoint.directory == directory and checkpoint.id == checkpoint.denoiser.id == ID
    assert checkpoint.revision == repository.commit[:12]
    assert checkpoint.codec.same_tokens(tiny.codec)
    assert server.sent("modeling_evil.py") == []


def test_a_warm_cache_needs_no_network(repository, server, cache, monkeypatch):
    hub.download(hub.plan(ID))
    asked = len(server.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_checkpoint(ID) == find_checkpoint(f"{ID}@{repository.commit}") == find_checkpoint(f"{ID}@main")
    assert load_checkpoint(ID, "cpu").id == ID
    assert len(server.asked) == asked


def test_what_another_program_has_fetched_is_used(repository, server, cache):
    file = blob(cache, repository)
    file.parent.mkdir(parents=True)
    file.write_bytes(repository.files[WEIGHTS])
    planned = hub.plan(ID)
    assert planned.cached == {WEIGHTS} and planned.missing == planned.bytes - planned.weights
    hub.download(planned)
    assert server.sent(WEIGHTS) == []


def test_a_revision_is_pinned(repository, cache):
    planned = hub.plan(ID)
    before = repository.commit
    repository.files["README.md"] = b"changed"
    assert repository.commit != before
    with pytest.raises(InputError):  # the commit of the plan is no longer what the stand-in has
        hub.download(planned)
    assert hub.cached(ID) is None


def test_ids():
    commit = "0" * 40
    assert hub.HubId.read("a/b") == hub.HubId("a/b", "main")
    assert hub.HubId.read(f"a/b@{commit}") == hub.HubId("a/b", commit)
    assert hub.HubId.read("a/b@refs/pr/1") == hub.HubId("a/b", "refs/pr/1")
    assert hub.HubId.read("kuleshov-group/mdlm-owt").revision.startswith("25ce5c59")
    for name in (
        "a",
        "a/b/c",
        "../b",
        "a/..",
        "a/b@",
        "a/b@../x",
        "/etc/passwd",
        "a/b\0",
        "a/b@x\n",
        "a/b@/x",
        " a/b",
    ):
        assert hub.HubId.read(name) is None, name


# ---------------------------------------------------------------- what is broken off


def test_a_cut_connection_is_taken_up_where_it_broke(repository, server, cache):
    size = len(repository.files[WEIGHTS])
    repository.cut[WEIGHTS] = [size // 3 // 4096 * 4096, 8192]
    hub.download(hub.plan(ID))
    spans = server.sent(WEIGHTS)
    assert spans[0] == "" and len(spans) == 3
    starts = [int(span.removeprefix("bytes=").removesuffix("-")) for span in spans[1:]]
    assert 0 < starts[0] < starts[1] < size
    assert load_checkpoint(ID, "cpu").id == ID


def test_a_download_goes_on_from_what_an_earlier_one_left(repository, server, cache):
    rest = unfinished(cache, repository)
    rest.parent.mkdir(parents=True)
    rest.write_bytes(repository.files[WEIGHTS][:10_000])
    hub.download(hub.plan(ID))
    assert server.sent(WEIGHTS) == ["bytes=10000-"]
    assert blob(cache, repository).read_bytes() == repository.files[WEIGHTS] and not rest.exists()


def test_a_stopped_download_keeps_what_has_arrived(repository, server, cache):
    planned = hub.plan(ID)
    stop = threading.Event()
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        if done > planned.bytes - planned.weights:
            stop.set()

    repository.cut[WEIGHTS] = [20_000] * 50
    with pytest.raises(hub.DownloadStopped, match="what has arrived is kept"):
        hub.download(planned, progress, stop.is_set)
    assert time.monotonic() - began < 5
    until(lambda: not hub._UNDER_WAY)
    assert hub.cached(ID) is None and not blob(cache, repository).exists()
    had = unfinished(cache, repository).stat().st_size
    assert had > 0
    repository.cut.clear()
    hub.download(hub.plan(ID))
    assert server.sent(WEIGHTS)[-1] == f"bytes={had}-"


def test_a_server_that_stalls_is_given_up(repository, server, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.1)
    repository.stalled.add(WEIGHTS)
    assert "stopped answering" in refused()
    assert len(server.sent(WEIGHTS)) == hub.TRIES
    assert hub.cached(ID) is None


def test_a_stalled_download_can_be_left_at_once(repository, cache):
    repository.stalled.add(WEIGHTS)
    began = time.monotonic()
    with pytest.raises(hub.DownloadStopped):
        hub.download(hub.plan(ID), cancelled=lambda: time.monotonic() - began > 0.3)
    assert time.monotonic() - began < 0.9
    until(lambda: not hub._UNDER_WAY)


# ---------------------------------------------------------------- who shares


def test_two_at_once_share_one_download(repository, server, cache):
    planned, found = hub.plan(ID), []
    repository.gate.clear()
    callers = [threading.Thread(target=lambda: found.append(hub.download(planned))) for _ in range(3)]
    for caller in callers:
        caller.start()
    until(lambda: [item.waiting for item in hub._UNDER_WAY.values()] == [3])
    repository.gate.set()
    for caller in callers:
        caller.join(20)
    assert len(found) == 3 and len(set(found)) == 1
    assert server.sent(WEIGHTS) == [""]


def test_one_that_leaves_does_not_stop_the_other(repository, server, cache):
    planned, found, stop = hub.plan(ID), [], threading.Event()
    repository.gate.clear()
    patient = threading.Thread(target=lambda: found.append(hub.download(planned)))
    patient.start()
    until(lambda: hub._UNDER_WAY)
    stop.set()
    with pytest.raises(hub.DownloadStopped):
        hub.download(planned, cancelled=stop.is_set)
    repository.gate.set()
    patient.join(20)
    assert len(found) == 1 and server.sent(WEIGHTS) == [""]


def test_one_who_comes_while_a_stopped_download_ends_begins_anew(repository, cache):
    planned = hub.plan(ID)
    repository.gate.clear()
    with pytest.raises(hub.DownloadStopped):
        hub.download(planned, cancelled=lambda: True)
    threading.Timer(0.2, repository.gate.set).start()
    assert hub.download(planned).is_dir()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_wrong_bytes_never_enter_the_cache(repository, cache, name):
    good = repository.files[name]
    repository.lie[name] = bytes([good[0] ^ 1]) + good[1:]
    assert f"{name} of {ID} arrived damaged" in refused()
    assert not blob(cache, repository, name).exists() and hub.cached(ID) is None
    repository.lie.clear()
    assert hub.download(hub.plan(ID)).is_dir(), "and the next one does not go on from them"


def test_a_file_that_is_longer_than_the_hub_says(repository, cache):
    repository.lie[WEIGHTS] = repository.files[WEIGHTS] + b"more"
    hub.download(hub.plan(ID))
    assert blob(cache, repository).read_bytes() == repository.files[WEIGHTS]


def test_a_gated_repository(repository, cache, monkeypatch):
    repository.gated = True
    assert "is gated" in refused()
    monkeypatch.setenv("HF_TOKEN", repository.token)
    assert hub.download(hub.plan(ID)).is_dir()


@pytest.mark.parametrize(
    "name, says",
    [
        ("someone/nothing", "There is no someone/nothing on the Hub"),
        (f"{ID}@{'0' * 40}", "has no revision"),
        (f"{ID}@v2", "has no revision 'v2'"),
        ("not-an-id", "is not the id of a checkpoint on the Hub"),
        ("../../etc/passwd", "is not the id of a checkpoint on the Hub"),
    ],
)
def test_what_is_not_there(cache, name, says):
    assert says in refused(name)


def test_a_token_is_for_the_hub_and_not_for_the_store_behind_it(repository, server, cache, monkeypatch):
    repository.gated = True
    monkeypatch.setenv("HF_TOKEN", repository.token)
    hub.download(hub.plan(ID))
    stored = {path: tokens for path, tokens in server.tokens.items() if path.startswith("/cdn/")}
    assert stored == {f"/cdn/{ID}/{WEIGHTS}": {""}}
    assert server.tokens[f"/{ID}/resolve/{repository.commit}/{WEIGHTS}"] == {f"Bearer {repository.token}"}


def test_a_hub_that_cannot_be_reached(cache, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused()


def test_a_hub_that_must_not_be_asked(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids" in refused()


def test_a_disk_that_is_too_small_is_told_before_a_byte_is_fetched(server, cache, monkeypatch):
    planned = hub.plan(ID)
    monkeypatch.setattr(hub, "disk_free", lambda: hub.SPARE + planned.bytes - 1)
    assert "more on the disk, of which" in refused()
    assert server.sent(WEIGHTS) == []


def test_a_disk_that_runs_full_on_the_way(repository, cache, monkeypatch):
    real = hub._Stream._read_on

    def full(stream, out):
        real(stream, out)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(hub._Stream, "_read_on", full)
    assert "The disk is full" in refused()
    assert hub.cached(ID) is None
    monkeypatch.setattr(hub._Stream, "_read_on", real)
    assert hub.download(hub.plan(ID)).is_dir()


def test_a_cache_that_cannot_be_written(cache, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError("denied")))
    assert "cannot be written" in refused()


def test_pickle_files_only(repository, cache):
    repository.files["pytorch_model.bin"] = repository.files.pop(WEIGHTS)
    assert "pickle files only" in refused()


def test_nothing_that_could_be_weights(repository, cache):
    del repository.files[WEIGHTS]
    assert "has no weights" in refused()


@pytest.mark.parametrize("config", [None, b"[]", b"{", b"[" * 100_000])
def test_no_config(repository, cache, config):
    del repository.files["config.json"]
    if config is not None:
        repository.files["config.json"] = config
    assert "is not a checkpoint" in refused()


def test_messages_name_the_repository_and_not_the_commit(repository, cache):
    repository.files["config.json"] = b'{"architectures": ["NoMaskedModel"], "auto_map": {"AutoModel": "evil.Evil"}}'
    hub.download(hub.plan(ID))
    with pytest.raises(InputError) as caught:
        load_checkpoint(ID)
    said = str(caught.value)
    assert said.startswith(f"{ID} is not a masked language model") and repository.commit not in said
    assert "code of its own, which is not run" in said


def test_an_id_that_was_not_fetched_is_refused_without_asking_the_hub(server, cache):
    with pytest.raises(InputError, match=f"python -m ddemo fetch {ID} gets it"):
        find_checkpoint(ID)
    assert server.asked == []


def test_shards_are_fetched_with_their_index(repository, cache):
    whole = repository.files.pop(WEIGHTS)
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    repository.files |= {names[0]: whole, names[1]: whole, "consolidated.safetensors": whole}
    repository.files["model.safetensors.index.json"] = b'{"weight_map": {}}'
    planned = {file.name for file in hub.plan(ID).files}
    assert set(names) < planned and "consolidated.safetensors" not in planned
