"""Makes docs/pictures/page_*.png, the pictures of docs/page.md: starts the page, and clicks an example of each tab.

    .venv/bin/python docs/screenshots.py [RUNS [TASK ...]]

RUNS is saved_models by default; it has the runs of `make demo` and the released models. With tasks, only the pictures
of these are made. Needs the extra `app`, the package playwright, and Chromium.
"""

import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 600  # to load the models
WIDTH, HEIGHT = 1200, 1500  # pixels of the browser
SHOWN = 1000  # pixels, the width of a picture
TABS = {  # task -> the run, the number of the example, the last output
    "sentiment": ("sentiment/imdb", 0, "picture img"),
    "translation": ("translation/multi30k-de-en", 0, "picture img"),
    "captioning": ("captioning/flickr8k", 3, "picture img"),
    "video": ("video/sample", 1, "timeline img"),
}


def small(png: bytes) -> Image.Image:
    """Returns a screenshot in 96 colours, at most SHOWN wide, without the empty rows at its end."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    filled = Image.eval(image.convert("L"), lambda value: 255 if value < 250 else 0).getbbox()
    image = image.crop((0, 0, image.width, min(filled[3] + 20, image.height)))
    image.thumbnail((SHOWN, image.height), Image.Resampling.LANCZOS)
    return image.quantize(96)


def shoot(page: Page, task: str, number: int, last: str) -> Image.Image:
    """Returns a picture of a tab after a click on an example."""
    page.get_by_role("tab", name=task.capitalize()).click()
    page.locator(f"#{task}-examples .gallery-item").nth(number).click()
    page.locator(f"#{task}-{last}").wait_for(state="visible")
    page.mouse.move(0, 0)
    time.sleep(3)  # for the last pictures and animations
    return small(page.screenshot(full_page=True))


def main(runs: Path, tasks: list[str]) -> None:
    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        raise SystemExit(f"there is no Chromium: expected one of {', '.join(CHROMIUM)}")
    shown = {task: tab for task, tab in TABS.items() if (runs / tab[0]).is_dir()}
    flags = [part for task, (run, *_) in shown.items() for part in (f"--{task}", str(runs / run))]
    command = [sys.executable, "-m", "pipelines.app", "--port", "0", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = re.search(r"http://\S+?(?=;)", server.stdout.readline())[0]
            with sync_playwright() as started:
                browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.set_default_timeout(1000 * SECONDS)
                page.goto(address)
                for task in tasks or shown:
                    _, number, last = shown[task]
                    file = ROOT / "docs" / "pictures" / f"page_{task}.png"
                    shoot(page, task, number, last).save(file, optimize=True)
                    print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")
                browser.close()
        finally:
            server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "saved_models").resolve(), sys.argv[2:])
