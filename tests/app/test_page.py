"""The page in a browser: `pytest tests/app/test_page.py --chromium /usr/bin/chromium`."""

import re
import time

import pytest
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from tests.app import photographs

PATIENCE = 120_000  # compiling may take long on a busy machine [ms]
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def chromium(request):
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=request.config.getoption("--chromium"))
        yield browser
        browser.close()


class Page:
    """A page in a context of its own, and what it asked for and complained of."""

    def __init__(self, chromium, address, *, width=1440, scheme="light"):
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.asked, self.errors = [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        expect(self.page.locator("body")).to_have_attribute("data-ready", "yes")

    def looks(self):
        return int(self.page.get_attribute("body", "data-looks") or 0)

    def after(self, action):
        """Does something and waits for the last picture that it asks for."""
        before, end = self.looks(), time.monotonic() + PATIENCE / 1000
        action()
        picture = self.page.locator("#picture")
        while self.looks() == before or picture.get_attribute("aria-busy") == "true":
            assert time.monotonic() < end, self.page.inner_text("#error")
            self.page.wait_for_timeout(20)

    def send(self, field, name, data):
        self.page.set_input_files(field, {"name": name, "mimeType": "", "buffer": data})

    def open(self, name="a.jpg", data=None):
        self.after(lambda: self.send("#open", name, data or photographs.jpeg()))

    def with_map(self):
        self.open()
        self.page.select_option("#source", "file")
        self.after(lambda: self.send("#map", "m.npy", photographs.map_bytes()))

    def at(self, x, y):
        box = self.page.locator("#picture").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def click(self, x, y):
        self.after(lambda: self.page.mouse.click(*self.at(x, y)))

    def drag(self, *places):
        self.page.mouse.move(*self.at(*places[0]))
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*self.at(*place), steps=5)
        self.after(self.page.mouse.up)

    def slide(self, name, value):
        self.after(lambda: self.page.locator(f"#{name}").fill(str(value)))

    def line(self):
        return self.page.inner_text("#line")

    def save(self, button):
        with self.page.expect_download() as download:
            self.page.click(button)
        return download.value


@pytest.fixture
def visit(chromium, address):
    pages = []

    def opened(**options):
        pages.append(Page(chromium, address, **options))
        return pages[-1]

    yield opened
    for page in pages:
        page.context.close()
        assert page.errors == []
        assert {
            url.split("/")[2] for url in page.asked if not url.startswith(("data:", "blob:"))
        } == {address.split("/")[2]}


def test_click_slide_and_save(visit, tmp_path):
    page = visit()
    page.with_map()
    page.click(0.25, 0.5)
    x, y = map(int, re.search(r"--focus (\d+),(\d+)", page.line()).groups())
    assert abs(x - 20) <= 1
    assert abs(y - 32) <= 1
    page.slide("blur", 2.5)
    page.slide("sharp", 0.1)
    page.slide("highlights", 5)
    page.page.select_option("#opening", "blades")
    page.slide("blades", 5)
    page.slide("roundness", 0.3)
    assert page.line().endswith(
        f"--focus {x},{y} --sharp 0.1 --blur 2.5 --blades 5 --roundness 0.3 "
        "--restore-highlights --highlight-gain 5.0"
    )
    page.page.click("#make")
    expect(page.page.locator("#save")).to_be_visible()
    saved = page.save("#save")
    assert saved.suggested_filename == "a_bokeh.jpg"
    with Image.open(saved.path()) as picture:
        assert picture.size == (80, 64)
    page.after(lambda: page.page.click("#auto"))
    assert "--focus" not in page.line()
    page.after(lambda: page.page.click("#reset"))
    assert page.line() == "d2f bokeh a.jpg"


def test_a_dragged_box_is_the_focus(visit):
    page = visit()
    page.with_map()
    page.drag((0.25, 0.25), (0.75, 0.75))
    box = [int(place) for place in re.search(r"--focus ([\d,]+)", page.line())[1].split(",")]
    assert all(abs(place - there) <= 1 for place, there in zip(box, (20, 16, 60, 48), strict=True))
    expect(page.page.locator("#mark")).to_have_class("box")


def test_a_heic_brings_its_distances(visit):
    page = visit()
    page.open("phone.heic", photographs.with_depth())
    expect(page.page.locator("#notes")).to_contain_text("depth of the HEIC file used")
    expect(page.page.locator("#source")).to_have_value("own")
    page.click(0.5, 0.5)
    expect(page.page.locator("#status")).to_contain_text("sharp at 0.6")
    page.page.click("details summary")
    page.page.fill("#focal_length", "50")
    page.page.fill("#sensor", "36")
    page.slide("f_number", 2)
    assert page.line().endswith("--f-number 2.0 --focal-length 50.0 --sensor 36.0")
    expect(page.page.locator("#error")).to_be_empty()


def test_a_wrong_file_gets_a_message_and_the_page_lives_on(visit):
    page = visit()
    page.with_map()
    line = page.line()
    page.send("#open", "text.jpg", b"hello, this is no picture")
    expect(page.page.get_by_role("alert")).to_contain_text("text.jpg: not a picture")
    page.send("#map", "map.npy", b"nor a map")
    expect(page.page.get_by_role("alert")).to_contain_text("map.npy: not a readable NPY map")
    page.click(0.5, 0.5)
    assert page.line().startswith(line)
    expect(page.page.get_by_role("alert")).to_be_empty()


def test_the_brush_corrects_the_map(visit):
    page = visit()
    page.with_map()
    page.page.get_by_text("Farther", exact=True).click()
    page.drag((0.7, 0.3), (0.9, 0.6))
    assert page.line() == "d2f bokeh a.jpg --disparity a_map.npz"
    page.page.get_by_text("Subject", exact=True).click()
    page.drag((0.2, 0.3), (0.3, 0.4))
    assert page.line().endswith("--mask a_subject.png")
    saved = page.save("text=Save a_map.npz")
    assert saved.path().read_bytes().startswith(b"PK")
    page.after(lambda: page.page.click("#undo"))
    page.after(lambda: page.page.click("#clear"))
    assert page.line() == "d2f bokeh a.jpg --disparity m.npy"


def test_views_and_the_photograph_before(visit):
    page = visit()
    page.with_map()
    pictures = {page.page.get_attribute("#after", "src")}
    for view in ("Map", "Defocus", "Radiance", "Mask"):
        page.after(lambda view=view: page.page.locator(f"#views >> text={view}").click())
        pictures.add(page.page.get_attribute("#after", "src"))
    assert len(pictures) == 5
    page.page.locator("#compare").fill("50")
    clip = page.page.locator("#before").evaluate("each => getComputedStyle(each).clipPath")
    assert clip == "inset(0px 50% 0px 0px)"


def test_two_visitors_at_once(visit):
    first, second = visit(), visit()
    first.with_map()
    second.open("other.jpg")
    for page in (first, second):
        page.page.mouse.click(*page.at(0.5, 0.5))
    for page, name in ((first, "a.jpg"), (second, "other.jpg")):
        expect(page.page.locator("#line")).to_contain_text(re.compile(f"{name}.*--focus"))


def test_a_reload_in_the_middle_finds_everything(visit):
    page = visit()
    page.with_map()
    page.slide("blur", 0.5)
    page.click(0.25, 0.5)
    line = page.line()
    page.page.click("#make")
    page.page.mouse.click(*page.at(0.75, 0.5))  # in work when the page goes
    page.page.reload()
    expect(page.page.locator("#line")).to_contain_text("--focus")
    assert page.line().startswith(line.split(" --focus")[0])
    assert page.line().endswith("--blur 0.5")
    expect(page.page.locator("#save")).to_be_visible()


def test_full_size_can_be_stopped(visit):
    page = visit()
    page.open()
    page.page.click("#make")
    page.page.click("#stop")
    expect(page.page.locator("#progress-text")).to_have_text("stopped")
    expect(page.page.locator("#make")).to_be_visible()
    expect(page.page.locator("#save")).to_be_hidden()


def test_with_keys_alone(visit):
    page = visit()
    keys = page.page.keyboard

    def tab_to(what):
        for _ in range(60):
            keys.press("Tab")
            if page.page.locator(f"{what}:focus").count():
                return
        raise AssertionError(f"{what} is not reached")

    tab_to("#examples button")
    page.after(lambda: keys.press("Enter"))
    tab_to("#picture")
    expect(page.page.locator("#cursor")).to_be_visible()
    for key in ("ArrowLeft", "Shift+ArrowLeft", "ArrowUp"):
        keys.press(key)
    page.after(lambda: keys.press("Enter"))
    x, y = map(int, re.search(r"--focus (\d+),(\d+)", page.line()).groups())
    assert (x / 1024, y / 576) == pytest.approx((0.38, 0.5 - 0.02 * 1024 / 576), abs=0.01)
    tab_to("#blur")
    page.after(lambda: keys.press("ArrowRight"))
    assert page.line().endswith("--blur 1.05")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_wide_and_narrow_light_and_dark(visit, width, scheme):
    page = visit(width=width, scheme=scheme)
    page.with_map()
    page.page.get_by_text("Nearer", exact=True).click()
    page.page.select_option("#opening", "blades")
    body = page.page.locator("body")
    assert body.evaluate("each => each.scrollWidth") <= width
    ground = body.evaluate("each => getComputedStyle(each).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
    assert (brightness > 128) == (scheme == "light")
    for control in page.page.locator(
        "button:visible, select:visible, input[type=range]:visible"
    ).all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["height"] >= 24
