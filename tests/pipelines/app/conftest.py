"""The page with the tiny runs of the four tasks, in this process."""

import contextlib
import gc
import socket
import threading
import warnings

import pytest

from tests.pipelines.serve.conftest import Client, runs  # noqa: F401


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Returns the temporary folder of the page."""
    pytest.importorskip("gradio", reason="needs the extra app: pip install 'unfold[app]'")
    from pipelines.app.__main__ import prepare
    from pipelines.app.files import Folder

    path = tmp_path_factory.mktemp("page")
    prepare(path)
    return Folder(path)


@pytest.fixture(scope="session")
def models(folder, runs):  # noqa: F811
    """Returns the models of the page, which are loaded when they are first used."""
    from pipelines.app.models import Models, find

    return Models(find({task: [path] for task, path in runs.items()}))


@contextlib.contextmanager
def showing(models, folder, with_rest=False):
    """Yields a client of the page, and of the REST interface if it is wanted, in another thread."""
    import uvicorn

    from pipelines.app import page, server
    from pipelines.app.serving import serve
    from pipelines.serve.connections import Protocol, Server
    from pipelines.serve.guard import Hosts

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Gradio opens an event loop for each example
        shown = server.make_page(page.build(models, folder), folder)
        gc.collect()
    service = serve(models, shown, Hosts()) if with_rest else None
    app = service.app if service else server.guarded(shown, Hosts())
    config = uvicorn.Config(
        app, http=Protocol, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    listener = socket.create_server(("127.0.0.1", 0))
    started = threading.Event()
    running = Server(config, started.set, lambda: None)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert started.wait(60)
        yield Client(listener.getsockname()[1])
    finally:
        running.should_exit = True
        shown.stop()
        thread.join(30)
        listener.close()
        assert service is None or service.close(10)


@pytest.fixture(scope="session")
def client(models, folder):
    """Returns a client of the page."""
    with showing(models, folder) as client:
        yield client
