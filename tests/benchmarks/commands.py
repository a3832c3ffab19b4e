"""Calls the commands of a pipeline from a benchmark."""

import sys
from collections.abc import Callable


def call(main: Callable[[list[str]], int], *arguments):
    """Runs the main function of a pipeline in this process; exits with its status if the command fails."""
    status = main([str(argument) for argument in arguments])
    if status:
        sys.exit(status)
