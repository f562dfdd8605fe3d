"""Every part of the page against axe-core's rules: names, roles, order of headings, contrast."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from ddemo.ui.lab import VIEWS

pytestmark = pytest.mark.browser

AWAY = [
    "label-content-name-mismatch",  # a candidate shows "·sea .12" and is named "Force sea, probability .12"
    "scrollable-region-focusable",  # wide formulas on a phone: browsers themselves let keys scroll them
]
OPTIONS = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in AWAY}}
PHONE = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}


def faults(page: Page) -> list[str]:
    """What axe-core finds wrong with what is on show, a line for each element."""
    found = Axe().run(page, options=OPTIONS).response["violations"]
    return [f"{rule['id']}: {node['html'][:160]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desk", "phone-dark"])
def test_a_run_and_its_inspector(arrive, context):
    visitor = arrive(**context)
    assert faults(visitor.page) == []
    visitor.write("The old [MASK:3] into the sea.", drawn="The old")
    visitor.denoise()
    visitor.cells.nth(2).locator(".dd-ink").click()
    expect(visitor.page.locator(".dd-candidate:visible").first).to_be_visible()
    assert faults(visitor.page) == []


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desk", "phone-dark"])
def test_compare_and_models(arrive, context):
    page = arrive(**context).page
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare").click()
    expect(page.locator('#lanes [data-ddn="table-body"] tr').first).to_be_visible()
    assert faults(page) == []
    page.get_by_role("tab", name="Models").click()
    page.locator(".ddm-table tbody button").first.click()
    expect(page.locator('.ddm [data-ddm="panel"]')).to_be_visible()
    assert faults(page) == []


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desk", "phone-dark"])
def test_every_view_of_the_lab(arrive, context):
    page = arrive(**context).page
    page.get_by_role("tab", name="Noise lab").click()
    found = {}
    for name, view in VIEWS.items():
        page.locator("#lab-view").get_by_label(view.title, exact=True).check()
        expect(page.locator(f"#lab-{name}")).to_be_visible()
        for part in view.parts:
            if part.kind == "plot" and not view.work:
                expect(page.locator(f"#lab-{name}-{part.name} .main-svg").first).to_be_visible()
        found[name] = faults(page)
    assert not any(found.values()), found
