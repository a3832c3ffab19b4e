"""Runs commands of a pipeline one after another in one process.

    python -m tests.in_turn MODULE COMMANDS

MODULE is the package of the pipeline, COMMANDS a JSON list of lists of arguments.
"""

import importlib
import json
import sys

if __name__ == "__main__":
    main = importlib.import_module(f"{sys.argv[1]}.__main__").main
    sys.exit(any([main(command) for command in json.loads(sys.argv[2])]))
