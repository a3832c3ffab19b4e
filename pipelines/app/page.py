"""The page: a tab for each task."""

import gradio

from pipelines.app import captioning, limits, markup, sentiment, translation, video
from pipelines.app.files import Folder
from pipelines.app.models import Models

TABS = {
    "Sentiment": sentiment,
    "Translation": translation,
    "Captioning": captioning,
    "Video": video,
}
SYSTEM_FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]  # those of Gradio come from another site


def build(models: Models, folder: Folder, only: bool = False) -> gradio.Blocks:
    """Returns the page.

    Args:
        only: whether tasks without a model have no tab; otherwise it says how to make one.
    """
    with gradio.Blocks(title="Unfold", analytics_enabled=False, fill_width=True) as page, gradio.Tabs():
        for name, part in TABS.items():
            if models.of(part.TASK) or not only:
                with gradio.Tab(name, id=part.TASK):
                    part.build(models, folder)
    page.queue(max_size=limits.QUEUE, api_open=False)
    return page


def options() -> dict:
    """Returns the options with which the page is mounted."""
    return {
        "css": markup.CSS,
        "theme": gradio.themes.Base(font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]),
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "max_file_size": limits.VIDEO,
        "ssr_mode": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
    }
