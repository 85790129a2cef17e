"""The report in a real browser: on a phone, on a desk, in the dark and on paper."""

import json
import shutil

import pytest
import report_run

from finetune.report.layout import number
from finetune.report.run_page import report

pytestmark = pytest.mark.browser

SCREENS = {"phone": (390, 844), "desktop": (1440, 900)}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PAPER = 718  # A4 within margins of 1 cm, in CSS pixels


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=program)
        yield found
        found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = report_run.make(tmp_path_factory.mktemp("browser") / "run")
    report(made)
    return made


class Visit:
    """A page that was opened, with all it said and asked for."""

    def __init__(self, browser, file, size, scheme):
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        self.page = context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = file.as_uri()
        self.page.goto(self.url)

    def width(self):
        return self.page.evaluate("document.documentElement.scrollWidth")

    def open_all(self):
        self.page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")

    def outside(self, framed=".frame, pre, svg"):
        """Elements that reach beyond the page and do not scroll in a frame of their own."""
        return self.page.evaluate(
            """framed => [...document.querySelectorAll('main *, header *')].filter(each =>
                each.getBoundingClientRect().right > innerWidth + 1
                && !each.closest(framed)).map(each => each.outerHTML.slice(0, 120))""",
            framed,
        )


@pytest.fixture(
    scope="module", params=[(s, c) for s in SCREENS for c in ("light", "dark")], ids=str
)
def visit(request, browser, folder):
    size, scheme = request.param
    found = Visit(browser, folder / "report.html", SCREENS[size], scheme)
    found.open_all()
    return found


def test_it_loads_without_a_complaint_and_asks_for_nothing(visit):
    assert not visit.said
    assert visit.asked == [visit.url]


def test_the_page_never_scrolls_sideways(visit):
    assert visit.width() == visit.page.viewport_size["width"]
    assert visit.outside() == []


def test_a_script_tag_in_a_prediction_stays_text(visit):
    assert visit.page.evaluate("document.scripts.length") == 0
    assert visit.page.title() == "small & <i>quick</i>: report"
    assert (
        visit.page.evaluate("document.querySelectorAll('img, iframe, [onmouseover]').length") == 0
    )
    said = visit.page.locator("article .said", has_text=report_run.HOSTILE[0])
    assert said.count() > 0
    assert said.first.inner_text().startswith("<script>document.title = 'broken'</script>")


def test_every_number_of_the_records_is_what_a_reader_sees(visit, folder):
    cells = visit.page.eval_on_selector_all(
        "#scores .scores td[data-value]",
        "all => all.map(each => [each.dataset.value, each.querySelector('strong').innerText,"
        " each.querySelector('.range')?.innerText])",
    )
    compared = json.loads(next(folder.glob("evaluate-*/comparison.json")).read_text())["samsum"]
    wanted = {
        (value["mean"], number(value["mean"]), f"{number(value['low'])} to {number(value['high'])}")
        for values in compared["models"].values()
        for value in values.values()
    }
    assert {(float(value), shown, between) for value, shown, between in cells} == wanted


def test_the_dark_page_is_dark(visit):
    light = visit.page.evaluate("matchMedia('(prefers-color-scheme: light)').matches")
    colour = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) > 3 * 128) == light


def test_a_group_of_answers_can_be_picked_without_a_script(visit):
    seen = visit.page.locator("article:visible")
    visit.page.locator(".pick-loss").check()
    assert seen.count() == 10
    visit.page.locator(".pick-all").check()
    assert seen.count() == 30


def test_on_paper_everything_is_there_and_nothing_is_cut(browser, folder):
    visit = Visit(browser, folder / "report.html", (PAPER, 1123), "dark")
    visit.page.locator(".pick-loss").check()
    visit.page.emulate_media(media="print")
    assert visit.page.locator("article:visible").count() == 30
    assert not visit.page.locator("nav").is_visible()
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor").endswith(
        "(255, 255, 255)"
    )
    assert visit.outside("svg") == []
    assert visit.page.pdf(format="A4").startswith(b"%PDF")
    assert not visit.said
