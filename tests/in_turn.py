"""python -m tests.in_turn MODULE COMMANDS: the commands (JSON: a list of lists) of a pipeline, in one process."""

import importlib
import json
import sys

if __name__ == "__main__":
    main = importlib.import_module(f"{sys.argv[1]}.__main__").main
    sys.exit(any([main(command) for command in json.loads(sys.argv[2])]))
