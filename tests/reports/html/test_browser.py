"""The HTML report in Chromium: what it shows at three widths, in both colour schemes, by keyboard and in print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browsing
from command import document

from featx.core.run_folder import Runs
from featx.reports.html.page import page

WIDTHS = (400, 800, 1600)
BRIGHTNESS = "getComputedStyle(document.body).backgroundColor"
OPEN = "document.querySelector('#options').parentElement.querySelector('details table').checkVisibility()"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of two runs, one of which has classes with long names."""
    home = tmp_path_factory.mktemp("shown")
    document("fit", "digits", "--pixels", "--per-class", "20", "--home", home)
    lenet = ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--epochs", "2", "--per-class", "20")
    document(*lenet, "--home", home)
    run = next(run for run in Runs(home).list() if "-train-" in run.id)
    text = (run.path / "run.json").read_text()
    (run.path / "run.json").write_text(text.replace('"lenet5"', f'"{"lenet" * 40}"'))
    file = home / "report.html"
    file.write_text(page(Runs(home).list(), home=home), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser(report: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        found.open(report)
        yield found


def test_it_is_read_as_it_was_written(browser: Browser) -> None:
    headings = browser.ask("[...document.querySelectorAll('h2')].map(h => h.textContent)")
    first = ["Results", "Which differences are beyond chance", "Accuracy and cost", "Learning curves"]
    assert headings[:4] == first
    assert browser.ask("document.querySelectorAll('#results ~ .wide tbody tr').length") == 2
    assert browser.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert browser.ask("document.querySelectorAll('svg').length") >= 7


def test_nothing_is_asked_for_and_nothing_runs(browser: Browser) -> None:
    assert browser.ask("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    assert browser.ask("document.scripts.length") == 0
    # A script that a name might smuggle in would be stopped by the page's policy.
    browser.ask(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
        "document.body.append(s); s.remove(); })()"
    )
    assert browser.ask("window.ran === undefined")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_never_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.show(width)
    assert browser.ask("document.documentElement.scrollWidth") == width
    # What is wider scrolls by itself, and can be reached by keyboard.
    wide = "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth)"
    assert browser.ask(f"{wide}.every(e => e.tabIndex === 0)")


def test_it_follows_the_readers_colours(browser: Browser) -> None:
    browser.show(800)
    light = browser.ask(BRIGHTNESS)
    browser.show(800, dark=True)
    dark = browser.ask(BRIGHTNESS)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 26)")


def test_the_first_key_leads_past_the_contents(browser: Browser) -> None:
    browser.show(800)
    for kind in ("keyDown", "keyUp"):
        browser.tell("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.ask("document.activeElement.textContent") == "Skip to the report"
    assert browser.ask("document.activeElement.getBoundingClientRect().left") >= 0


def test_all_of_it_is_printed(browser: Browser) -> None:
    browser.show(800)
    assert not browser.ask(OPEN)
    browser.tell("Emulation.setEmulatedMedia", media="print", features=[])
    assert browser.ask(OPEN)
    uncut = "[...document.querySelectorAll('figure, .thumbs li, .heat table, tr')]"
    assert browser.ask(f"{uncut}.length") > 20
    assert browser.ask(f"{uncut}.every(e => getComputedStyle(e).breakInside === 'avoid')")
    found = browser.pdf()
    assert found.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", found)) >= 3


def test_six_plots_leave_room_on_a_page(browser: Browser) -> None:
    inside = 'document.querySelector("[aria-labelledby=reliability] .panels")'
    browser.ask(f"{inside}.replaceChildren(...Array.from({{length: 6}}, () => {inside}.firstChild.cloneNode(true)))")
    browser.show(703)  # A4's width less both margins, in CSS pixels
    browser.tell("Emulation.setEmulatedMedia", media="print", features=[])
    assert browser.ask(f"{inside}.children.length") == 6
    assert browser.ask(f"{inside}.getBoundingClientRect().height") < 620  # of 1,032 or, on Letter, 965


def test_in_print_it_is_light(browser: Browser) -> None:
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.tell("Emulation.setEmulatedMedia", media="print", features=dark)
    assert browser.ask(BRIGHTNESS) == "rgb(255, 255, 255)"
    assert browser.ask("getComputedStyle(document.documentElement).colorScheme") == "light"
