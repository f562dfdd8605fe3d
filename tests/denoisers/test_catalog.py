"""The catalog: every entry is complete and usable, and a damaged file is refused with the place that is wrong."""

import pytest

from ddemo.denoisers import dit_loading
from ddemo.denoisers.catalog import FAMILIES, Entry, catalog, read
from ddemo.sampling import SAMPLERS, SamplerConfig

GOOD = {
    "id": "owner/name",
    "revision": "a" * 40,
    "family": "mdlm",
    "process": "absorbing",
    "sampler": "ancestral",
    "try_": "A word.",
    "source": "https://example.org",
}


@pytest.mark.parametrize("entry", catalog().values(), ids=catalog())
def test_every_entry_names_a_sampler_of_its_noise_with_settings_that_it_has(entry):
    sampler = SAMPLERS[entry.sampler]
    assert entry.process in sampler.processes
    config = SamplerConfig.from_values({"sampler": entry.sampler, **entry.settings})
    assert all(getattr(config, name) == value for name, value in entry.settings.items())


@pytest.mark.parametrize("entry", catalog().values(), ids=catalog())
def test_numbers_of_an_entry_agree(entry):
    if entry.parameters and entry.bytes:
        assert 1.9 < entry.bytes / entry.parameters < 4.2, "weights are stored in two or four bytes a number"
    if kind := dit_loading.KINDS.get(entry.family):
        assert entry.process == kind.process
    assert entry.try_.endswith(".") and entry.source.isprintable()


def test_the_catalog_covers_every_family():
    assert {entry.family for entry in catalog().values()} == set(FAMILIES)


def test_an_entry_that_is_not_pinned_says_why():
    assert Entry(**GOOD).pinned
    with pytest.raises(ValueError, match="note must be a reason why the revision is not a commit"):
        Entry(**GOOD | {"revision": "main"})
    assert not Entry(**GOOD | {"revision": "main", "note": "No commit is known."}).pinned


@pytest.mark.parametrize(
    "name, value",
    [
        ("id", "name"),
        ("id", "../../etc"),
        ("id", "owner/na me"),
        ("family", "gpt"),
        ("process", "masks"),
        ("source", "http://example.org"),
        ("parameters", 0),
        ("parameters", True),
        ("bytes", -1),
        ("bytes", "679 MB"),
        ("context", 1.5),
        ("licence", ""),
        ("settings", []),
        ("note", None),
        ("try_", ""),
        ("sampler", 3),
    ],
)
def test_a_wrong_field_is_named(name, value):
    with pytest.raises(ValueError, match=rf"^.+: {name} must be .+, not "):
        Entry(**GOOD | {name: value})


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "must hold"),
        ("[checkpoint]\nid = 'a/b'", "must hold"),
        ("[[checkpoint]]\nid = 'a/b'", "a field is missing"),
        ("[[checkpoint]]\nid = 'a/b'\ncolour = 'red'", "colour is no field"),
    ],
)
def test_a_damaged_file_is_refused(text, says, tmp_path):
    file = tmp_path / "catalog.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=says):
        read(file)


def test_an_id_stands_once(tmp_path):
    table = "[[checkpoint]]\n" + "\n".join(f"{name.rstrip('_')} = {value!r}" for name, value in GOOD.items())
    (tmp_path / "catalog.toml").write_text(f"{table}\n\n{table}\n")
    with pytest.raises(ValueError, match=r"'owner/name' is in catalog\.toml twice"):
        read(tmp_path / "catalog.toml")
