"""Runs the programs of docs/devices.md, in processes without TensorFlow and Keras."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "devices.md"
PROGRAM = re.compile(r"^```python\n# (?P<name>\w+\.py) .*?^```", re.MULTILINE | re.DOTALL)
WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules |= dict.fromkeys(("tensorflow", "keras", "layers", "pipelines"))  # an import of one fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0])
"""
MODULES = {"litert": ["ai_edge_litert.interpreter"], "onnx": ["onnx", "onnxruntime", "tf2onnx"]}


def require(format: str):
    """Skips the test unless the extra of a format is installed."""
    for module in MODULES[format]:
        pytest.importorskip(module, reason=f"needs the extra {format}: pip install 'unfold[{format}]'")


def program(name: str) -> str:
    """Returns a program of docs/devices.md."""
    found = {each["name"]: each[0] for each in PROGRAM.finditer(PAGE.read_text("utf-8"))}
    return found[name].removeprefix("```python\n").removesuffix("```")


def run(folder: Path, name: str, *arguments) -> list[dict]:
    """Returns the JSON objects that a program prints, which is written to `folder`."""
    (folder / name).write_text(program(name), "utf-8")
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, folder / name, *arguments]
    path = os.pathsep.join(each for each in sys.path if each)
    done = subprocess.run(
        [str(each) for each in command],
        capture_output=True, text=True, cwd=folder, timeout=300, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
