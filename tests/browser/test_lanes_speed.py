"""The page is not what a comparison waits for: eight lanes of 64 tokens, thirty turns a second and more."""

import pytest

from ddemo import runs
from ddemo.sampling import SamplerConfig
from ddemo.ui.lanes.messages import LaneMessages, ShownLane
from tests.browser.lanes_page import LanesPage, pieces

pytestmark = [pytest.mark.browser, pytest.mark.slow]

LEAST_TURNS = 30  # a second
FEED = """
async (messages) => {
  const view = document.querySelector('.view');
  for (const message of messages) {
    view.send(message);
    await new Promise((done) => requestAnimationFrame(() => { document.body.offsetHeight; done(); }));
  }
}
"""


def seconds_of(page: LanesPage, messages: list[str]) -> dict[str, float]:
    """Processor time of the page's main thread, so that other work on the machine does not count."""
    client = page.page.context.new_cdp_session(page.page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> dict[str, float]:
        return {metric["name"]: metric["value"] for metric in client.send("Performance.getMetrics")["metrics"]}

    before = spent()
    page.page.evaluate(FEED, messages)
    after = spent()
    return {name: after[name] - before[name] for name in ("ScriptDuration", "RecalcStyleDuration", "LayoutDuration")}


@pytest.mark.parametrize("width", [1440, 390])
def test_eight_lanes_of_64_tokens(browser, tiny, width):
    traces = [runs.begin(tiny, "", 64, SamplerConfig(steps=64, seed=seed)) for seed in range(8)]
    for _ in runs.carry_out_together(tiny, traces):
        pass
    whole = LaneMessages("c", "", "", [ShownLane(str(i), "", "", trace) for i, trace in enumerate(traces)]).whole()
    opening, *turns = pieces(whole)[: 1 + 64]
    page = LanesPage(browser, viewport={"width": width, "height": 1000})
    page.send(opening)
    spent = seconds_of(page, turns)
    assert page.masks(0) == 0 and page.lane(7).locator(".dd-cell").count() == 64
    page.page.context.close()
    each = sum(spent.values()) / len(turns)
    assert 0 < each < 1 / LEAST_TURNS, spent
    assert not page.complaints
