"""The tab's handlers on a real server: a move makes no more anew than it may change, and odd values are harmless."""

import json

import gradio as gr
import pytest

from ddemo.ui.lab import VIEWS
from ddemo.ui.lab.settings import Choice
from ddemo.ui.lab.tab import Shown


def named(served, numbers: list[int]) -> set[str]:
    """Their elem_ids."""
    return {
        item["props"].get("elem_id") or item["type"] for item in served.config["components"] if item["id"] in numbers
    }


def heard_by(served, name: str) -> dict:
    """The handler that hears of a change of the control, or list, with this elem_id."""
    heard = [served.component(name), "change"]
    return next(item for item in served.config["dependencies"] if heard in item["targets"] and item["backend_fn"])


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_a_move_makes_no_control_anew_but_those_that_an_answer_updates(served, view):
    place = f"lab-{view.name}-"
    controls = {setting.name: f"{place}{setting.name.replace('_', '-')}" for setting in view.settings}
    outputs = named(served, heard_by(served, controls[view.settings[0].name])["outputs"])
    assert outputs & set(controls.values()) == {controls[name] for name in view.updated}
    assert outputs >= {f"{place}{part.name}" for part in view.parts} | {f"{place}notice", f"{place}link"}
    everything = named(served, heard_by(served, "lab-view")["outputs"])
    assert everything & set(controls.values()) == {controls[name] for name in view.updated}


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_an_answer_changes_only_what_its_handler_may(view, resident):
    with gr.Blocks():
        shown = Shown(view)
    held = {setting.name: setting.default for setting in view.settings}
    chosen = [{item.name: value} for item in view.settings if isinstance(item, Choice) for value in item.choices]
    for change in ({}, *chosen):
        assert set(shown.answered(resident, list((held | change).values()))) <= set(shown.drawn)


@pytest.mark.parametrize("name", ["nowhere", None, 3, ["matrices"], {}])
def test_a_view_that_there_is_not_is_the_first(served, name):
    handler = heard_by(served, "lab-view")
    values = {item["id"]: item["props"].get("value") for item in served.config["components"]}
    data = [name, *(values[number] for number in handler["inputs"][1:])]
    asked = {"data": data, "fn_index": handler["id"], "session_hash": "somebody"}
    answer = served.http.post("/gradio_api/run/predict", json=asked)
    assert answer.status_code == 200
    drawn = dict(zip(handler["outputs"], answer.json()["data"], strict=True))
    first = drawn[served.component("lab-forward-curve")]
    assert json.loads(first)["figure"] and drawn[served.component("lab-matrices-matrices")]["__type__"] == "update"
