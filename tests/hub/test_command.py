"""`python -m ddemo fetch` and `models`: what they print, what they refuse, and that a fetched checkpoint runs."""

import json
import shutil
import subprocess
import sys
from functools import partial

import pytest

from ddemo.__main__ import main
from ddemo.denoisers import hub, load_checkpoint
from ddemo.denoisers.catalog import catalog
from ddemo.denoisers.loading import SHIPPED
from ddemo.ui.api import of_text, stream
from ddemo.ui.shelf import Shelf
from tests.app_process import ROOT, clean_environment
from tests.hub.conftest import ID
from tests.hub.stand_in import Repository


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_dry_run_says_what_a_download_needs_and_fetches_nothing(repository, server, cache, capsys):
    status, out, _ = run(capsys, "fetch", ID, "--dry-run", "--device", "cpu")
    assert status == 0 and hub.cached(ID) is None and server.sent("model.safetensors") == []
    assert f"{ID} at commit {repository.commit[:12]}: 4 files" in out
    assert "of the disk is free. It needs about" in out and "(float32, 4 lanes of 128 tokens)" in out


def test_what_was_fetched_runs(cache, capsys):
    status, out, err = run(capsys, "fetch", ID, "--device", "cpu")
    assert (status, out.splitlines()[-1]) == (0, f"{ID} is in the cache: use it as --checkpoint {ID}")
    assert "100%" in err
    ran = ["generate", "The old", "--checkpoint", ID, "--device", "cpu", "--steps", "2", "--length", "4", "--json"]
    status, out, _ = run(capsys, *ran)
    assert status == 0 and json.loads(out)["checkpoint"]["id"] == ID


def test_a_second_fetch_asks_nobody(server, cache, capsys):
    assert run(capsys, "fetch", ID, "--device", "cpu")[0] == 0
    asked = len(server.asked)
    assert run(capsys, "fetch", ID, "--device", "cpu")[0] == 0
    assert len(server.asked) == asked


def test_what_another_program_left_half_is_completed(repository, cache, capsys):
    half = cache / "models--someone--tiny-mdm" / "snapshots" / repository.commit
    half.mkdir(parents=True)
    (half / "config.json").write_bytes(repository.files["config.json"])
    assert run(capsys, "fetch", f"{ID}@{repository.commit}", "--device", "cpu")[0] == 0
    assert load_checkpoint(f"{ID}@{repository.commit}", "cpu").id == ID


def test_a_page_offers_what_was_fetched(repository, cache, capsys):
    run(capsys, "fetch", ID, "--device", "cpu")
    shelf = Shelf.of([ID], "cpu", public=True)
    assert shelf.default.id == ID
    *_, last = stream(shelf, partial(of_text, "The old", 4), {"steps": 2}, ID)
    assert last["done"] and last["checkpoint"]["id"] == ID
    assert last["checkpoint"]["revision"] == repository.commit[:12]


def test_the_noises_are_compared_from_a_checkpoint_of_the_cache(server, cache, capsys):
    """Its directory is called after a commit, which is no name that it can be found by."""
    server.repositories["someone/world"] = Repository.of(SHIPPED / "exact-world")
    assert run(capsys, "fetch", "someone/world", "--device", "cpu")[0] == 0
    asked = ["compare", "--question", "noises", "--checkpoint", "someone/world", "--device", "cpu"]
    status, out, err = run(capsys, *asked, "--length", "4", "--steps", "2", "--json")
    assert status == 0, err
    ran = [lane["checkpoint"] for lane in json.loads(out)["lanes"]]
    assert ran == ["someone/world", "exact-world", "exact-world-uniform"]


@pytest.mark.parametrize(
    "name, says", [("nobody/nothing", "There is no nobody/nothing"), ("nothing", "is not the id")]
)
def test_what_cannot_be_fetched_is_one_sentence(cache, capsys, name, says):
    status, out, err = run(capsys, "fetch", name)
    assert (status, out) == (2, "") and err.startswith("ddemo: ") and says in err and err.count("\n") == 1


def test_a_family_that_is_not_read_is_refused_before_its_weights_are_fetched(repository, server, cache, capsys):
    repository.files["config.json"] = b'{"model_type": "unheard-of", "architectures": ["Unheard"]}'
    status, _, err = run(capsys, "fetch", ID)
    assert status == 2 and "tiny-mdm is not a masked language model" in err
    assert server.sent("model.safetensors") == []


def test_the_catalog_is_listed(cache, capsys):
    status, out, _ = run(capsys, "models", "--device", "cpu")
    assert status == 0 and all(f"\n{name}\n" in out for name in catalog())
    status, out, _ = run(capsys, "models", "mdlm-owt", "--json", "--device", "cpu", "--dtype", "bfloat16")
    listed = json.loads(out)
    [row] = listed["checkpoints"]
    assert row["weights"] == 2 * row["parameters"] and row["cached"] is False and listed["device"] == "cpu"


def test_the_catalog_says_what_is_whole_in_the_cache(tiny_directory, cache, capsys):
    entry = next(iter(catalog().values()))
    place = cache / f"models--{entry.id.replace('/', '--')}" / "snapshots" / entry.revision
    place.mkdir(parents=True)

    def listed() -> tuple[bool, bool]:
        """As text and as JSON."""
        text = run(capsys, "models", entry.id, "--device", "cpu")[1]
        rows = json.loads(run(capsys, "models", entry.id, "--device", "cpu", "--json")[1])["checkpoints"]
        return f"{entry.id} (in the cache)" in text, next(row["cached"] for row in rows if row["id"] == entry.id)

    shutil.copy(tiny_directory / "config.json", place)  # as another program leaves it that asks for no weights
    assert listed() == (False, False)
    shutil.copytree(tiny_directory, place, dirs_exist_ok=True)
    assert listed() == (True, True)


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["models", "no-such-thing"], "The catalog has no checkpoint"),
        (["models", "--device", "tpu"], "device must be one of"),
        (["models", "--dtype", "int4"], "dtype must be one of"),
        (["models", "--lanes", "0"], "length and lanes must be 1 or more"),
    ],
)
def test_what_cannot_be_listed_is_one_sentence(cache, capsys, arguments, says):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and says in err and err.count("\n") == 1


def test_the_ecosystems_own_variables_are_heeded(repository, server, tmp_path):
    given = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": repository.token}
    repository.gated = True
    command = [sys.executable, "-m", "ddemo", "fetch", ID, "--device", "cpu"]
    environment = clean_environment(**given)
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    snapshots = tmp_path / "home" / "hub" / "models--someone--tiny-mdm" / "snapshots"
    assert [path.name for path in snapshots.iterdir()] == [repository.commit]
