"""The app: routes of the REST interface of TensorFlow Serving, /healthz and /metrics.

This module does not import TensorFlow: the page, which shares it, is shown before.
"""

import asyncio
import http
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import fastapi
import starlette.exceptions
import starlette.requests
from starlette.responses import Response

from pipelines.serve import rest
from pipelines.serve.batching import Batcher, Full, Job
from pipelines.serve.errors import RESTError, error_body
from pipelines.serve.guard import Guard, Hosts, Metrics
from pipelines.serve.limits import Limits
from pipelines.serve.pending import LOADING, Pending

if TYPE_CHECKING:
    from pipelines.serve.models import Model, Signature

JSON = "application/json"
LARGE = 100_000  # bytes or numbers that are converted in another thread, while other requests are received
DISCARDED = 4  # times the limit of a body: what is read of a larger one before it is refused
REQUESTS_PER_QUEUE = 4  # times the length of a queue: requests that are received and answered at the same time
ROWS_PER_BATCH = 16  # times the rows of a batch: the maximum of a request


class Service:
    """The models, and the app that answers requests for them.

    Args:
        models: by name; see `models.load`. A model may be `Pending` at first.
        locks: task -> a lock that is held during a call of a model, where others call them as well.

    Attributes:
        app: the ASGI app.
        stopping: whether /healthz says that the server stops.
    """

    def __init__(
        self,
        models: "Mapping[str, Model | Pending]",
        limits: Limits,
        hosts: Hosts,
        locks: Mapping[str, AbstractContextManager] | None = None,
    ):
        self.models, self.limits, self.metrics = models, limits, Metrics()
        self.stopping = False
        self.batchers = {
            task: Batcher(
                task,
                batch_size=limits.batch_size,
                wait=limits.wait,
                length=limits.queue,
                observe=self.metrics.rows.labels(task).observe,
                lock=(locks or {}).get(task),
            )
            for task in {model.task for model in models.values()}
        }
        self.app = fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        self.app.add_middleware(Guard, hosts=hosts, metrics=self.metrics, limit=REQUESTS_PER_QUEUE * limits.queue)
        self.app.add_exception_handler(starlette.exceptions.HTTPException, no_route)
        self.app.add_exception_handler(RESTError, refused)
        for path in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
            self.app.add_api_route(f"{path}:predict", self.predict, methods=["POST"])
            self.app.add_api_route(f"{path}/metadata", self.metadata, methods=["GET"])
            self.app.add_api_route(path, self.status, methods=["GET"])
        self.app.add_api_route("/healthz", self.health, methods=["GET"])
        self.app.add_api_route("/metrics", self.show_metrics, methods=["GET"])

    def find(self, request: fastapi.Request) -> "Model":
        """Returns the model that a path names. Raises RESTError: 404 if there is none, 503 if it is not loaded."""
        name, version = request.path_params["name"], request.path_params.get("version")
        model = self.models.get(name)
        if model is None:
            known = ", ".join(self.models)
            raise RESTError(404, f'there is no model "{rest.shorten(name)}": expected one of {known}')
        if isinstance(model, Pending):
            raise RESTError(503, model.sentence)
        if version is not None and version != str(model.version):
            raise RESTError(404, f'{name} has no version "{rest.shorten(version)}": expected {model.version}')
        request.state.model = name
        return model

    async def status(self, request: fastapi.Request) -> Response:
        request.state.what = "status"
        pending = self.models.get(request.path_params["name"])
        found = {"version": "1", "state": "", "status": {"error_code": "OK", "error_message": ""}}
        if isinstance(pending, Pending):
            found["state"] = pending.state
            if pending.state != LOADING:
                found["status"] = {"error_code": "UNKNOWN", "error_message": pending.sentence}
        else:
            found |= {"version": str(self.find(request).version), "state": "AVAILABLE"}
        return json_response({"model_version_status": [found]})

    async def metadata(self, request: fastapi.Request) -> Response:
        request.state.what = "metadata"
        found = self.find(request).metadata
        spec = {**found["model_spec"], "name": request.path_params["name"]}
        return json_response({**found, "model_spec": spec})

    async def health(self, request: fastapi.Request) -> Response:
        request.state.what = "healthz"
        if self.stopping:
            raise RESTError(503, "the server stops")
        if any(isinstance(model, Pending) and model.state == LOADING for model in self.models.values()):
            raise RESTError(503, "models are being loaded")
        return json_response({"status": "ok", "models": list(self.models)})

    async def show_metrics(self, request: fastapi.Request) -> Response:
        request.state.what = "metrics"
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def predict(self, request: fastapi.Request) -> Response:
        request.state.what = "predict"
        model = self.find(request)
        body = await self.read(request)
        parsed = await anywhere(len(body), rest.parse, body)
        signature = model.signatures.get(parsed.signature)
        if signature is None:
            known = ", ".join(model.signatures)
            name = rest.shorten(parsed.signature)
            raise RESTError(404, f'the model has no signature "{name}": expected one of {known}')
        request.state.signature = parsed.signature
        inputs, rows = await anywhere(len(body), rest.to_arrays, parsed, signature.inputs)
        del body
        self.check_rows(signature, inputs, rows)
        request.state.what = f"predict {request.state.model} {parsed.signature} {rows}"
        outputs = await self.call(model, Job(signature, inputs, rows, signature.batches))
        size = sum(array.size for array in outputs.values())
        return Response(await anywhere(size, rest.to_body, outputs, parsed, rows), media_type=JSON)

    def check_rows(self, signature: "Signature", inputs, rows: int):
        if signature.batches and not signature.same_rows(inputs):
            sizes = ", ".join(f"{name} {len(array)}" for name, array in inputs.items())
            raise RESTError(400, f"the inputs have different numbers of rows ({sizes}): expected one number")
        limit = self.limits.batch_size * (ROWS_PER_BATCH if signature.batches else 1)
        if rows > limit:
            raise RESTError(413, f"the request has {rows} rows: this signature takes at most {limit}")

    async def call(self, model: "Model", job: Job) -> Mapping:
        """Returns the outputs of a job. Raises RESTError: 503 if too many wait, 504 if it takes too long."""
        try:
            future = asyncio.wrap_future(self.batchers[model.task].submit(job))
        except Full:
            raise RESTError(503, f"{self.limits.queue} requests wait for this model: try again") from None
        try:
            return await asyncio.wait_for(future, self.limits.answer)
        except TimeoutError:
            raise RESTError(504, f"there is no answer after {self.limits.answer:g} s") from None

    async def read(self, request: fastapi.Request) -> bytes:
        """Returns the body. Raises RESTError: 408 if it is slow, 413 if it is too large, 415 if it is compressed."""
        limit, length = self.limits.body, request.headers.get("content-length", "")
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise RESTError(415, "the body is compressed: expected JSON as it is")
        too_large = RESTError(413, f"the body is too large: expected at most {limit} bytes")
        if length.isdecimal() and int(length) > DISCARDED * limit:
            raise too_large
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(self.limits.receive):
                async for part in request.stream():
                    size += len(part)
                    if size <= limit:
                        body += part
                        continue
                    # The rest is read and dropped, as most clients read an answer only after they have sent all.
                    body.clear()
                    if size > DISCARDED * limit:
                        break
        except TimeoutError:
            raise RESTError(408, f"the body was not received within {self.limits.receive:g} s") from None
        except starlette.requests.ClientDisconnect:
            raise RESTError(400, "the connection was closed before the end of the body") from None
        if size > limit:
            raise too_large
        return bytes(body)

    def stop(self):
        """Makes /healthz answer that the server stops; what has begun is answered."""
        self.stopping = True

    def close(self, timeout: float) -> bool:
        """Ends the threads of the models. Returns whether all have ended."""
        return all([batcher.close(timeout) for batcher in self.batchers.values()])


async def anywhere(size: int, function, *arguments):
    """Returns function(*arguments); if it has much to do, in another thread."""
    return await asyncio.to_thread(function, *arguments) if size > LARGE else function(*arguments)


def json_response(value) -> Response:
    return fastapi.responses.JSONResponse(value)


def error_response(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    headers = {**(headers or {}), **({"Retry-After": "1"} if status == 503 else {})}
    if status in (408, 413):
        headers["Connection"] = "close"  # the rest of the body may still be on its way
    return Response(error_body(sentence), status, headers, JSON)


async def refused(request: fastapi.Request, error) -> Response:
    """Answers a RESTError."""
    return error_response(error.status, error.sentence)


async def no_route(request: fastapi.Request, error) -> Response:
    """Answers an HTTPException: a path or a method that has no route."""
    phrase = http.HTTPStatus(error.status_code).phrase.lower()
    return error_response(
        error.status_code,
        f"{phrase}: expected /v1/models/NAME, /v1/models/NAME/metadata (GET) or /v1/models/NAME:predict (POST)",
        error.headers,
    )
