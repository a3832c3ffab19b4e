"""The page in a real browser: examples, uploads, bad files, a long video, two pages at once, and the webcam."""

import re
import shutil
import time

import pytest

pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")
pytest.importorskip("playwright", reason="needs the package playwright: pip install playwright")

# Gradio's queue sets this option of pandas, in newer versions of which it is deprecated.
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting' is deprecated")]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS = 300  # the machine may be busy
RECORDED = """() => {
    const start = MediaRecorder.prototype.start;
    window.recorded = 0;  // parts of 0.2 s; a busy machine encodes the first one late
    MediaRecorder.prototype.start = function (...options) {
        this.addEventListener("dataavailable", event => { window.recorded += event.data.size > 0; });
        return start.apply(this, options);
    };
}"""
CAMERA = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: no chromium, chromium-browser or google-chrome on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *CAMERA])
        yield running
        running.close()


@pytest.fixture
def open_page(browser, client):
    """Returns a function that opens the page at a tab. Fails if the browser asked another site for anything, or has a
    fault of a script."""
    opened, wrong = [], []
    own = f"http://127.0.0.1:{client.port}"

    def open_page(task: str):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
        opened.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("request", lambda sent: sent.url.startswith((own, "data:", "blob:")) or wrong.append(sent.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(own)
        page.get_by_role("tab", name=task.capitalize()).click()
        return page

    yield open_page
    for context in opened:
        context.close()
    assert wrong == []


def example(page, task: str, number: int = 0):
    page.locator(f"#{task}-examples .gallery-item").nth(number).click()


def wait_for(page, selector: str):
    page.locator(selector).first.wait_for(state="visible")


def fault(page, task: str) -> str:
    wait_for(page, f"#{task}-message .fault")
    return page.locator(f"#{task}-message").inner_text()


def upload(page, task: str, name: str, content: bytes, kind: str):
    page.locator(f"#{task}-{'image' if task == 'captioning' else 'clip'} input[type=file]").set_input_files(
        {"name": name, "mimeType": kind, "buffer": content}
    )


def picture_is_covered(page, selector: str) -> list[str]:
    """Returns the texts of elements that lie above the upper left corner of a picture."""
    script = """image => {
        const box = image.getBoundingClientRect();
        return document.elementsFromPoint(box.left + 5, box.top + 5)
            .filter(each => each !== image && !each.contains(image)).map(each => each.textContent);
    }"""
    page.locator(selector).scroll_into_view_if_needed()
    return page.locator(selector).evaluate(script)


def test_examples_of_sentiment(open_page):
    page = open_page("sentiment")
    example(page, "sentiment", 1)
    wait_for(page, "#sentiment-picture img")
    assert page.locator("#sentiment-text textarea").input_value() == "It would be wrong to call this a bad film."
    assert "%" in page.locator("#sentiment-probabilities").inner_text()
    colours = page.locator("#sentiment-words span").evaluate_all(
        "spans => spans.map(span => getComputedStyle(span).backgroundColor)"
    )
    assert len(colours) == 11 and all(re.fullmatch(r"rgb\(\d+, \d+, \d+\)", colour) for colour in colours)
    assert picture_is_covered(page, "#sentiment-picture img") == []


def test_a_bad_text_is_one_sentence_and_a_good_one_follows(open_page):
    page = open_page("sentiment")
    page.locator("#sentiment-run").click()
    assert fault(page, "sentiment") == "There is no text yet: write one, or choose an example"
    page.locator("#sentiment-text textarea").fill("A good film.")
    page.locator("#sentiment-run").click()
    wait_for(page, "#sentiment-words span")
    assert page.locator("#sentiment-message").inner_text() == ""


def test_translation_with_options(open_page):
    page = open_page("translation")
    page.locator("#translation-text textarea").fill("A red star.\nA grey door.\nA house.")
    page.locator("#translation-run").click()
    wait_for(page, "#translation-map img")
    wait_for(page, "#translation-picture img")
    assert page.locator("#translation-answers table").count() == 3
    page.get_by_role("button", name="Options").click()
    page.locator("#translation-prefix textarea, #translation-prefix input").first.fill("w" * 200)
    page.locator("#translation-sampled input").check()
    page.get_by_label("Temperature").fill("-1")
    page.locator("#translation-run").click()
    assert fault(page, "translation") == "Temperature is -1: expected a number from 0.001 to 100"


def test_an_upload_and_a_bad_image(open_page, captioning_run):
    page = open_page("captioning")
    upload(page, "captioning", "drawing.png", captioning_run.image(0).read_bytes(), "image/png")
    wait_for(page, "#captioning-image img")
    page.locator("#captioning-run").click()
    wait_for(page, "#captioning-picture img")
    assert picture_is_covered(page, "#captioning-picture img") == []
    page = open_page("captioning")
    upload(page, "captioning", "bad.png", b"no image", "image/png")
    wait_for(page, "#captioning-image img")
    page.locator("#captioning-run").click()
    assert fault(page, "captioning").startswith("Bad.png is not a JPEG or PNG image")


def test_a_video_and_a_bad_one(open_page, video_run):
    page = open_page("video")
    clip = next(path for path in sorted(video_run.data.rglob("*.mp4")))
    upload(page, "video", "clip.mp4", clip.read_bytes(), "video/mp4")
    wait_for(page, "#video-clip video")
    page.locator("#video-run").click()
    wait_for(page, "#video-timeline img")
    wait_for(page, "#video-labelled video")
    assert page.locator("#video-segments tbody tr").count() >= 1
    page = open_page("video")
    upload(page, "video", "bad.mp4", b"no video", "video/mp4")
    wait_for(page, "#video-clip video")
    page.locator("#video-run").click()
    assert fault(page, "video") == "Bad.mp4 is not a video, or is truncated or damaged"


def test_a_long_video_is_refused_before_it_is_read(open_page, tmp_path, make_clip):
    from pipelines.app import limits

    clip = make_clip(tmp_path / "long.mp4", (limits.SECONDS + 60) * 5)
    page = open_page("video")
    upload(page, "video", "long.mp4", clip.read_bytes(), "video/mp4")
    wait_for(page, "#video-clip video")
    page.locator("#video-run").click()
    assert fault(page, "video").startswith("Long.mp4 is too long: it has about 900 frames at 5 frames per second")


@pytest.fixture
def make_clip():
    import numpy as np

    from tests.pipelines.video.conftest import write_clip

    def make(path, frames: int):
        return write_clip(path, np.zeros([frames, 32, 32, 3], np.uint8), 5)

    return make


def test_two_pages_at_once_do_not_mix(open_page):
    pages = [open_page("sentiment"), open_page("sentiment")]
    for number, page in enumerate(pages):
        page.locator("#sentiment-text textarea").fill(f"{'good ' * (number + 1)}film")
    for page in pages:
        page.locator("#sentiment-run").click()
    for number, page in enumerate(pages):
        wait_for(page, "#sentiment-words span")
        assert page.locator("#sentiment-words span").all_inner_texts() == [*["good"] * (number + 1), "film"]


def open_camera(page, selector: str, source: str):
    """Chooses the webcam as the source of a field, and allows the browser to use it. Returns the field."""
    field = page.locator(selector)
    field.get_by_label(source).click()
    field.get_by_text("Click to Access Webcam").click()
    wait_for(page, f"{selector} [data-testid=webcam-video]")
    # Before the first frame, Gradio ignores the buttons.
    page.wait_for_function("selector => document.querySelector(selector).videoWidth", arg=f"{selector} video")
    return field


def test_a_photo_of_the_webcam_is_captioned(open_page):
    page = open_page("captioning")
    field = open_camera(page, "#captioning-image", "Capture from camera")
    field.get_by_label("capture photo").click()
    wait_for(page, "#captioning-image img")
    page.locator("#captioning-run").click()
    wait_for(page, "#captioning-picture img, #captioning-message .fault")
    assert page.locator("#captioning-message").inner_text() == ""
    assert page.locator("#captioning-answers tbody tr").count() >= 1


def test_a_recording_of_the_webcam_is_labelled(open_page):
    page = open_page("video")
    field = open_camera(page, "#video-clip", "Capture from camera")
    page.evaluate(RECORDED)
    button = field.get_by_label("start recording")
    button.click()
    field.get_by_title("stop recording").wait_for(state="visible")
    page.wait_for_function("window.recorded >= 5")
    button.click()
    wait_for(page, "#video-clip video[src*='/gradio_api/file=']")  # it was uploaded
    page.locator("#video-run").click()
    wait_for(page, "#video-timeline img, #video-message .fault")
    assert page.locator("#video-message").inner_text() == ""
    wait_for(page, "#video-labelled video")
    end = page.locator("#video-segments tbody tr").last.locator("td").nth(1).inner_text()
    assert 0 < float(end.removesuffix(" s")) < SECONDS


def test_live_labels_of_a_webcam(open_page):
    page = open_page("video")
    page.get_by_role("button", name="Live labels").click()
    camera = page.locator("#video-camera")
    camera.get_by_role("button").first.click()  # allows the camera
    camera.get_by_role("button", name=re.compile("capture|record")).first.click()
    wait_for(page, "#video-live-label .live")
    assert page.locator("#video-live-label").inner_text().split()[0] in ("left", "right")
    time.sleep(1)
    assert page.locator("#video-live-message").inner_text() == ""
