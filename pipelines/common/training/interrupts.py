"""Ctrl-C and SIGTERM without losing work."""

import contextlib
import signal
import threading


class Interrupted(KeyboardInterrupt):
    """The first Ctrl-C or SIGTERM, raised where a checkpoint can be written."""


class Signals:
    """Turns the first Ctrl-C or SIGTERM into a flag, for `check` to read; the second one interrupts at once."""

    def __enter__(self):
        self.received = False
        self.waiting = True  # whether the first signal waits for `check`
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

    def check(self):
        """Raises Interrupted if a signal was received."""
        if self.received:
            raise Interrupted

    @contextlib.contextmanager
    def immediate(self):
        """Context in which the first signal interrupts at once: validation may be long, and does not call `check`."""
        self.check()
        self.waiting = False
        try:
            yield
        finally:
            self.waiting = True
