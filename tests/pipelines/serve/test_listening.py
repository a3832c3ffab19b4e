"""Sockets that the server and the page listen on."""

import asyncio
import socket

from pipelines.serve.listening import listen


def test_an_answer_of_two_parts_does_not_wait_for_an_acknowledgement():
    async def delays() -> bool:
        found = asyncio.get_running_loop().create_future()

        async def accepted(reader, writer):
            found.set_result(not writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(accepted, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
            waits = await found
            writer.close()
            await writer.wait_closed()
            return waits

    listener, is_loopback = listen("127.0.0.1", 0)
    assert is_loopback and asyncio.run(delays()) is False
