"""The Models tab's handlers against the stand-in for the Hub: from the table to a run, and every way to fail."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM

from ddemo import runs
from ddemo.denoisers import fit as fit_module
from ddemo.denoisers import hub, load_codec, loading
from ddemo.denoisers.catalog import catalog
from ddemo.sampling import SamplerConfig
from ddemo.settings import Usual
from ddemo.ui import build_demo
from ddemo.ui import resident as resident_module
from ddemo.ui.api import of_text, stream
from ddemo.ui.chosen import about
from ddemo.ui.controls import CHOICE, KINDS, Controls
from ddemo.ui.models import table
from ddemo.ui.models.desk import UNEXPECTED, Desk, Errand, leave
from ddemo.ui.shelf import Shelf
from tests.denoisers import decoder_checkpoints, dit_checkpoints
from tests.denoisers.test_masked_lm_families import FAMILIES, tokenizer
from tests.hub.conftest import ID
from tests.hub.stand_in import Repository
from tests.ui.conftest import denoise_tab_of_names

WEIGHTS = "model.safetensors"
GB = 10**9


class Visitor:
    """Somebody at the Models tab: what they ask, and what they are shown."""

    def __init__(self, shelf: Shelf):
        denoising = denoise_tab_of_names(Controls(KINDS["absorbing"], Usual.of("absorbing")))
        header = SimpleNamespace(picker="picker", chosen="chosen")
        self.shelf, self.errand = shelf, Errand()
        self.desk = Desk(shelf, header, "tabs", "view", denoising)
        self.panels: dict[str, dict[str, Any]] = {}
        self.rows: list[dict[str, str]] = []
        self.refused, self.choices = "", []

    def ask(self, what: str, name: Any = ID, **asked: Any) -> list[dict]:
        """All messages of one handler."""
        return [self.take(update) for update in self.start(what, name, **asked)]

    def start(self, what: str, name: Any = ID, **asked: Any) -> Iterator[dict]:
        event = gr.EventData(None, {"name": name, **asked})
        given = getattr(self.desk, what)(self.errand, event)
        return iter([{"view": given}]) if isinstance(given, str) else given

    def take(self, update: dict) -> dict:
        message = json.loads(update["view"])
        if "picker" in update:
            self.choices = [name for _, name in update["picker"]["choices"]]
        self.rows = message.get("rows", self.rows)
        self.refused = message.get("refused", {}).get("say", "")
        if panel := message.get("panel"):
            self.panels[panel["name"]] = self.panels.get(panel["name"], {}) | panel
        return message

    def row(self, name: str = ID) -> dict[str, str]:
        return next(row for row in self.rows if row["id"] == name)

    def leave(self, name: str = ID) -> None:
        leave(self.errand, gr.EventData(None, {"name": name}))


@pytest.fixture
def shelf(cache) -> Shelf:
    return Shelf.of("exact-world", "cpu")


@pytest.fixture
def visitor(shelf) -> Visitor:
    return Visitor(shelf)


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes of memory are free."""

    def pretend(count: int) -> None:
        for module in (loading, table, fit_module):
            monkeypatch.setattr(module, "free_memory", lambda device: count)
        monkeypatch.setattr("ddemo.ui.models.panel.free_memory", lambda device: count)

    return pretend


def is_one_sentence(said: str, *secrets: str) -> bool:
    """Whether it is fit for a person, and holds no address, path or token."""
    hidden = ("http", "hf_secret", "Traceback", *secrets)
    return said.endswith(".") and "\n" not in said and len(said) < 320 and not any(part in said for part in hidden)


# ---------------------------------------------------------------- what is there


def test_one_that_was_taken_away_stands_there_as_such(visitor, shelf, tiny_directory, tmp_path):
    mine = shutil.copytree(tiny_directory, tmp_path / "mine")
    shelf.add(str(mine))
    shutil.rmtree(mine)
    visitor.rows = table.rows(shelf)
    row = visitor.row("mine")
    assert row["where"] == "no longer there" and row["noise"] == "masks" and not row["parameters"]


def test_the_table_lists_what_the_page_has_and_then_the_catalog(visitor, shelf, server):
    shelf.default.get()
    visitor.rows = table.rows(shelf)
    here = [row["id"] for row in visitor.rows if row["group"] == "here"]
    assert here == [resident.id for resident in shelf]
    assert [row["id"] for row in visitor.rows if row["group"] == "catalog"] == list(catalog())
    assert all(
        isinstance(value, str) and set(row) == set(table.ROW) for row in visitor.rows for value in row.values()
    )
    assert visitor.row("exact-world")["where"] == "loaded" and visitor.row("classics-mdm")["where"] == "shipped"
    entry = visitor.row("kuleshov-group/udlm-lm1b")
    assert (entry["noise"], entry["family"], entry["context"]) == ("random words", "udlm", "128")
    assert (entry["bytes"], entry["where"], entry["licence"]) == ("557 MB", "on the Hub", "apache-2.0")
    assert visitor.row("classics-mdm")["licence"] == "apache-2.0", "as its card says"
    unstated = next(entry.id for entry in catalog().values() if not entry.bytes and not entry.parameters)
    assert visitor.row(unstated)["memory"] == "", "nobody states how large it is"
    assert server.asked == [], "and the Hub was not asked"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: mit\n---\n", "mit"),
        (b"---\nlicense: [mit, other]\n---\n", ""),
        (b"---\n- mit\n---\n", ""),
        (b"---\nlicense: !!python/object/apply:os.getcwd []\n---\n", ""),
        (b"---\n{\n---\n", ""),
        (b"\xff\xfe\x00", ""),
        (b"no front matter", ""),
        (None, ""),
    ],
)
def test_a_card_of_any_shape_says_its_licence_or_nothing(shelf, tmp_path, card, licence):
    directory = tmp_path / "world"
    shutil.copytree(loading.SHIPPED / "exact-world", directory)
    (directory / "README.md").unlink()
    if card is not None:
        (directory / "README.md").write_bytes(card)
    assert table.row_of_directory(shelf, directory)["licence"] == licence


def test_whether_weights_fit(visitor, shelf, free):
    verdicts = {}
    for count in (10**8, 9 * GB, 100 * GB):
        free(count)
        visitor.rows = table.rows(shelf)
        verdicts[count] = [visitor.row(name)["memory"] for name in ("classics-mdm", "s-sahoo/duo")]
        verdicts[count].append(visitor.row("diffusionfamily/diffullama")["memory"])  # 6.74 billion: 27 GB
    assert verdicts == {
        10**8: ["does not fit", "", "does not fit"],
        9 * GB: ["fits", "", "does not fit"],
        100 * GB: ["fits", "", "fits"],
    }
    free(int(1.2 * GB))  # 679 MB of files are 170 million numbers in 4 bytes each, or 340 million in 2
    visitor.rows = table.rows(shelf)
    assert visitor.row("kuleshov-group/bd3lm-owt-block_size4")["memory"] == "", "it depends on what they hold"


def test_opening_a_panel_asks_nobody(visitor, server):
    visitor.ask("look", "kuleshov-group/mdlm-owt")
    panel = visitor.panels["kuleshov-group/mdlm-owt"]
    assert panel["can"] == {"check": True, "fetch": False, "load": False, "use": False}
    assert ["Sampler", "MDLM, ancestral"] in panel["settings"] and ["Steps", "128"] in panel["settings"]
    assert "weights alone" in panel["fit"]["say"] and panel["source"].startswith("https://")
    visitor.ask("look", f"{ID}@main")
    assert visitor.panels[f"{ID}@main"]["row"]["where"] == "on the Hub"
    assert server.asked == []


@pytest.mark.parametrize("name", [None, 7, "", "  ", "no-such-directory", "a/b/c", "x" * 2000, ["classics-mdm"]])
def test_a_name_that_is_nothing_is_refused(visitor, name):
    visitor.ask("look", name)
    said = visitor.refused
    assert said.endswith(".") and "\n" not in said and len(said) < 600, "it may list the checkpoints"
    assert "Traceback" not in said and said != UNEXPECTED
    assert not visitor.panels


@pytest.mark.parametrize(
    "asked", [{"length": 0}, {"length": "64"}, {"length": 10**9}, {"lanes": 0}, {"lanes": 1.5}, {"dtype": "int3"}]
)
def test_an_estimate_for_what_cannot_be_is_refused(visitor, asked):
    visitor.ask("look", "classics-mdm", **asked)
    assert "must be" in visitor.refused


def test_the_estimate_follows_canvas_lanes_and_type(visitor, free):
    free(150_000_000)

    def fit(**asked: Any) -> dict[str, Any]:
        visitor.ask("look", "classics-mdm", **asked)
        return visitor.panels["classics-mdm"]["fit"]

    assert fit()["verdict"] == "does not fit"
    assert "it would fit with float32, 2 lanes of 128 tokens" in fit()["say"], "the smallest change"
    assert fit(lanes=2)["verdict"] == "tight" and fit(length=32, lanes=1)["verdict"] == "fits"
    wide, half = (dict(fit(dtype=dtype)["parts"])["Weights"] for dtype in ("float32", "bfloat16"))
    assert (wide, half) == ("57 MB", "28 MB")


# ---------------------------------------------------------------- from the table to a run


def test_from_the_search_to_a_run(visitor, shelf, server, repository):
    visitor.ask("look")
    visitor.ask("check")
    panel = visitor.panels[ID]
    assert panel["can"]["fetch"] and panel["work"] is None and "To fetch:" in panel["disk"]
    assert "of the disk is free" in panel["disk"] and panel["fit"]["verdict"] == "fits"
    assert {label for label, _ in panel["fit"]["parts"]} >= {"Weights", "Activations", "Logits", "Together"}
    assert server.sent(WEIGHTS) == [], "nothing is fetched yet"
    repository.gate.clear()
    threading.Timer(0.2, repository.gate.set).start()
    messages = visitor.ask("fetch")
    shares = [message["panel"]["work"]["share"] for message in messages[:-1] if "share" in message["panel"]["work"]]
    assert shares and shares == sorted(shares) and 0 <= shares[-1] <= 1
    assert visitor.panels[ID]["can"]["load"] and "load it to use it" in visitor.panels[ID]["say"]
    assert ID not in shelf
    messages = visitor.ask("load")
    assert messages[-1]["instead"] == ID and visitor.choices == [resident.id for resident in shelf] and ID in shelf
    panel = visitor.panels[ID]
    assert panel["loaded"] and panel["can"]["use"] and not panel["can"]["load"]
    assert visitor.row()["group"] == "here" and visitor.row()["where"] == "loaded"
    assert any("Bidirectional" in sentence for sentence in panel["checks"])
    weights, *_, turn = panel["measured"]
    assert weights[0] == "Weights" and weights[1] and weights[2]
    assert turn[0] == "A first turn of 4 lanes of 64 tokens, besides" and turn[1] and turn[2], "its canvas is 64"
    updates = use(visitor, ID)
    assert updates["picker"]["value"] == ID and json.loads(updates["chosen"])["id"] == ID
    assert updates["tabs"].selected == "denoise" and "value" not in updates["text"]
    assert finished(shelf[ID])


def use(visitor: Visitor, name: str, chosen: str = "") -> dict:
    held = chosen or about(visitor.shelf.default)
    return visitor.desk.use(held, "The old sailor [MASK:3] the sea.", 4, gr.EventData(None, {"name": name}))


def finished(resident: Any, text: str = "", length: int = 4) -> bool:
    """Whether a run with what is usual for a checkpoint comes to its end."""
    config = SamplerConfig.from_values(resident.usual.fill({"steps": 3, "seed": 1}))
    with resident.at_work() as (checkpoint, engine):
        trace = runs.begin(checkpoint, text, length, config)
        for _ in runs.carry_out(checkpoint, trace, engine=engine):
            pass
    return trace.state == "finished"


def test_what_is_in_use_already_is_only_gone_to(visitor):
    assert set(use(visitor, "exact-world")) == {"tabs"}
    other = use(visitor, "exact-world-uniform")
    assert other[CHOICE]["value"] == "uniform-ancestral" and other["picker"]["value"] == "exact-world-uniform"
    assert "There is no such checkpoint" in json.loads(use(visitor, "nothing")["view"])["refused"]["say"]


def test_others_get_the_new_choices_when_they_come_by(visitor, shelf, tiny_directory):
    other = Visitor(shelf)
    assert other.desk.show()["picker"] == gr.skip(), "nothing is sent that the page has"
    visitor.ask("load", str(tiny_directory))
    other.take(other.desk.show())
    assert other.choices[-1] == "tiny-mdm" and other.row("tiny-mdm")["where"] == "loaded"


def test_a_directory_is_loaded_by_its_path_in_the_type_that_is_asked_for(visitor, shelf, tiny_directory, tmp_path):
    mine = shutil.copytree(tiny_directory, tmp_path / "mine")
    visitor.ask("look", str(mine))
    row = visitor.panels[str(mine)]["row"]
    assert (row["where"], row["family"], row["noise"], row["context"]) == ("on disk", "masked-lm", "masks", "64")
    assert visitor.panels[str(mine)]["can"]["load"]
    messages = visitor.ask("load", f" {mine} ", dtype="bfloat16")
    assert messages[-1]["instead"] == str(mine)
    assert shelf["mine"].get().dtype == "bfloat16"
    told = dict(visitor.panels["mine"]["about"])
    assert told["Weights"].startswith("bfloat16 on cpu") and str(tmp_path) not in json.dumps(visitor.panels["mine"])


MADE = {
    **{f"masked-lm {name}": ("masked-lm", name) for name in FAMILIES},
    **{f"dit {name}": ("dit", name) for name in dit_checkpoints.CONFIGS},
    **{f"decoder {name}": ("decoder", name) for name in decoder_checkpoints.CONFIGS},
    **{f"shipped {name}": ("shipped", name) for name in ("exact-world", "exact-world-uniform")},
    "latent": ("latent", ""),
}


@pytest.mark.parametrize("made", MADE)
def test_a_tiny_checkpoint_of_each_family_comes_through_the_page(visitor, shelf, tiny_latent, tmp_path, made):
    line, name = MADE[made]
    directory = tmp_path / f"tiny-{name}"
    if line == "masked-lm":
        torch.manual_seed(0)
        AutoModelForMaskedLM.from_config(FAMILIES[name][0]).save_pretrained(directory)
        tokenizer(name).save_pretrained(directory)
    elif line in ("dit", "decoder"):
        (dit_checkpoints if line == "dit" else decoder_checkpoints).write(name, directory)
    typed = {"shipped": name, "latent": str(tiny_latent.directory)}.get(line, str(directory))
    visitor.ask("look", typed)
    visitor.ask("load", typed)
    assert not visitor.refused
    (row,) = (row for row in visitor.rows if row["where"] == "loaded")
    panel = visitor.panels[row["id"]]
    assert panel["loaded"] and row["family"] and row["context"]
    assert panel["checks"] or line in ("shipped", "latent")
    assert finished(shelf[row["id"]], "", 4)
    *_, last = stream(shelf, partial(of_text, "", 4), {"steps": 3, "seed": 1}, row["id"])  # and through the API
    assert last["done"] and last["checkpoint"]["id"] == row["id"] and last["masks"] == 0


@pytest.mark.parametrize("name", [*dit_checkpoints.CONFIGS, *decoder_checkpoints.CONFIGS])
def test_a_family_of_the_catalog_passes_the_check_before_its_download(visitor, server, tmp_path, name):
    """The Hub is asked for config.json alone, and DiffuGPT's is that of an autoregressive network."""
    made = dit_checkpoints if name in dit_checkpoints.CONFIGS else decoder_checkpoints
    listed = {"diffugpt": "diffusionfamily/diffugpt-m", "diffullama": "diffusionfamily/diffullama"}.get(name, ID)
    server.repositories[listed] = repository = Repository.of(made.write(name, tmp_path / name))
    asked = f"{listed}@{repository.commit}"
    visitor.ask("check", asked)
    panel = visitor.panels[asked]
    assert panel["can"]["fetch"] and panel["fit"]["verdict"] == "fits"
    keeps = any("cache" in label for label, _ in panel["fit"]["parts"])
    assert keeps == (made is decoder_checkpoints or name == "bd3lm")
    visitor.ask("fetch", asked)
    assert not visitor.refused and visitor.panels[asked]["can"]["load"]


def test_an_autoregressive_network_is_refused_before_it_is_fetched(visitor, server, repository):
    for model_type, kind in (("gpt2", "GPT2LMHeadModel"), ("llama", "LlamaForCausalLM")):
        repository.files["config.json"] = json.dumps({"model_type": model_type, "architectures": [kind]}).encode()
        repository.files["tokenizer_config.json"] = b'{"eos_token": "<|endoftext|>"}'  # and no mask
        visitor.ask("check")
        assert "is not a masked language model" in visitor.refused and server.sent(WEIGHTS) == []


def test_a_network_that_began_as_one_is_known_by_the_mask_of_its_tokenizer(visitor, server, repository, tmp_path):
    directory = decoder_checkpoints.write("diffullama", tmp_path / "made")
    repository.files = Repository.of(directory).files
    file, tokenizer_config = "tokenizer_config.json", json.loads(repository.files["tokenizer_config.json"])
    repository.files[file] = json.dumps(tokenizer_config | {"mask_token": None}).encode()
    visitor.ask("check")
    assert "is not a masked language model" in visitor.refused and server.sent(WEIGHTS) == []
    repository.files[file] = json.dumps(tokenizer_config | {"mask_token": "c"}).encode()
    visitor.ask("check")
    assert not visitor.refused and visitor.panels[ID]["can"]["fetch"]
    visitor.ask("fetch")
    visitor.ask("load")
    assert not visitor.refused and visitor.shelf[ID].loaded


# ---------------------------------------------------------------- downloads that do not end


def test_a_fetch_that_was_not_checked_is_refused(visitor, server):
    visitor.ask("fetch")
    assert visitor.refused == "Check first what the download would be." and server.asked == []


def test_a_download_that_is_left_keeps_what_has_arrived_and_goes_on(visitor, server, repository):
    visitor.ask("check")
    repository.cut[WEIGHTS] = [20_000] * 500
    for update in visitor.start("fetch"):
        message = visitor.take(update)
        if message.get("panel", {}).get("work", {}).get("share", 0) > 0.2:
            visitor.leave()
    assert "was stopped: what has arrived is kept" in visitor.refused
    assert message["refused"]["kind"] == "note"
    until(lambda: not hub._UNDER_WAY)
    repository.cut.clear()
    visitor.ask("fetch")
    assert server.sent(WEIGHTS)[-1].startswith("bytes=") and visitor.panels[ID]["can"]["load"]


def test_a_visitor_who_goes_away_ends_only_their_own_waiting(shelf, visitor, server, repository):
    other = Visitor(shelf)
    visitor.ask("check")
    other.ask("check")
    repository.gate.clear()
    streams = [visitor.start("fetch"), other.start("fetch")]
    for fetching in streams:
        next(fetching)
    assert [item.waiting for item in hub._UNDER_WAY.values()] == [2]
    streams[0].close()
    assert [item.waiting for item in hub._UNDER_WAY.values()] == [1]
    repository.gate.set()
    for update in streams[1]:
        other.take(update)
    assert other.panels[ID]["can"]["load"] and server.sent(WEIGHTS) == [""], "one download for both"


def until(holds) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---------------------------------------------------------------- what is refused


def test_a_gated_repository(visitor, repository, monkeypatch):
    repository.gated = True
    visitor.ask("check")
    assert "is gated" in visitor.refused and is_one_sentence(visitor.refused)
    monkeypatch.setenv("HF_TOKEN", repository.token)
    visitor.ask("check")
    visitor.ask("fetch")
    assert visitor.panels[ID]["can"]["load"] and "hf_secret" not in json.dumps(visitor.panels)


@pytest.mark.parametrize("name, says", [("someone/nothing", "There is no"), (f"{ID}@v9", "has no revision 'v9'")])
def test_what_the_hub_does_not_have(visitor, name, says):
    visitor.ask("look", name)
    visitor.ask("check", name)
    assert says in visitor.refused and is_one_sentence(visitor.refused)


def test_wrong_bytes(visitor, shelf, repository):
    good = repository.files[WEIGHTS]
    repository.lie[WEIGHTS] = bytes([good[0] ^ 1]) + good[1:]
    visitor.ask("check")
    visitor.ask("fetch")
    assert "arrived damaged" in visitor.refused and is_one_sentence(visitor.refused)
    visitor.ask("load")
    assert "is not on this machine yet" in visitor.refused and ID not in shelf


def test_a_disk_that_is_too_small(visitor, monkeypatch):
    visitor.ask("check")
    monkeypatch.setattr(hub, "disk_free", lambda: 1000)
    visitor.ask("fetch")
    assert "more on the disk" in visitor.refused


def test_what_is_of_no_family_is_refused_before_it_is_fetched(visitor, repository, server):
    repository.files["config.json"] = b'{"model_type": "sdar", "architectures": ["SDARForCausalLM"]}'
    visitor.ask("check")
    assert "SDAR" in visitor.refused and is_one_sentence(visitor.refused) and server.sent(WEIGHTS) == []
    visitor.ask("fetch")
    assert "Check first" in visitor.refused


def nan_weights(directory: Path) -> None:
    tensors = load_file(directory / WEIGHTS)
    name = next(iter(tensors))
    tensors[name] = tensors[name].clone().fill_(float("nan"))
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


def lost_weights(directory: Path) -> None:
    tensors = load_file(directory / WEIGHTS)
    tensors = {name: tensor for name, tensor in tensors.items() if "query" not in name}
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


def leading_out(directory: Path) -> None:
    (directory / f"{WEIGHTS}.index.json").write_text('{"weight_map": {"a": "../secret.safetensors"}}')


def pickled(directory: Path) -> None:
    (directory / WEIGHTS).rename(directory / "pytorch_model.bin")


def of_other_code(directory: Path) -> None:
    config = {"architectures": ["EvilModel"], "auto_map": {"AutoModel": "evil.EvilModel"}}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "evil.py").write_text("raise SystemExit('it was run')")


def of_another_shape(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))


def without_room_for_its_tokens(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))


def with_a_mask_outside(directory: Path) -> None:
    tokens = json.loads((directory / "tokenizer_config.json").read_text())
    tokens.pop("mask_token")
    (directory / "tokenizer_config.json").write_text(json.dumps(tokens))
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"mask_token_id": 10**6}))


def for_no_machine(directory: Path) -> None:
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"type_vocab_size": 10**12}))


HOSTILE = [nan_weights, lost_weights, leading_out, pickled, of_other_code, of_another_shape, for_no_machine]
HOSTILE += [without_room_for_its_tokens, with_a_mask_outside]


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_what_is_hostile_or_broken_is_one_sentence_and_all_stays(visitor, shelf, tiny_directory, tmp_path, spoil):
    shelf.default.get()
    offered = [resident.id for resident in shelf]
    bad = shutil.copytree(tiny_directory, tmp_path / "bad")
    spoil(bad)
    visitor.ask("load", str(bad))
    assert is_one_sentence(visitor.refused), visitor.refused
    assert [resident.id for resident in shelf] == offered and shelf.default.loaded and finished(shelf.default)


def test_what_does_not_fit_is_refused_unless_it_is_forced(visitor, shelf, tiny_directory, free):
    free(1000)
    visitor.ask("look", str(tiny_directory))
    panel = visitor.panels[str(tiny_directory)]
    assert panel["fit"]["verdict"] == "does not fit" and panel["fit"]["refused"]
    visitor.ask("load", str(tiny_directory))
    assert "needs about" in visitor.refused and "tiny-mdm" not in shelf
    visitor.ask("load", str(tiny_directory), force=True)
    assert not visitor.refused and shelf["tiny-mdm"].loaded


def test_a_load_can_be_stopped(visitor, shelf, tiny_directory, monkeypatch):
    name, before = str(tiny_directory), list(shelf)
    visitor.ask("look", name)
    real = resident_module.load_checkpoint

    def patient(directory, device, dtype, force, stopped):
        while not stopped():
            time.sleep(0.01)
        return real(directory, device, dtype, force, stopped)

    monkeypatch.setattr(resident_module, "load_checkpoint", patient)
    told = []
    for message in map(visitor.take, visitor.start("load", name)):
        told.append(message)
        visitor.leave(name)
    assert told[0]["panel"]["work"]["kind"] == "load"
    assert visitor.refused == "Loading tiny-mdm was stopped." and told[-1]["refused"]["kind"] == "note"
    assert list(shelf) == before
    monkeypatch.undo()
    visitor.ask("load", name)
    assert shelf["tiny-mdm"].loaded


def test_what_is_loaded_can_be_loaded_in_another_type(visitor, shelf, tiny_directory):
    visitor.ask("load", str(tiny_directory))
    panel = visitor.panels["tiny-mdm"]
    assert not panel["can"]["load"] and panel["fit"]["parts"] == []
    visitor.ask("look", "tiny-mdm", dtype="bfloat16")
    panel = visitor.panels["tiny-mdm"]
    assert panel["can"]["load"] and panel["can"]["use"] and panel["fit"]["verdict"] == "fits"
    visitor.ask("load", "tiny-mdm", dtype="bfloat16")
    panel = visitor.panels["tiny-mdm"]
    assert not visitor.refused and shelf["tiny-mdm"].get().dtype == "bfloat16"
    assert dict(panel["about"])["Weights"].startswith("bfloat16") and finished(shelf["tiny-mdm"])
    assert not panel["can"]["load"]


def test_exact_numbers_have_no_other_type(visitor, shelf):
    shelf.default.get()
    visitor.ask("look", "exact-world", dtype="bfloat16")
    panel = visitor.panels["exact-world"]
    assert panel["loaded"] and panel["fit"] is None and not panel["can"]["load"]


def test_a_turn_that_fails_does_not_fail_the_load(visitor, tiny_directory, monkeypatch):
    monkeypatch.setattr("ddemo.ui.resident.growth_in_a_turn", lambda *of: 1 / 0)
    visitor.ask("load", str(tiny_directory))
    panel = visitor.panels["tiny-mdm"]
    assert not visitor.refused and panel["loaded"] and not any("turn" in line[0] for line in panel["measured"])


def test_what_nobody_expected_is_one_sentence_too(visitor, monkeypatch):
    monkeypatch.setattr(hub, "plan", lambda name: 1 / 0)
    visitor.ask("check")
    assert visitor.refused == "Something went wrong on the server; the checkpoint in use is as it was."


# ---------------------------------------------------------------- public pages


@pytest.fixture
def public(tiny_directory, tmp_path, cache) -> Shelf:
    return Shelf.of(str(shutil.copytree(tiny_directory, tmp_path / "listed")), "cpu", public=True)


def test_a_public_page_lists_what_its_owner_listed(public, tmp_path):
    (row,) = table.rows(public)
    assert row["id"] == "listed" and row["memory"] == ""
    visitor = Visitor(public)
    visitor.ask("look", "listed")
    assert visitor.panels["listed"]["can"] == {"use": True}
    assert not {"fit", "disk", "use"} & set(visitor.panels["listed"])
    assert str(tmp_path) not in json.dumps([row, visitor.panels])


@pytest.mark.parametrize("name", [ID, "kuleshov-group/mdlm-owt", "classics-mdm", "/etc", ".", "../listed"])
@pytest.mark.parametrize("what", ["look", "check", "fetch", "load"])
def test_nothing_else_can_be_had_from_a_public_page(public, server, name, what):
    visitor = Visitor(public)
    visitor.ask(what, name, force=True)
    assert is_one_sentence(visitor.refused, "tmp") and not visitor.panels
    assert [resident.id for resident in public] == ["listed"] and server.asked == []


def test_a_public_page_has_no_handlers_for_it_and_tells_no_paths(public, tmp_path):
    demo = build_demo(public)
    config = demo.get_config_file()
    (view,) = (item for item in config["components"] if item["props"].get("elem_id") == "models")
    heard = {event for item in config["dependencies"] for at, event in item["targets"] if at == view["id"]}
    assert heard == {"look", "use"}
    told = json.dumps(config, default=str)
    assert str(tmp_path) not in told and str(Path(hub.__file__).parents[2]) not in told
    assert "site-packages" not in told and "kuleshov-group" not in told


def test_a_page_of_one_s_own_has_them(shelf):
    config = build_demo(shelf).get_config_file()
    (view,) = (item for item in config["components"] if item["props"].get("elem_id") == "models")
    heard = {event: item for item in config["dependencies"] for at, event in item["targets"] if at == view["id"]}
    assert set(heard) == {"look", "use", "check", "fetch", "bring", "leave"}
    assert not any(item["api_visibility"] == "public" for item in heard.values())
    opening = {at for item in config["dependencies"] for at, event in item["targets"] if event == "load"}
    components = {item["id"] for item in config["components"]}
    assert opening and not opening & components, "a component's own load would be called on every visit"


def test_the_tokenizer_is_read_when_the_files_have_come(visitor, monkeypatch):
    """A checkpoint without one borrows it from the Hub: then, rather than in the first run."""
    read = []
    monkeypatch.setattr(
        "ddemo.ui.models.desk.load_codec", lambda directory: read.append(directory) or load_codec(directory)
    )
    visitor.ask("check")
    visitor.ask("fetch")
    assert [hub.id_of(directory) for directory in read] == [ID]
