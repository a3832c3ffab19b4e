"""Ctrl-C and SIGTERM without losing work."""

import contextlib
import signal
import threading


class Interrupted(KeyboardInterrupt):
    """The first Ctrl-C or SIGTERM, raised where a checkpoint can be written."""


class Signals:
    """Turns the first Ctrl-C or SIGTERM into a flag for raise_if_received; the second one interrupts at once."""

    def __enter__(self):
        self.received = False
        self.waiting = True  # whether the first signal waits for raise_if_received
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *unused):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        if self.received:
            raise KeyboardInterrupt
        self.received = True
        if not self.waiting:
            raise Interrupted

    def raise_if_received(self):
        """Raises Interrupted if a signal was received; called where a checkpoint can be written."""
        if self.received:
            raise Interrupted

    @contextlib.contextmanager
    def interrupt_immediately(self):
        """Context in which the first signal raises Interrupted at once, for long functions such as the validation."""
        self.raise_if_received()
        self.waiting = False
        try:
            yield
        finally:
            self.waiting = True
