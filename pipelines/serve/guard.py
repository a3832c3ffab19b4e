"""Checks every request before the app (hosts, origins, how many there are), and reports it after (log, metrics)."""

import dataclasses
import ipaddress
import logging
import re
import time
import traceback
import urllib.parse
import uuid
from collections.abc import Awaitable, Callable, Collection

import prometheus_client

from pipelines.serve.errors import error_body

LOG = logging.getLogger("pipelines.serve")
PAGE = "page"  # what a request is for; a page asks for a hundred files
REQUEST_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
ADDRESS = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:]+)(:\d{1,5})?")


class Metrics:
    """The numbers that /metrics shows."""

    def __init__(self):
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)

        def make(kind, name, text, labels=(), **options):
            return kind(name, text, labels, registry=self.registry, **options)

        counter, gauge, histogram = (
            prometheus_client.Counter,
            prometheus_client.Gauge,
            prometheus_client.Histogram,
        )
        self.requests = make(
            counter, "unfold_requests", "Requests that were answered.", ("model", "signature", "status")
        )
        self.seconds = make(histogram, "unfold_request_seconds", "Time from the headers to the answer.", ("model",))
        self.in_progress = make(gauge, "unfold_requests_in_progress", "Requests that are not answered yet.")
        rows = (1, 2, 4, 8, 16, 32, 64, 128)
        self.rows = make(histogram, "unfold_batch_rows", "Rows of a call of a model.", ("task",), buckets=rows)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self.registry)


@dataclasses.dataclass(frozen=True)
class Hosts:
    """The names by which the server may be addressed.

    A page of another site that reads its own name as an address of this machine (DNS rebinding) sends its name.

    Attributes:
        loopback: whether the server listens on a loopback address; addresses of others are then foreign.
        names: names that are allowed besides localhost, in lower case.
    """

    loopback: bool = True
    names: Collection[str] = ()

    def allows(self, host: str) -> bool:
        """Returns whether a header `Host` is an allowed name or address, with any port."""
        match = ADDRESS.fullmatch(host)
        if not match:
            return False
        name = match[1].strip("[]").rstrip(".").lower()
        if name == "localhost" or name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback


def is_own(origin: str, host: str) -> bool:
    """Returns whether a header `Origin` is that of a page of this server, which is addressed as `host`."""
    try:
        return urllib.parse.urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


class Guard:
    """ASGI middleware: refuses requests, gives each a number, and reports it.

    Nothing of what users send is logged: neither texts nor paths, nor messages of errors, which may quote them. The app
    sets `state["what"]`, which is logged, and for metrics `state["model"]` and `state["signature"]`.

    Args:
        limit: maximum number of requests at the same time.
    """

    def __init__(self, app: Callable[..., Awaitable], *, hosts: Hosts, metrics: Metrics, limit: int):
        self.app, self.hosts, self.metrics, self.limit = app, hosts, metrics, limit
        self.in_progress = 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        given = dict(headers).get("x-request-id", "")
        number = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex[:16]
        state = scope.setdefault("state", {})
        state["number"] = number

        async def send_with_number(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", number.encode())]}
            await send(message)

        async def answer(code: int, sentence: str, *more: tuple[bytes, bytes]):
            body = error_body(sentence)
            length = str(len(body)).encode()
            start = [(b"content-type", b"application/json"), (b"content-length", length), *more]
            await send_with_number({"type": "http.response.start", "status": code, "headers": start})
            await send_with_number({"type": "http.response.body", "body": body})

        self.in_progress += 1
        self.metrics.in_progress.set(self.in_progress)
        try:
            if refused := self.refusal(headers):
                await answer(*refused)
            elif self.in_progress > self.limit and scope["path"] != "/healthz":
                busy = f"the server answers {self.limit} requests already: try again"
                await answer(503, busy, (b"retry-after", b"1"))
            else:
                await self.app(scope, receive, send_with_number)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            LOG.error("%s failed: %s in %s, line %s", number, type(error).__name__, where.filename, where.lineno)
            if not status:
                await answer(500, f"the server failed: its log has the reason, for the request {number}")
        finally:
            self.in_progress -= 1
            self.report(scope["method"], state, status, time.monotonic() - began)

    def refusal(self, headers: list[tuple[str, str]]) -> tuple[int, str] | None:
        """Returns status and sentence for a request that is not from this machine, or from a page of another site."""
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1:
            return 400, f"the request has {len(hosts)} headers Host: expected one"
        if not self.hosts.allows(hosts[0]):
            return 403, "the header Host is foreign: expected localhost, an address, or a name given with --allow-host"
        origins = [value for name, value in headers if name == "origin"]
        if not all(is_own(origin, hosts[0]) for origin in origins):
            return 403, "the header Origin is foreign: pages of other sites may not use this server"
        return None

    def report(self, method: str, state: dict, status: int, seconds: float):
        model, signature = state.get("model", ""), state.get("signature", "")
        self.metrics.in_progress.set(self.in_progress)
        self.metrics.requests.labels(model, signature, status or "disconnected").inc()
        self.metrics.seconds.labels(model).observe(seconds)
        method = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "other"
        what = state.get("what") or "refused"
        level = logging.DEBUG if what == PAGE else logging.INFO
        LOG.log(level, "%s %s %s %s %.1f ms", state["number"], method, what, status or "disconnected", 1e3 * seconds)
