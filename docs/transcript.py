r"""Runs the commands of docs/serving.md again, and writes their answers into it.

    python -m pipelines.serve --sentiment sentiment/sample --translation translation/sample \
        --captioning captioning/sample --video video/sample     # in another terminal, after `make demo`
    python docs/transcript.py

The commands are those after "$ " in the blocks marked as console; "> " continues one. Each answer is one line of JSON.
"""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "serving.md"
ENTRY = re.compile(r"^\$ (?P<command>.*(?:\n> .*)*)\n(?P<answer>[{].*|ANSWER)$", re.MULTILINE)


def command_of(entry: re.Match) -> str:
    return entry["command"].replace("\n> ", "\n")


def run(command: str) -> str:
    """Returns what a command prints."""
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def rewrite(page: str, run: Callable[[str], str]) -> str:
    """Returns the page with the answer of every command."""

    def entry(found: re.Match) -> str:
        answer = json.dumps(json.loads(run(command_of(found))), ensure_ascii=False)
        return f"$ {found['command']}\n{answer}"

    return ENTRY.sub(entry, page)


if __name__ == "__main__":
    PAGE.write_text(rewrite(PAGE.read_text("utf-8"), run), "utf-8")
