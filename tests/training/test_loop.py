"""A run ends as asked, and stopping does not change where it arrives."""

import itertools
import json
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("matplotlib", reason="training needs requirements-train.txt")

from ddemo.denoisers import load_checkpoint
from ddemo.training import convert, loop
from ddemo.training import run as running
from ddemo.training.__main__ import main
from ddemo.training.config import TrainingConfig
from ddemo.training.loop import train
from ddemo.training.preparation import prepare
from ddemo.training.run import Run

TINY = {
    "init": "none",
    "vocab_size": 300,
    "layers": 1,
    "width": 16,
    "latent_dim": 4,
    "heads": 2,
    "positions": 32,
    "lengths": (8, 16),
    "length_weights": (0.5, 0.5),
    "tokens_per_step": 64,
    "warmup": 2,
    "device": "cpu",
    "dtype": "float32",  # so that equal means equal to the last bit
    "log_every": 1,
    "valid_every": 4,
    "valid_windows": 4,
    "valid_times": 2,
}


def state(directory):
    return torch.load(directory / "state.pt", weights_only=True)


def stop_after(monkeypatch, steps: int) -> None:
    """Sends this process SIGTERM in the middle of that step."""
    step = Run.step

    def step_and_maybe_signal(run):
        if run.progress.step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(run)

    monkeypatch.setattr(Run, "step", step_and_maybe_signal)


def train_with_and_without_a_stop(corpus, root, monkeypatch, steps: int, settings: dict) -> None:
    """In root/straight and, stopped half-way and resumed, in root/stopped: both must arrive at the same weights."""
    train(TrainingConfig(data=corpus, out=root / "straight", steps=steps, **settings))
    config = TrainingConfig(data=corpus, out=root / "stopped", steps=steps, **settings)
    with monkeypatch.context() as patch:
        stop_after(patch, steps // 2)
        assert train(config).step == steps // 2
    assert train(config, resume="state").step == steps
    ours, theirs = state(root / "stopped"), state(root / "straight")
    for part in ("model", "average"):
        for name, weight in ours[part].items():
            assert torch.equal(weight, theirs[part][name]), f"{part} {name}"


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    """Six steps without a stop."""
    out = tmp_path_factory.mktemp("straight")
    train(TrainingConfig(data=corpus, out=out, steps=6, **TINY))
    return out


def test_a_run_stopped_and_resumed_equals_one_that_was_not(straight, corpus, tmp_path, monkeypatch):
    config = TrainingConfig(data=corpus, out=tmp_path, steps=6, **TINY)
    with monkeypatch.context() as patch:
        stop_after(patch, steps=3)
        assert train(config).step == 3
    torch.manual_seed(123)  # whatever happened to the global generator meanwhile
    assert train(config, resume="state").step == 6

    ours, theirs = state(tmp_path), state(straight)
    for part in ("model", "average"):
        assert ours[part].keys() == theirs[part].keys()
        for name, weight in ours[part].items():
            assert torch.equal(weight, theirs[part][name]), f"{part} {name}"
    for mine, other in zip(ours["optimizers"], theirs["optimizers"], strict=True):
        for number, moments in mine["state"].items():
            for name, value in moments.items():
                assert torch.equal(value, other["state"][number][name]), name
    assert losses(tmp_path) == losses(straight)
    assert len(losses(straight)) == 6


@pytest.mark.parametrize(("process", "noise"), [("uniform", "uniform"), ("latent", "gaussian")])
@pytest.mark.parametrize("loss", ["ce", "bound"])
def test_the_other_processes_train_resume_and_load(corpus, tmp_path, monkeypatch, process, noise, loss):
    settings = TINY | {"process": process, "loss": loss, "latent_dim": 8}
    train_with_and_without_a_stop(corpus, tmp_path, monkeypatch, steps=4, settings=settings)
    values = [value for _, value in losses(tmp_path / "straight")]
    assert len(set(values)) == 4 and all(0 < value < 50 for value in values)
    checkpoint = load_checkpoint(str(tmp_path / "straight" / "checkpoint"), device="cpu")
    assert (checkpoint.denoiser.process, checkpoint.denoiser.takes_time) == (noise, True)
    assert checkpoint.denoiser.max_length == 16


def test_the_saved_embeddings_are_those_that_were_trained_with(corpus, tmp_path):
    """Weights are rounded to bfloat16 on saving; what is fixed must not change by it."""
    settings = TINY | {"process": "latent", "latent_dim": 8}
    train(TrainingConfig(data=corpus, out=tmp_path, steps=4, **settings))
    denoiser = load_checkpoint(str(tmp_path / "checkpoint"), device="cpu").denoiser
    trained = state(tmp_path)["model"]
    assert torch.equal(denoiser.embeddings, trained["embeddings"])
    assert torch.equal(denoiser.model.log_prior, trained["log_prior"])
    with pytest.raises(ValueError, match="latent_dim must stay 8 to resume, not 9"):
        train(TrainingConfig(data=corpus, out=tmp_path, steps=4, **settings | {"latent_dim": 9}), "state")


def losses(out):
    records = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return [(r["step"], r["loss"]) for r in records if "loss" in r]


def test_steps_draw_different_windows_and_train(straight):
    values = [loss for _, loss in losses(straight)]
    assert len(set(values)) == len(values)
    weights = state(straight)
    assert not torch.equal(
        weights["model"]["bert.encoder.layer.0.output.dense.weight"],
        weights["average"]["bert.encoder.layer.0.output.dense.weight"],
    )


def test_the_gradients_of_a_step_are_clipped(corpus, tmp_path):
    config = TrainingConfig(data=corpus, out=tmp_path, steps=1, **TINY | {"clip": 1e-3})
    run = Run(config, prepare(config))
    assert run.step()["grad_norm"] > 0.01  # before
    left = torch.cat([weight.grad.flatten() for weight in run.model.parameters()])
    assert left.norm().item() == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(("weights", "drawn"), [((0.0, 1.0), {16}), ((1.0, 0.0), {8}), ((0.5, 0.5), {8, 16})])
def test_lengths_are_drawn_by_their_weights(corpus, tmp_path, monkeypatch, weights, drawn):
    seen, sample = [], running.sample_windows

    def note(data, rows, length, *rest):
        seen.append(length)
        return sample(data, rows, length, *rest)

    monkeypatch.setattr(running, "sample_windows", note)
    config = TrainingConfig(data=corpus, out=tmp_path, steps=12, **TINY | {"length_weights": weights})
    run = Run(config, prepare(config))
    for _ in range(config.steps):
        run.step()
    assert set(seen) == drawn and len(seen) == config.steps


def test_the_checkpoint_is_one_that_the_page_loads(straight):
    checkpoint = load_checkpoint(str(straight / "checkpoint"), device="cpu")
    assert checkpoint.denoiser.max_length == 16  # the longest window it was trained on
    text = "The old sailor  said\n\n nothing \N{EM DASH} at all."
    ids, _ = checkpoint.codec.encode(text)
    assert checkpoint.codec.decode(ids) == text
    best = json.loads((straight / "best.json").read_text())
    measured = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    assert best["nats_per_token"] == min(r["valid_nats_per_token"] for r in measured if "valid_nats_per_token" in r)
    assert (straight / "curve.svg").read_text().startswith("<?xml")


def test_a_finished_run_is_prolonged_from_before_its_rate_came_down(corpus, tmp_path):
    settings = TINY | {"decay": 0.5}
    train(TrainingConfig(data=corpus, out=tmp_path, steps=4, **settings))
    plateau = torch.load(tmp_path / "plateau.pt", weights_only=True)
    assert plateau["progress"]["step"] == 2
    # Were the better checkpoint of before forgotten, a worse one would take its place.
    (tmp_path / "best.json").write_text('{"nats_per_token": 0.0}')
    weights = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()
    train(TrainingConfig(data=corpus, out=tmp_path, steps=8, **settings), resume="plateau")
    rates = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = {r["step"]: r["lr"] for r in rates if "lr" in r}
    assert sorted(rates) == list(range(1, 9))
    assert rates[3] == rates[4] == rates[5] > rates[6] > rates[8] > 0
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == weights


def test_minutes_end_a_run_with_its_rate_brought_down(corpus, tmp_path, monkeypatch):
    seconds = itertools.count(step=3)  # a clock that moves on whenever it is read
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    train(TrainingConfig(data=corpus, out=tmp_path, minutes=1, **TINY | {"valid_every": 100}))
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [r["lr"] for r in records if "lr" in r]
    assert max(rates) == 1e-3
    assert rates[-1] <= 0.25 * max(rates)
    assert 60 <= records[-1]["seconds"] < 75


def test_a_run_is_saved_every_few_minutes_and_at_its_end(corpus, tmp_path, monkeypatch):
    minutes = itertools.count()  # a clock that moves on whenever it is read
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
    saved, save = [], Run.save_state

    def note(run, name="state.pt"):
        saved.append((run.progress.step, name))
        save(run, name)

    monkeypatch.setattr(Run, "save_state", note)
    train(TrainingConfig(data=corpus, out=tmp_path, steps=5, **TINY | {"save_minutes": 3.0, "decay": 0.0}))
    assert [step for step, name in saved if name == "state.pt"] == [2, 4, 5]  # two minutes a step
    assert state(tmp_path)["progress"]["step"] == 5


def test_a_second_signal_ends_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), loop.interruptible() as seen:
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
        os.kill(os.getpid(), signal.SIGTERM)
    assert seen == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_existing_run_is_not_overwritten(straight, corpus, capsys):
    before = (straight / "state.pt").stat().st_mtime_ns
    small = [f"--{k.replace('_', '-')}={v}" for k, v in TINY.items() if not isinstance(v, tuple)]
    arguments = [f"--data={corpus}", f"--out={straight}", "--steps=6", *small, "--lengths", "8", "16"]
    assert main([*arguments, "--length-weights", "1", "1"]) == 2
    assert "holds a run" in capsys.readouterr().err
    assert main([*arguments, "--length-weights", "1", "3", "--resume"]) == 2
    assert "length_weights must stay [0.5, 0.5]" in capsys.readouterr().err
    assert main([*arguments, "--length-weights", "1", "1", "--resume", "--vocab-size", "310"]) == 2
    assert "must stay as they were" in capsys.readouterr().err
    assert (straight / "state.pt").stat().st_mtime_ns == before


def test_what_a_run_left_that_died_before_it_was_saved_is_not_taken_for_ones_own(corpus, tmp_path, monkeypatch):
    """A new run would be held against a bound that is not its own, and might never write its checkpoint."""
    config = TrainingConfig(data=corpus, out=tmp_path, steps=6, **TINY)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_state", lambda run, name="state.pt": None)  # as if it had died before
        train(config)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert "best.json" in left and "state.pt" not in left
    with pytest.raises(ValueError, match="holds the checkpoint of a run that cannot be resumed: choose another"):
        train(config)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == left


@pytest.mark.parametrize("field", ["layers", "width", "heads", "positions", "latent_dim"])
def test_a_run_goes_on_with_its_own_network(straight, corpus, field):
    before = (straight / "state.pt").read_bytes()
    other = TINY | {field: 2 * TINY[field]}
    with pytest.raises(ValueError, match=f"^{field} must stay {TINY[field]} to resume, not {other[field]}$"):
        train(TrainingConfig(data=corpus, out=straight, steps=6, **other), "state")
    assert (straight / "state.pt").read_bytes() == before


def test_settings_that_are_refused_are_not_noted(straight, corpus):
    """`settings.json` says what the run was made with, not what somebody tried."""
    before = (straight / "settings.json").read_text()
    with pytest.raises(ValueError, match="seed must stay 0 to resume, not 5"):
        train(TrainingConfig(data=corpus, out=straight, steps=6, **TINY | {"seed": 5}), "state")
    assert (straight / "settings.json").read_text() == before
    assert json.loads(before)["seed"] == 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"steps": None}, "steps or minutes"),
        ({"lr": -1.0}, "lr must be more than 0, not -1.0"),
        ({"loss": "mse"}, "loss must be one of ce, bound, not 'mse'"),
        ({"lengths": (64,), "length_weights": (1.0,)}, "at most positions"),
        ({"length_weights": (1.0,)}, "length_weights must be one for each length"),
        ({"process": "gaussian"}, "process must be one of absorbing, uniform, latent, not 'gaussian'"),
        ({"latent_dim": 17}, "latent_dim must be 2 to width (16), not 17"),
        ({"heads": 3}, "width must be a multiple of heads"),
    ],
)
def test_settings_say_what_is_wrong_with_them(tmp_path, change, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        TrainingConfig(**({"data": tmp_path, "out": tmp_path, "steps": 1} | TINY | change))


@pytest.mark.parametrize(
    "command, default", [(main, "each length is drawn (default: 0.1 "), (convert.main, "plus one (default: 257)")]
)
def test_help_has_the_defaults_that_there_are(command, default, capsys):
    with pytest.raises(SystemExit):
        command(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert default in told and "None" not in told and "%(" not in told
