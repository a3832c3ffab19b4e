"""python -m pipelines.app: parses the command line and starts the page."""

import dataclasses
import logging
import os
import pathlib
import shutil
import socket
import sys
import tempfile
import threading
from typing import Annotated

import tyro

from pipelines.common import cli
from pipelines.common.config import check
from pipelines.common.errors import UserError
from pipelines.common.named_runs import ExistingRun
from pipelines.serve.listening import address_of, listen

NAME = "app"
GRACE = 5.0  # seconds for the calls that have begun, after a signal to stop
MISSING = "the page needs {}, which is not installed: pip install 'unfold[app]'"

Runs = Annotated[tuple[ExistingRun, ...], tyro.conf.UseAppendAction]


@dataclasses.dataclass(frozen=True)
class App:
    """Show a page in the browser for the four tasks: docs/page.md.

    A model is a run, an export, or the name of a run in saved_models. If none is given, every export and every finished
    run in saved_models is shown, the best of each task first.
    """

    sentiment: Runs = ()
    """Model of sentiment; may be repeated."""

    translation: Runs = ()
    """Model of translation."""

    captioning: Runs = ()
    """Model of captioning."""

    video: Runs = ()
    """Model of video."""

    serve: bool = False
    """Answer requests of the REST interface as well, under the same address: docs/serving.md."""

    port: int = 7860
    """Port; 0 takes a free one."""

    host: str = "127.0.0.1"
    """Address to listen on. By default only this machine can reach the page: it has neither encryption nor users."""

    allow_host: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Name by which browsers may address the page, besides localhost and IP addresses."""

    def __post_init__(self):
        check(self, "port", 0 <= self.port <= 65535, "from 0 to 65535")


def show(arguments: list[str]) -> int:
    """Show a page in the browser."""
    options = cli.parse(NAME, "", App, arguments)
    listener, is_loopback = listen(options.host, options.port)
    with listener, tempfile.TemporaryDirectory(prefix="unfold-page-", ignore_cleanup_errors=True) as folder:
        prepare(pathlib.Path(folder))
        try:
            import gradio  # noqa: F401
            import prometheus_client  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(MISSING.format(error.name)) from error
        is_busy = run(options, listener, is_loopback, pathlib.Path(folder))
    if is_busy:
        end(folder)
    return 0


def end(folder: str):
    """Ends the process. Calls of TensorFlow cannot be interrupted, and the process would wait for them."""
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)


def prepare(folder: pathlib.Path):
    """Sets what Gradio reads when it is imported: its files are in the folder, and it calls no other machine."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)  # calls after which it summarizes all calls since
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in ("GRADIO_SHARE", "GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH", "GRADIO_MCP_SERVER"):
        os.environ.pop(name, None)


def run(options: App, listener: socket.socket, is_loopback: bool, path: pathlib.Path) -> bool:
    """Shows the page until a signal stops it. Returns whether a model is still being loaded or called."""
    import uvicorn

    from pipelines.app import limits, page, server
    from pipelines.app.files import Folder
    from pipelines.app.models import TASKS, Models, find
    from pipelines.app.serving import serve
    from pipelines.serve.connections import Protocol, Server
    from pipelines.serve.guard import LOG, Hosts
    from pipelines.serve.limits import Limits

    # A copy of standard error, which the import of TensorFlow hides: see cli.quiet_imports.
    messages = open(os.dup(sys.stderr.fileno()), "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    level = logging.INFO if options.serve else logging.WARNING
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=level, stream=messages)
    for noisy in ("absl", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it reports what a stop cuts off
    given = {task: getattr(options, task) for task in TASKS}
    folder = Folder(path)
    models = Models(find(given), all_at_start=options.serve)
    blocks = page.build(models, folder, only=any(given.values()))
    shown = server.make_page(blocks, folder, models.shown.set)
    names = {options.host.lower(), *(name.lower().rstrip(".") for name in options.allow_host)}
    hosts = Hosts(is_loopback, names)
    service = serve(models, shown, hosts) if options.serve else None
    # What the server has begun is answered, as by python -m pipelines.serve.
    grace = GRACE if service is None else Limits.receive + Limits.answer + 1
    Protocol.seconds = limits.RECEIVE
    config = uvicorn.Config(
        server.guarded(shown, hosts) if service is None else service.app,
        http=Protocol, ws="none", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=1 if service is None else int(grace),
    )  # fmt: skip
    if not is_loopback:
        address = listener.getsockname()[0]
        LOG.warning("all that can reach %s can use the page, which has neither encryption nor users", address)

    def started():
        folder.start()
        models.thread.start()
        where = address_of(listener)
        if service is not None:
            LOG.info("serving on %s: %s", where, ", ".join(service.models))
        print(f"the page is on {where}; Ctrl-C stops it", flush=True)

    def stopped():
        folder.stopped.set()
        shown.stop()
        if service is not None:
            service.stop()
        timer = threading.Timer(grace, end, [str(path)])
        timer.daemon = True
        timer.start()

    Server(config, started, stopped).run(sockets=[listener])
    unanswered = service is not None and not service.close(timeout=1.0)
    return models.busy or unanswered


def main(arguments: list[str] | None = None) -> int:
    """Shows the page and returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    return cli.main(NAME, {NAME: show}, [NAME, *arguments])


if __name__ == "__main__":
    sys.exit(main())
