"""Sockets that a server listens on. Does not import TensorFlow."""

import contextlib
import ipaddress
import socket

from pipelines.common.errors import UserError


def listen(host: str, port: int) -> tuple[socket.socket, bool]:
    """Returns a socket that is bound but does not listen yet, and whether its address is a loopback address.

    Raises:
        UserError: The address does not exist, or is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as opened:
            # asyncio sets TCP_NODELAY only if the protocol is given: without it, the end of an answer waits for the
            # acknowledgement of its beginning, 40 ms on Linux.
            listener = opened.enter_context(socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            opened.pop_all()  # it stays open
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"the server cannot listen on --host {host} --port {port}: {reason}") from error
    return listener, ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback


def address_of(listener: socket.socket) -> str:
    """Returns the address of a socket for a browser: http://127.0.0.1:8501."""
    address, port = listener.getsockname()[:2]
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
