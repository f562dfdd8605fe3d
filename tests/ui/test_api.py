"""The named endpoints on a real server: what they stream, and one clear sentence for whatever cannot be done."""

import json
import threading
from collections.abc import Iterator
from itertools import pairwise

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from ddemo import runs
from ddemo.denoisers import load_checkpoint
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.samplers import of_process
from ddemo.settings import SETTINGS, Usual
from tests.ui.conftest import HeldCheckpoint
from tests.ui.server import Served, serve

KEYS = {"step", "steps", "text", "masks", "nfe", "done"}
LAST = KEYS | {"tokens", "seed", "settings", "seconds", "checkpoint"}
GIVEN = dict.fromkeys((*SETTINGS, "checkpoint")) | {"steps": 4}
GENERATE = {"prompt": "The old", "length": 6} | GIVEN
INFILL = {"text": "The [MASK:3] sea"} | GIVEN


def generate(served, **changes):
    return served.call("generate", *_given(GENERATE, changes))


def infill(served, text, **changes):
    return served.call("infill", *_given(INFILL, {"text": text} | changes))


def _given(known, changes):
    assert set(changes) <= set(known)
    return (known | changes).values()


@pytest.fixture(scope="module")
def client(_running) -> Client:
    return Client(_running.url, verbose=False)


# ---------------------------------------------------------------- what they do


@pytest.mark.parametrize("sampler", ["confidence", "ancestral"])
def test_generate_streams_a_record_a_step(client, tiny, sampler):
    records = list(client.submit("The old", 6, sampler=sampler, steps=4, seed=2, api_name="/generate"))
    *before, last = records
    assert all(set(record) == KEYS and record["done"] is False for record in before) and before
    assert set(last) == LAST and last["done"] is True and last["masks"] == 0
    assert [record["step"] for record in before] == list(range(1, len(before) + 1))
    assert all(early["masks"] >= late["masks"] for early, late in pairwise(records))
    assert last["text"].startswith("The old") and len(last["tokens"]) == len(tiny.codec.encode("The old")[0]) + 6
    assert last["seed"] == 2 and last["settings"]["sampler"] == sampler and last["seconds"] > 0
    assert last["nfe"] == before[-1]["nfe"] <= 4


def test_infill_keeps_what_is_not_masked(client):
    last = client.predict("The [MASK:3] sea, and ___ nothing", steps=4, api_name="/infill")
    assert last["done"] is True and last["masks"] == 0
    assert last["text"].startswith("The ") and " sea, and " in last["text"] and last["text"].endswith(" nothing")


def test_it_is_the_run_that_the_library_makes(client, tiny):
    last = client.predict("The old", 6, steps=4, seed=9, api_name="/generate")
    trace = runs.begin(tiny, "The old", 6, SamplerConfig(steps=4, seed=9))
    list(runs.carry_out(tiny, trace))
    mine = runs.summary(tiny, trace)
    assert {name: last[name] for name in ("text", "tokens", "nfe", "seed", "settings", "checkpoint")} == {
        name: mine[name] for name in ("text", "tokens", "nfe", "seed", "settings", "checkpoint")
    }


def test_the_same_seed_gives_the_same_text(served):
    texts = [generate(served, seed=seed).last["text"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_defaults_are_those_of_the_settings(client):
    last = client.predict("The old", api_name="/generate")
    assert last["settings"] == SamplerConfig().as_dict()
    assert client.predict("The old", sampler="maskgit", api_name="/generate")["settings"]["order_temperature"] == 4.5


def test_a_checkpoint_s_recommended_settings_stand_where_none_are_given(served, monkeypatch):
    recommended = {"sampler": "p2", "eta": 0.5, "temperature": 0.8, "steps": 5}
    monkeypatch.setattr(served.resident, "usual", Usual.of("absorbing", recommended))
    given = dict.fromkeys(GIVEN)
    last = generate(served, **given).last
    assert recommended.items() <= last["settings"].items()
    assert generate(served, **given | {"steps": 3}).last["settings"]["temperature"] == 0.8
    assert (
        generate(served, **given | {"sampler": "remdm-cap"}).last["settings"]["eta"]
        == SAMPLERS["remdm-cap"].defaults()["eta"]
    )


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("absorbing")])
def test_every_sampler_with_its_own_settings(served, sampler):
    knobs = SAMPLERS[sampler].defaults()
    last = generate(served, sampler=sampler, **knobs).last
    assert last["done"] is True and last["masks"] == 0
    assert {name: last["settings"][name] for name in ("sampler", *knobs)} == {"sampler": sampler} | knobs


@pytest.fixture(scope="module")
def uniform() -> Iterator[Served]:
    with serve(HeldCheckpoint(load_checkpoint("exact-world-uniform"))) as served:
        yield served


@pytest.mark.parametrize("sampler", [None, *(sampler.name for sampler in of_process("uniform"))])
def test_every_sampler_of_uniform_noise(uniform, sampler):
    last = generate(uniform, prompt="The queen", length=4, sampler=sampler).last
    assert last["done"] is True and last["text"].startswith("The queen") and len(last["tokens"]) == 6
    assert last["settings"]["sampler"] == (sampler or "uniform-ancestral")


@pytest.fixture(scope="module")
def latent(tiny_latent) -> Iterator[Served]:
    with serve(HeldCheckpoint(tiny_latent)) as served:
        yield served


@pytest.mark.parametrize("sampler", [None, *(sampler.name for sampler in of_process("gaussian"))])
def test_every_sampler_of_latents(latent, sampler):
    last = generate(latent, prompt="The old", length=4, sampler=sampler).last
    assert last["done"] is True and last["text"].startswith("The old") and last["masks"] == 0
    assert last["settings"]["sampler"] == (sampler or "ddpm") and last["settings"]["clamp"] == "off"


def test_what_uniform_noise_has_no_use_for_is_one_sentence(uniform):
    for wrong, begins in [
        ({"sampler": "confidence"}, "sampler must be one for uniform noise"),
        ({"guidance": 2.0}, "guidance must be 0 for exact-world-uniform"),
        ({"block_length": 2}, "block_length must be 0 for exact-world-uniform"),
        ({"prompt": "The sailor"}, "This checkpoint has no word ' sailor'"),
    ]:
        answer = generate(uniform, **{"prompt": "The queen", "length": 4} | wrong)
        assert answer.failed and answer.sentence.startswith(begins)


def test_only_these_are_named(served):
    named = served.http.get("/gradio_api/info").json()["named_endpoints"]
    assert set(named) == {"/generate", "/infill", "/chat"}
    parameters = [item["parameter_name"] for item in named["/generate"]["parameters"]]
    assert parameters == list(GENERATE)
    described = named["/generate"]["description"]
    assert all(f"\n{name}: " in described for name in SETTINGS) and "default: 4.5 for maskgit" in described
    types = {item["parameter_name"]: item["python_type"]["type"] for item in named["/infill"]["parameters"]}
    assert (types["steps"], types["temperature"], types["draw"]) == (
        "None | int",
        "None | float",
        "None | str",
    )
    assert types["eta"] == "None | float" and types["schedule"] == "None | str"


def test_named_arguments_by_plain_http(served):
    """The form that the page's API documentation shows for curl: defaults may be left out."""
    posted = served.http.post("/gradio_api/call/v2/generate", json={"prompt": "The old", "length": 3, "steps": 2})
    got = served.http.get(f"/gradio_api/call/v2/generate/{posted.json()['event_id']}")
    last = json.loads(got.text.rsplit("event: complete\ndata: ", 1)[1])[0]
    assert last["text"].startswith("The old") and last["done"] is True


def test_more_steps_than_masks_end_when_nothing_is_masked(served):
    answer = infill(served, "a [MASK:3] b", steps=200)
    assert (answer.last["step"], answer.last["steps"], answer.last["nfe"]) == (3, 200, 3)
    answer = infill(served, "a [MASK:3] b", steps=200, sampler="ancestral")
    assert answer.last["masks"] == 0 and answer.last["nfe"] <= 3 < answer.last["step"]


# ---------------------------------------------------------------- text is text


@pytest.mark.parametrize(
    "text",
    [
        "😀 👩‍🚀 café",
        "שלום עולם",
        "zero\u200bwidth \ufeff\u202e",
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "${alert(1)} {{value}}",
        "a\x00\x07\x1b[31m",
        "line\r\nbreak\u2028",
        '"quotes" \\ and [brackets]',
    ],
)
def test_text_comes_back_to_the_character(served, text):
    last = infill(served, text + "[MASK]").last
    assert last["text"].startswith(text) and last["masks"] == 0
    last = generate(served, prompt=text, length=2).last
    assert last["text"].startswith(text)


def test_a_mask_inside_a_word(served):
    text = infill(served, "un[MASK]able").last["text"]
    assert text.startswith("un") and text.endswith("able") and len(text) > 6


def test_an_empty_prompt_is_a_blank_page(served):
    assert generate(served, prompt="", length=5).last["masks"] == 0


# ---------------------------------------------------------------- what cannot be done

NO_NUMBER = [-1, -2.5, 2.5, float("nan"), float("inf"), 1e300, 10**400, [4], {"a": 4}, True, "many", "\ud800"]
BAD = [
    *(("length", value, "The number of new tokens must be a whole number from 0 to") for value in [None, *NO_NUMBER]),
    *(("steps", value, "steps must be a") for value in [*NO_NUMBER, 0, 1025, 10**6]),
    *(("seed", value, "seed must be a") for value in [*NO_NUMBER, 2**53]),
    *(("top_k", value, "top_k must be a") for value in NO_NUMBER),
    *(("top_p", value, "top_p must be a number") for value in [-1, 0, 1.1, float("nan"), [1], True, "x"]),
    *(("temperature", value, "temperature must be a number")
      for value in [-1, 11, float("nan"), float("inf"), {}, False, "hot", "\udfff"]),
    *(("sampler", value, "sampler must be one of confidence, random")
      for value in ["gumbel", "", 5, ["confidence"], {}, True, "\ud800", "x" * 10**6]),
    *(("draw", value, "draw must be one of sample, argmax") for value in ["ARGMAX", 1, [], True]),
    *(("prompt", value, "The text must be a string") for value in [None, 5, 1.5, True, ["a"], {"text": "a"}]),
    ("sampler", "uniform-joint", "sampler must be one for absorbing noise, which tiny-mdm was trained on"),
    ("eta", 0.5, "The sampler confidence has no setting eta"),
    ("block_length", 4, "block_length must divide the 6 masks, which 4 does not: take 3"),
    ("block_length", -1, "block_length must be a whole number"),
    ("guidance", -1, "guidance must be a number in [0, 100]"),
    ("end_of_text", "never", "end_of_text must be one of allow, suppress, late, stop"),
    ("prompt", "\ud800", "Character 1 of the text is half of a broken pair"),
    ("prompt", "fine \udfff", "Character 6 of the text is half of a broken pair"),
    ("prompt", "word " * 100, "The text and masks make"),
    ("prompt", "x" * 100_001, "The text has 100,001 characters"),
    ("prompt", "[MASK:0]", "[MASK:0] does not say how many tokens"),
    ("prompt", "[MASK:\u202e9]", "[MASK:<U+202E>9] does not say how many tokens"),
    ("length", 0, "There is nothing to fill"),
    ("length", 63, "The text and masks make 65 tokens, and this checkpoint takes at most 64"),
    ("length", 10_000, "The masks alone make 10,000 tokens, and this checkpoint takes at most 64"),
]  # fmt: skip


def check_sentence(sentence: str) -> None:
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 450
    assert "Traceback" not in sentence and "Error" not in sentence and "/" not in sentence


@pytest.mark.parametrize("name", sorted({name for name, _, _ in BAD}))
def test_a_bad_value_is_one_clear_sentence(served, name):
    calls = served.denoiser.calls
    for value, begins in [(value, begins) for named, value, begins in BAD if named == name]:
        answer = generate(served, **{name: value})
        assert answer.failed and not answer.records, f"{name} = {value!r:.60}"
        assert answer.sentence.startswith(begins), f"{name} = {value!r:.60}"
        check_sentence(answer.sentence)
    assert served.denoiser.calls == calls
    assert generate(served).last["done"] is True, "the server goes on"


@pytest.mark.parametrize(
    ("text", "begins"),
    [
        ("", "There is nothing to fill"),
        ("no mask at all", "There is nothing to fill"),
        ("a [MASK:10000] b", "The masks alone make 10,000 tokens, and this checkpoint takes at most 64"),
        ("[MASK]" * 10_000, "The masks alone make 10,000 tokens"),
        ("[MASK:" + "9" * 39 + "]", "The masks alone make"),
        ("a [MASK:-5]", "[MASK:-5] does not say how many tokens"),
        ("[MASK] \ud83d", "Character 8 of the text is half of a broken pair"),
        (None, "The text must be a string"),
        ([["[MASK]"]], "The text must be a string"),
    ],
)
def test_what_cannot_be_filled_is_one_clear_sentence(served, text, begins):
    answer = infill(served, text)
    assert answer.failed and answer.sentence.startswith(begins)
    check_sentence(answer.sentence)


def test_a_call_names_its_checkpoint(served, client):
    assert generate(served, checkpoint="tiny-mdm").last["checkpoint"]["id"] == "tiny-mdm"
    assert client.predict("The old", 6, steps=2, api_name="/generate")["checkpoint"]["id"] == "tiny-mdm"
    for name in ("other", "../tiny-mdm", "/etc/passwd", 5, ["tiny-mdm"]):
        refused = generate(served, checkpoint=name)
        assert refused.failed and refused.sentence.startswith("There is no such checkpoint on this page")


def test_the_client_gets_the_sentence(client):
    with pytest.raises(AppError, match="steps must be a whole number from 1 to 1,024, not -4"):
        client.predict("The old", 6, steps=-4, api_name="/generate")
    with pytest.raises(AppError, match="There is nothing to fill"):
        client.predict("no mask", api_name="/infill")


@pytest.mark.parametrize(
    "body", ["", "not json", "[]", "5", "{}", '{"data": null}', '{"data": "x"}', '{"data": {"a": 1}}']
)
def test_a_body_that_is_no_call_is_refused(served, body):
    refused = served.post("generate", body)
    assert refused.status_code == 422 and "Traceback" not in refused.text
    assert generate(served).last["done"] is True


@pytest.mark.parametrize("data", [[], ["The old"], ["The old", 4, "confidence"], list(range(40))])
def test_a_call_with_missing_or_surplus_values_fails_alone(served, data, capfd):
    answer = served.call("generate", *data)
    assert answer.failed and not answer.records
    assert answer.sentence is None or "Traceback" not in answer.sentence
    assert generate(served).last["done"] is True
    capfd.readouterr()  # Gradio's own words to the server's log


def test_a_model_that_fails_is_a_sentence_and_the_next_run_works(served, caplog):
    def fail(_):
        raise RuntimeError("CUDA error in /srv/secret/place.py")

    served.denoiser.before = fail
    answer = generate(served)
    assert answer.sentence == "Something went wrong on the server, and the run ended."
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [RuntimeError]
    served.denoiser.before = lambda _: None
    assert generate(served).last["done"] is True


def test_a_model_that_fails_half_way_keeps_what_was_streamed(served):
    first = served.denoiser.calls

    def fail(_):
        if served.denoiser.calls - first == 3:
            raise RuntimeError("CUDA error")

    served.denoiser.before = fail
    answer = generate(served)
    assert answer.failed and [record["step"] for record in answer.records] == [1, 2]


def test_callers_at_once_get_their_own_results(served):
    prompts = ["The old", "A child", "She took", "It was"]
    alone = [generate(served, prompt=prompt).last["text"] for prompt in prompts]
    together: dict[str, str] = {}

    def call(prompt):
        together[prompt] = generate(served, prompt=prompt).last["text"]

    threads = [threading.Thread(target=call, args=(prompt,)) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [together[prompt] for prompt in prompts] == alone
