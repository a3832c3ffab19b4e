"""Ctrl-C and SIGTERM without losing work."""

import contextlib
import signal
import threading


class Interrupted(KeyboardInterrupt):
    """The first Ctrl-C or SIGTERM, raised where the state is whole and can be saved."""


class Signals:
    """Turns the first Ctrl-C or SIGTERM into a flag that is read at a step's end; a second one interrupts at once."""

    def __enter__(self):
        self.received = False
        self.waiting = True  # whether the first signal waits for the end of a step
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
        if self.received:
            raise Interrupted

    @contextlib.contextmanager
    def immediate(self):
        """Within it (validation, which may be long and has no steps) the first signal interrupts."""
        self.check()
        self.waiting = False
        try:
            yield
        finally:
            self.waiting = True
