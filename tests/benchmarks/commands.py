"""The real commands, called from a benchmark."""

import sys
from collections.abc import Callable


def call(main: Callable[[list[str]], int], *arguments):
    """Runs a pipeline's main in this process, and ends the benchmark where the command fails."""
    status = main([str(argument) for argument in arguments])
    if status:
        sys.exit(status)
