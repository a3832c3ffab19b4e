"""Connections: uvicorn's protocol with a limit of time for slow senders, errors as JSON, and a quiet stop."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.serve.errors import error_body
from pipelines.serve.limits import Limits

GRACE = 5.0  # seconds after which a body that the app did not refuse for its slowness is cut off


class Protocol(H11Protocol):
    """A connection that is closed if a request is not received in time.

    uvicorn limits only the time between requests: a client could send one byte a minute, and keep its connection.

    Attributes:
        seconds: to receive the headers of a request; the app limits those for the body.
    """

    seconds = Limits.receive
    receiving: object = None
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport):
        super().connection_made(transport)
        self.watch()

    def data_received(self, data: bytes):
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None):
        super().connection_lost(exc)
        self.watch()

    def watch(self):
        """Starts a timer when headers or a body begin, and cancels it at their end."""
        state = None if self.transport.is_closing() else self.conn.their_state
        if state is self.receiving:
            return
        self.receiving = state
        if self.timer is not None:
            self.timer.cancel()
        waits = {h11.IDLE: self.seconds, h11.SEND_BODY: self.seconds + GRACE}
        self.timer = self.loop.call_later(waits[state], self.give_up) if state in waits else None

    def give_up(self):
        answered = self.cycle is None or self.cycle.response_complete
        if self.receiving is h11.IDLE and answered:
            self.answer(408, f"the request was not received within {self.seconds:g} s")
        else:
            self.transport.close()

    def send_400_response(self, msg: str):
        self.answer(400, "the request is not valid HTTP/1.1, or its headers are too long")

    def answer(self, status: int, sentence: str):
        """Answers without the app, and closes the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = error_body(sentence)
            headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
            start = h11.Response(status_code=status, headers=list(headers.items()))
            for event in (start, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """A server that calls `on_start` when it listens, and `on_stop` at SIGTERM or Ctrl-C.

    It then answers what it has begun, and returns. (That of uvicorn would end the process by the signal.) A second
    Ctrl-C stops it at once.
    """

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], on_stop: Callable[[], None]):
        super().__init__(config)
        self.on_start, self.on_stop = on_start, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None):
        await super().startup(sockets)
        self.on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are those of the main thread
            return

        def stop(number, frame):
            self.on_stop()
            self.handle_exit(number, frame)

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
