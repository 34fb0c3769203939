"""Times the page of `d2f app` in a browser: from a click into the picture to the next picture.

Starts the command, opens the sample photograph with a map in headless Chromium (`--chromium`),
waits until everything is compiled, and clicks, moves the sliders and paints. A move counts from the
event in the browser until its picture is decoded there. No other program to compare with.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import common

SAMPLES = Path(__file__).parents[1] / "docs" / "samples"
PATIENCE = 600.0

_SHOWN = """([before, patience]) => new Promise((answer) => {
  const [body, error] = [document.body, document.querySelector("#error")];
  const end = (shown) => { watch.disconnect(); clearTimeout(late); answer(shown); };
  const look = () => {
    if (Number(body.dataset.looks ?? 0) > before) end(true);
    else if (error.textContent) end(false);
  };
  const watch = new MutationObserver(look);
  const late = setTimeout(() => end(false), patience);
  watch.observe(body, { attributes: true });
  watch.observe(error, { childList: true });
  look();
})"""
"""Waits in the page for a picture after those before, or a complaint."""


class Driver:
    """A page in a browser."""

    def __init__(self, page, address: str):
        self.page = page
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")

    def looks(self) -> int:
        """How many pictures were shown."""
        return int(self.page.get_attribute("body", "data-looks") or 0)

    def after(self, action: Callable[[], object]) -> float:
        """Seconds from an action to its picture.

        Raises:
          ValueError: if the page complains instead.
        """
        before, start = self.looks(), time.perf_counter()
        action()
        # The browser says when: asking again and again would take the cores from the renderer.
        shown = self.page.evaluate(_SHOWN, [before, 1000 * PATIENCE])
        seconds = time.perf_counter() - start
        if not shown:
            raise ValueError(f"the page says: {self.page.inner_text('#error') or 'nothing'}")
        return seconds

    def open(self, photo: Path, disparity: Path | None = None) -> float:
        """Opens a photograph, with a map if there is one; seconds to its first picture."""
        seconds = self.after(lambda: self.page.set_input_files("#open", photo))
        if disparity is not None:
            self.page.select_option("#source", "file")
            seconds += self.after(lambda: self.page.set_input_files("#map", disparity))
        return seconds

    def click(self, x: float, y: float) -> float:
        """Clicks at shares of width and height."""
        box = self.page.locator("#picture").bounding_box()
        place = box["x"] + x * box["width"], box["y"] + y * box["height"]
        return self.after(lambda: self.page.mouse.click(*place))

    def slide(self, name: str, value: float) -> float:
        """Moves a slider."""
        return self.after(lambda: self.page.locator(f"#{name}").fill(str(value)))

    def wait_until_warm(self) -> None:
        """Waits until nothing is being compiled any more."""
        while True:
            self.click(0.5, 0.5)
            if "getting ready" not in self.page.inner_text("#status"):
                return
            self.page.wait_for_timeout(2000)


@contextmanager
def page(chromium: str) -> Iterator[tuple[Driver, subprocess.Popen]]:
    """Starts the command and a browser on it."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "d2f_jax", "app", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with sync_playwright() as player:
            browser = player.chromium.launch(executable_path=chromium)
            yield Driver(browser.new_page(viewport={"width": 1440, "height": 900}), address), server
            browser.close()
    finally:
        server.terminate()
        server.wait()


def moves(driver: Driver, rounds: int) -> dict[str, list[float]]:
    """Seconds of each kind of move."""
    rng = np.random.default_rng(7)
    times: dict[str, list[float]] = {"click": [], "blur": [], "range kept sharp": []}
    for _ in range(rounds):
        times["click"].append(driver.click(*rng.uniform(0.05, 0.95, 2)))
        times["blur"].append(driver.slide("blur", 0.05 * rng.integers(8, 21)))
        times["range kept sharp"].append(driver.slide("sharp", 0.01 * rng.integers(0, 20)))
    return times


def main(options: argparse.Namespace) -> Path:
    """Measures and writes the results file."""
    rounds = options.rounds or (10 if options.quick else 40)
    rows = []
    with page(options.chromium) as (driver, _):
        cases = (
            ("lens", SAMPLES / "motorcycle.jpg", SAMPLES / "motorcycle_disparity.png"),
            ("networks", SAMPLES / "otter.jpg", None),
        )
        for name, photo, disparity in cases:
            first = driver.open(photo, disparity)
            driver.wait_until_warm()
            moves(driver, 2)
            for kind, times in moves(driver, rounds).items():
                summary = common.summary(times)
                late = float(f"{np.percentile(times, 95):.5g}")
                contender = {"first_call_s": round(first, 4), **summary, "p95_s": late}
                case = f"page, {name}: {kind}"
                print(f"{case}: median {summary['median_s']:.3g} s, 95 % within {late:.3g} s")
                rows.append(
                    {
                        "case": case,
                        "tolerance": 0.0,
                        "largest_difference": {},
                        "contenders": {common.OURS: contender},
                        "times_ours_over": {},
                    }
                )
    return common.save("app", options, rows)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of all benchmarks, and where the browser is."""
    options = common.parser(description)
    found = shutil.which("chromium") or "/usr/bin/chromium"
    options.add_argument("--chromium", default=found, metavar="FILE", help="the browser")
    return options


if __name__ == "__main__":
    sys.exit(common.run(main, __doc__, parser(__doc__)))
