"""Many visitors of one server: apart from each other, in a queue that says so, and free to leave."""

import json
import threading
import time
from datetime import timedelta
from itertools import pairwise

import gradio as gr
import httpx
import pytest

from ddemo import runs
from ddemo.sampling import SamplerConfig
from ddemo.sampling.engine import LEAD
from ddemo.ui import examples
from ddemo.ui.denoise import UNEXPECTED
from ddemo.ui.page import BETWEEN_LOOKS, QUEUE_SIZE, build_demo
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import AT_ONCE, GONE, OneAtATime, SentMessages, Visit, new_run_id
from tests.ui.conftest import EXAMPLE_RUN, HeldCheckpoint
from tests.ui.reader import Reader
from tests.ui.server import Browser, api_values, serve

TEXT = "The old sailor [MASK:5] into the sea."


@pytest.fixture
def browser(served) -> Browser:
    return Browser(served)


def last_values(messages: list[dict]) -> list:
    """What the last update of an event says of each control."""
    return [message["output"]["data"] for message in messages if message["msg"] == "process_completed"][-1]


def canvas_of(messages: list[dict]) -> dict:
    return json.loads(last_values(messages)[0])


def sentence_of(messages: list[dict]) -> str:
    """The last thing the notice said: updates are sent as changes of what was there."""
    said = [json.dumps(message["output"]["data"][1]) for message in messages if "data" in message.get("output", {})]
    sentences = [json.loads(json.loads(text[text.index('"{') : text.rindex('}"') + 2]))["text"]
                 for text in said if '"{' in text]  # fmt: skip
    return sentences[-1]


def read_run(served, run: str):
    """A run as a browser gets it that has missed every message."""
    reader = Reader()
    for message in json.loads(served.ask("messages", run, 0).json()):
        reader.take(json.dumps(message))
    return reader.last


def until(holds, seconds: float = 30) -> bool:
    """Whether `holds()` came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return False


# ---------------------------------------------------------------- what the server remembers


def test_ids_cannot_be_guessed():
    ids = {new_run_id() for _ in range(1000)}
    assert len(ids) == 1000 and min(map(len, ids)) >= 16


def test_sent_messages_keep_the_recent_runs():
    sent = SentMessages(kept=3)
    for run in "abcde":
        for number in range(2):
            assert sent.add(run, f'"{run}{number}"') == f'"{run}{number}"'
    assert [sent.since(run, 0) for run in "ab"] == ["[]", "[]"]
    assert json.loads(sent.since("e", 0)) == ["e0", "e1"] and json.loads(sent.since("c", 1)) == ["c1"]


def test_sent_messages_from_many_threads_are_all_there():
    sent = SentMessages()
    threads = [
        threading.Thread(target=lambda run=run: [sent.add(str(run), str(n)) for n in range(200)]) for run in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(json.loads(sent.since(str(run), 0)) == list(range(200)) for run in range(8))


def test_a_visit_remembers_its_last_runs_and_no_other_visits():
    mine, theirs = Visit(), Visit()
    for number in range(12):
        mine.remember(f"run {number}", object())
    assert list(mine.runs) == [f"run {number}" for number in range(4, 12)]
    assert not theirs.runs and theirs.denoising is not mine.denoising


def test_the_run_that_a_conversation_goes_on_from_is_not_given_up():
    visit = Visit(talk="answer")
    visit.remember("answer", object())
    for number in range(12):
        visit.remember(f"run {number}", object())
    assert list(visit.runs) == ["answer", *(f"run {number}" for number in range(5, 12))]


def test_of_one_kind_of_work_the_next_piece_ends_the_one_before():
    denoising = OneAtATime()
    first, second = denoising.begin(), denoising.begin()
    assert first.stopped() and not second.stopped() and denoising.now is second
    denoising.stop()
    assert second.stopped() and not denoising.begin().stopped()


# ---------------------------------------------------------------- a browser at a real server


def test_a_visit_from_press_to_text(served, browser):
    assert browser.denoise(TEXT, 0, seed=4).status_code == 200
    end = canvas_of(browser.wait())
    assert (end["k"], end["state"]) == ("end", "finished")
    run = read_run(served, end["run"])
    assert run.text().startswith("The old sailor") and run.text().endswith(" into the sea.")
    browser.resume({"run": end["run"], "step": 2, "segment": 0, "cells": None})
    again = canvas_of(browser.wait())
    assert again["state"] == "finished" and again["run"] != end["run"]
    reader = Reader()
    for source in (end["run"], again["run"]):
        for message in json.loads(served.ask("messages", source, 0).json()):
            reader.take(json.dumps(message))
    assert reader.last.text() == run.text()


def test_a_browser_that_missed_messages_gets_them(served, browser):
    browser.denoise(TEXT, 0)
    end = canvas_of(browser.wait())
    numbers = [message["n"] for message in json.loads(served.ask("messages", end["run"], 3).json())]
    assert numbers == list(range(3, end["n"] + 1))


def test_a_draft_by_the_server_function(served):
    said = json.loads(served.ask("draft", TEXT, 48).json())
    assert said["k"] == "draft" and said["segment"]["masks"] == 5
    assert json.loads(served.ask("draft", "", 0).json())["text"].startswith("There is nothing to fill")


@pytest.mark.parametrize("arguments", [(None,), ("x",), (5, 6), ({"a": 1},), ([[]], {}), ("a", 1, 2), ("\\ud800", 4)])
def test_server_functions_answer_whatever_they_are_sent(served, arguments):
    for function, empty in (("draft", None), ("messages", "[]")):
        answer = served.ask(function, *arguments)
        assert answer.status_code == 200
        if function == "draft":
            assert json.loads(answer.json())["k"] in ("say", "draft")
        else:
            assert answer.json() == empty


def test_a_visitor_cannot_continue_the_run_of_another(served):
    mine, theirs = Browser(served), Browser(served)
    mine.denoise("My secret [MASK:3]", 0)
    run = canvas_of(mine.wait())["run"]
    theirs.denoise("Another [MASK:3]", 0)
    messages = theirs.wait()
    assert canvas_of(messages)["state"] == "finished" and "secret" not in json.dumps(messages)
    theirs.resume({"run": run, "step": 1, "cells": None})
    messages = theirs.wait()
    assert sentence_of(messages) == GONE and "secret" not in json.dumps(messages)
    mine.resume({"run": run, "step": 1, "cells": None})
    assert canvas_of(mine.wait())["state"] == "finished"


def test_a_run_that_is_older_than_the_page_s_load_event_is_kept(served, browser):
    """A busy server may get to the event of a page that has loaded after what its visitor has done since."""
    browser.denoise(TEXT, 0)
    run = canvas_of(browser.wait())["run"]
    browser.open()
    browser.resume({"run": run, "step": 1, "cells": None})
    assert canvas_of(browser.wait())["state"] == "finished"


def test_an_open_page_keeps_its_runs_for_hours_and_a_closed_one_is_forgotten(served, browser):
    browser.open()
    browser.denoise(TEXT, 0)
    run = canvas_of(browser.wait())["run"]
    session = served.sessions.session_data[browser.session]
    set_at = {key: (lives, since - timedelta(hours=5)) for key, (lives, since) in session._state_ttl.items()}
    session._state_ttl.update(set_at)
    served.sessions.delete_all_expired_state()
    browser.resume({"run": run, "step": 1, "cells": None})
    assert canvas_of(browser.wait())["state"] == "finished"
    session._state_ttl.update(set_at)
    session.is_closed = True
    served.sessions.delete_all_expired_state()
    assert not session.state_data
    browser.resume({"run": run, "step": 1, "cells": None})
    assert sentence_of(browser.wait()) == GONE


@pytest.mark.parametrize(
    "sent",
    [None, [], 5, "x", {"run": ["a"]}, {"run": {"a": [[[{}]]]}, "cells": [None] * 1000}, {"cells": "x" * 10**5}],
)
def test_hostile_events_are_answered_with_a_sentence(browser, sent):
    browser.resume(sent)
    messages = browser.wait()
    assert sentence_of(messages) == GONE
    assert canvas_of(messages)["k"] == "say" and canvas_of(messages)["text"] == ""
    button, stop_button = last_values(messages)[2:4]
    assert button["visible"] is True and stop_button["visible"] is False


def test_bad_settings_of_a_browser_are_a_sentence(served, browser):
    browser.denoise("The old", 4, steps=None)
    assert sentence_of(browser.wait()).startswith("steps must be a number")
    browser.denoise("half \ud83d", 4)
    assert sentence_of(browser.wait()).startswith("Character 6 of the text is half of a broken pair")
    browser.denoise("fine", 4)
    assert canvas_of(browser.wait())["state"] == "finished"


def test_a_model_that_fails_does_not_show_its_traceback(served, browser, caplog):
    def fail(_):
        raise RuntimeError("CUDA error in /srv/secret/place.py")

    served.denoiser.before = fail
    browser.denoise(TEXT, 0)
    messages = browser.wait()
    assert sentence_of(messages) == UNEXPECTED
    assert canvas_of(messages)["state"] == "failed"
    assert not any(word in json.dumps(messages) for word in ("Traceback", "CUDA", "secret", "RuntimeError"))
    served.denoiser.before = lambda _: None
    browser.denoise(TEXT, 0)
    assert canvas_of(browser.wait())["state"] == "finished"


# ---------------------------------------------------------------- stopping and leaving


def test_stop_reaches_a_run_that_is_going(served, browser):
    stopped = threading.Event()

    def press_stop(_):
        if not stopped.is_set() and served.denoiser.calls - first == 3:
            stopped.set()
            assert browser.stop().status_code == 200

    first = served.denoiser.calls
    served.denoiser.before = press_stop
    browser.denoise("", 40, steps=40)
    messages = browser.wait()
    assert stopped.is_set() and canvas_of(messages)["state"] == "stopped"
    assert until(lambda: not served.resident.lanes)
    calls, run = served.denoiser.calls - first, read_run(served, canvas_of(messages)["run"])
    assert 3 <= calls <= 3 + LEAD and run.stops[-1].step <= calls
    assert run.text().count("[MASK]") == 40 - run.stops[-1].step


def slowly(served) -> list[int]:
    """Every call takes 50 ms at least; returns the widths of the calls, as they come."""
    widths: list[int] = []

    def before(width: int) -> None:
        widths.append(width)
        time.sleep(0.05)

    served.denoiser.before = before
    return widths


def test_a_visitor_who_leaves_frees_the_model(served, browser):
    widths = slowly(served)
    browser.denoise("", 60, steps=60)
    with browser.stream() as messages:
        for message in messages:
            if message["msg"] == "process_generating" and len(widths) >= 3:
                break
    other = Browser(served)
    other.denoise("", 5, steps=5)
    assert canvas_of(other.wait())["state"] == "finished"
    assert until(lambda: not served.resident.lanes)
    left_behind = widths.count(60)
    assert left_behind < 40, "the abandoned run was carried on"
    time.sleep(0.3)
    assert widths.count(60) == left_behind, "and it does not come back"


def test_an_api_client_that_hangs_up_frees_the_model(served):
    widths = slowly(served)
    data = ["", 60, *api_values(steps=60)]
    event = served.post("generate", json.dumps({"data": data})).json()["event_id"]
    url = f"{served.url}/gradio_api/call/generate/{event}"
    with httpx.Client(timeout=60) as http, http.stream("GET", url) as answer:
        for line in answer.iter_lines():
            if line.startswith("event: generating"):
                break
    assert served.call("infill", "a [MASK:3]", *api_values(steps=3)).last["done"] is True
    assert widths.count(60) < 40, "the abandoned run was carried on"


def occupied(served) -> list[Browser]:
    """As many runs under way as share the engine, with a closed gate before their first step."""
    busy = [Browser(served) for _ in range(AT_ONCE)]
    for visitor in busy:
        visitor.denoise("", 4, steps=2)
    assert until(lambda: served.resident.lanes == AT_ONCE) and _queued(served) == 0
    return busy


def test_a_visitor_who_leaves_while_waiting_is_taken_out_of_the_queue(served, gate):
    busy, waiting, last = occupied(served), Browser(served), Browser(served)
    waiting.denoise("", 31, steps=31)
    assert _queued(served) == 1
    with waiting.stream() as messages:
        next(message for message in messages if message["msg"] == "estimation")
    assert until(lambda: _queued(served) == 0), "it left, and is still waited for"
    widths = slowly(served)
    gate.set()
    assert [canvas_of(visitor.wait())["state"] for visitor in busy] == ["finished"] * AT_ONCE
    last.denoise("", 3, steps=3)
    assert canvas_of(last.wait())["state"] == "finished"
    assert 31 not in widths


# ---------------------------------------------------------------- the queue


def test_the_queue_says_its_position_and_when_it_is_full(served, gate):
    busy = occupied(served)
    crowd = [Browser(served) for _ in range(QUEUE_SIZE)]
    assert {visitor.denoise("", 1, steps=1).status_code for visitor in crowd} == {200}
    assert _queued(served) == QUEUE_SIZE
    late = Browser(served)
    refused = late.denoise("", 1, steps=1)
    assert refused.status_code == 503
    assert refused.json()["detail"].startswith(f"Queue is full. Max size is {QUEUE_SIZE}")
    refused = served.post("generate", json.dumps({"data": ["", 1, *api_values()]}))
    assert refused.status_code == 503 and "Queue is full" in refused.text
    with crowd[4].stream() as messages:
        place = next(message for message in messages if message["msg"] == "estimation")
        assert place["rank"] == 4
    gate.set()
    assert canvas_of(busy[0].wait())["state"] == "finished"
    assert canvas_of(crowd[-1].wait())["state"] == "finished"
    late.denoise("", 1, steps=1)
    assert canvas_of(late.wait())["state"] == "finished"


def test_a_server_that_nobody_asks_anything_is_at_rest(tiny):
    """By a name inside Gradio, which a version to come may change."""
    usual = gr.Blocks().queue()._queue.sleep_when_free
    assert usual < BETWEEN_LOOKS == build_demo(Shelf([HeldCheckpoint(tiny)]))._queue.sleep_when_free


def _queued(served) -> int:
    return served.http.get("/gradio_api/queue/status").json()["queue_size"]


def test_page_and_api_share_the_one_engine_and_its_queue(served, gate):
    busy = occupied(served)
    event = served.post("infill", json.dumps({"data": ["a [MASK]", *api_values()]})).json()["event_id"]
    time.sleep(0.2)
    assert _queued(served) == 1 and served.resident.lanes == AT_ONCE
    gate.set()
    assert "event: complete" in served.http.get(f"/gradio_api/call/infill/{event}").text
    assert canvas_of(busy[0].wait())["state"] == "finished"


def test_typing_is_answered_while_the_model_is_busy(served, gate):
    first, busy = served.denoiser.calls, Browser(served)
    busy.denoise("", 2, steps=1)
    assert until(lambda: served.denoiser.calls > first)
    assert json.loads(served.ask("draft", TEXT, 0).json())["k"] == "draft"
    assert served.http.get("/").status_code == 200
    gate.set()
    assert canvas_of(busy.wait())["state"] == "finished"


def test_runs_at_once_share_the_batch_and_are_as_if_alone(served, gate):
    wanted = [{"text": "", "length": 10 + number, "steps": 12, "seed": number} for number in range(AT_ONCE)]
    gate.set()
    served.denoiser.before = lambda _: None
    alone = []
    for settings in wanted:
        visitor = Browser(served)
        visitor.denoise(**settings)
        alone.append(read_run(served, canvas_of(visitor.wait())["run"]).tokens)
    gate.clear()
    served.denoiser.before = lambda _: gate.wait(60)
    visitors, first = [Browser(served) for _ in wanted], served.denoiser.calls
    for visitor, settings in zip(visitors, wanted, strict=True):
        visitor.denoise(**settings)
    assert until(lambda: served.resident.lanes == AT_ONCE)
    gate.set()
    together = [read_run(served, canvas_of(visitor.wait())["run"]).tokens for visitor in visitors]
    assert together == alone
    assert served.denoiser.calls - first < 12 * AT_ONCE / 2


# ---------------------------------------------------------------- the page itself


def test_text_of_a_recorded_run_is_data_in_the_page(tiny, monkeypatch):
    """The first value of the canvas is written into the page, where markup must not end the script around it."""
    hostile = "</script><b>${1}{{2}}<!--"
    trace = runs.begin(tiny, hostile + " [MASK:2]", 0, SamplerConfig(steps=2))
    list(runs.carry_out(tiny, trace))
    monkeypatch.setattr(examples, "trace_of", lambda checkpoint: trace)
    with serve(HeldCheckpoint(tiny)) as served:
        page = served.http.get("/").text
        number = served.component("canvas")
        canvas = next(item["props"] for item in served.config["components"] if item["id"] == number)
    assert EXAMPLE_RUN in page and "</script><b>" not in page
    reader = Reader()
    reader.take(canvas["value"])
    assert reader.last.text().startswith(hostile)
    assert "${" not in canvas["html_template"] and "{{" not in canvas["html_template"]


def test_the_page_asks_nobody_else(served):
    """No address of another host is fetched by the page that the server sends."""
    page = served.http.get("/").text
    outside = [part.split('"')[0] for part in page.split('src="')[1:] if part.startswith(("http:", "https:", "//"))]
    links = [part.split('"')[0] for part in page.split('href="')[1:] if part.startswith(("http:", "https:", "//"))]
    assert [address for address in outside + links if not address.startswith(served.url)] == []


def test_what_a_visit_gets_comes_in_order(served, browser):
    browser.denoise("", 20, steps=20)
    end = canvas_of(browser.wait())
    messages = json.loads(served.ask("messages", end["run"], 0).json())
    assert all(later["n"] == earlier["n"] + 1 for earlier, later in pairwise(messages))
    assert len(messages) == 22
