"""The server of the page: which requests it answers, and how Gradio is mounted."""

import asyncio
import pathlib
import re
import urllib.parse
from collections.abc import Callable

import fastapi
import gradio

from pipelines.app import limits, page
from pipelines.app.files import Folder
from pipelines.serve.errors import error_body
from pipelines.serve.guard import PAGE, Guard, Hosts, Metrics

# What the page in the browser asks for. Gradio has more, such as a proxy and a list of its functions.
PATHS = re.compile(
    r"/|/(assets|static|svelte)/.+|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)"
    r"|/gradio_api/(queue/(join|data)|upload|upload_progress|heartbeat/[\w-]+|stream/[\w/.-]+|startup-events|cancel"
    r"|reset|app_id|info)/?"
)
FILE = "/gradio_api/file="
UPLOAD = "/gradio_api/upload"
UPLOADED = limits.VIDEO + 2**20  # bytes of the body of an upload
HEADERS = [
    # The page loads nothing from other sites, and no other site shows it in a frame.
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; frame-ancestors 'none'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Narrow:
    """ASGI middleware that answers only what the page needs: its paths, the files in its folder, and bodies of limited
    size.

    Args:
        shown: is called after an answer.
    """

    def __init__(self, app: fastapi.FastAPI, folder: pathlib.Path, shown: Callable[[], object] = lambda: None):
        self.app, self.folder, self.shown = app, folder.resolve(), shown
        self.running: set[asyncio.Task] = set()
        self.stopped = False

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope.setdefault("state", {})["what"] = PAGE
        task = asyncio.current_task()
        if task is not None:
            self.running.add(task)
        try:
            await self.answer(scope, receive, send)
        finally:
            self.running.discard(task)
            self.shown()

    def stop(self):
        """Cuts off what is being answered: an open page keeps requests that never end."""
        self.stopped = True
        for task in list(self.running):
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def answer(self, scope, receive, send):
        refused = self.refusal(scope["path"])
        limit = UPLOADED if scope["path"] == UPLOAD else limits.BODY
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not refused and (not length.isdigit() or int(length) > limit):
            refused = 413, f"the body is too large: expected at most {limit} bytes"
        if refused:
            status, sentence = refused
            body = error_body(sentence)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send(
                {"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]}
            )
            await send({"type": "http.response.body", "body": body})
            return
        received = 0

        async def limited():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message if received <= limit else {"type": "http.disconnect"}

        async def with_headers(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        await self.app(scope, limited, with_headers)

    def refusal(self, path: str) -> tuple[int, str] | None:
        if self.stopped:
            return 503, "the page stops"
        if path.startswith(FILE):
            name = urllib.parse.unquote(path.removeprefix(FILE))
            try:
                is_own = "\0" not in name and pathlib.Path("/", name).resolve().is_relative_to(self.folder)
            except (OSError, RuntimeError):
                is_own = False
            return None if is_own else (403, "the page shows no other files than its own")
        return None if PATHS.fullmatch(path) else (404, "the page has nothing under this address")


def make_page(blocks: gradio.Blocks, folder: Folder, shown: Callable[[], object] = lambda: None) -> Narrow:
    """Returns the ASGI app of the page, without a guard.

    Args:
        shown: is called after an answer.
    """
    app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    gradio.mount_gradio_app(app, blocks, path="/", **page.options())
    blocks.has_launched = True  # Gradio else takes paths of any file as uploads
    return Narrow(app, folder.path, shown)


def guarded(app: Narrow, hosts: Hosts) -> Guard:
    """Returns the app of a page that is shown without the REST interface."""
    return Guard(app, hosts=hosts, metrics=Metrics(), limit=limits.REQUESTS)
