"""How a checkpoint is usually run: what it recommends, checked, and what is filled in where nothing was said."""

import json
import shutil

import pytest

from ddemo.denoisers.loading import recommended_of
from ddemo.errors import InputError
from ddemo.sampling import SamplerConfig
from ddemo.settings import SETTINGS, Usual, default_sampler

RECOMMENDED = {"sampler": "p2", "eta": 0.5, "steps": 64, "temperature": 0.8}


@pytest.mark.parametrize("process", ["absorbing", "uniform", "gaussian"])
def test_without_a_word_it_is_the_usual_sampler_of_the_noise(process):
    usual = Usual.of(process)
    assert usual.sampler is default_sampler(process) and usual.settings == {"sampler": usual.sampler.name}
    assert SamplerConfig.from_values(usual.fill({})) == SamplerConfig(usual.sampler.name)


def test_what_is_recommended_is_filled_in_where_nothing_was_said():
    usual = Usual.of("absorbing", RECOMMENDED)
    assert usual.fill({"sampler": None, "steps": None, "seed": 7}) == RECOMMENDED | {"seed": 7}
    assert usual.fill({"sampler": "p2", "steps": 9}) == RECOMMENDED | {"steps": 9}


def test_another_sampler_has_its_own_knobs_and_what_all_have_in_common():
    usual = Usual.of("absorbing", RECOMMENDED)
    given = {"sampler": "remdm-cap", "steps": 9, "eta": None}
    assert usual.fill(given) == {"sampler": "remdm-cap", "steps": 9, "temperature": 0.8}
    assert usual.fill({"sampler": "plug-in"}) == {"sampler": "plug-in", "steps": 64}, "it reads no temperature"
    assert usual.values_for("p2") == RECOMMENDED and usual.fill({"sampler": "?"})["sampler"] == "?"


@pytest.mark.parametrize(
    "recommended, says",
    [
        ({"sampler": "nonsense"}, "^sampler must be one of"),
        ({"sampler": "ddpm"}, "^sampler must be one for absorbing noise"),
        ({"steps": -1}, "^steps must be a whole number"),
        ({"steps": "many"}, "^steps must be a number"),
        ({"sampler": ["p2"]}, "^sampler must be one of"),
        ({"what": 1}, "no setting called 'what'"),
    ],
)
def test_what_cannot_be_is_not_recommended(recommended, says):
    with pytest.raises(InputError, match=says):
        Usual.of("absorbing", recommended)


@pytest.mark.parametrize("told", [RECOMMENDED, None, "p2", [1]])
def test_a_checkpoint_recommends_in_its_config(tiny_directory, tmp_path, told):
    directory = shutil.copytree(tiny_directory, tmp_path / "tiny-mdm")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | ({} if told is None else {"recommended": told})))
    assert recommended_of(directory) == (told if isinstance(told, dict) else {})


def test_help_says_that_a_recommendation_comes_before_the_default():
    assert all(setting.help.endswith(", where the checkpoint recommends none)") for setting in SETTINGS.values())
    assert "(default: 1.0, where" in SETTINGS["temperature"].help
    assert "(default: 0.9 for threshold, where" in SETTINGS["threshold"].help


def test_a_knob_that_means_two_things_says_both():
    eta = SETTINGS["eta"].sentence
    assert "masked again; 0 is never. Under ddim: how much noise is drawn anew at each step; 1 is DDPM" in eta
    assert "Under" not in SETTINGS["schedule"].sentence, "all mean the same by it"
