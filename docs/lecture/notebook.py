"""Makes lecture.ipynb, the page as a notebook for Jupyter and Colab.

    python docs/lecture/notebook.py [--run [--short]]

The text is that of README.md. Where the page shows the first figure of a section, the notebook has a cell that runs the
section and shows the figure; the Python code of the page is in cells, too. The notebook is written without results.
With --run it is executed and not written. Needs the extra `lecture` (pip install -e ".[lecture]").
"""

import argparse
import re

import jupytext
import lecture
import nbclient
import nbformat

from pipelines.common.files import atomic_write

NOTEBOOK = lecture.HERE / "lecture.ipynb"
FIGURE = re.compile(r"^!\[.*?\]\(figures/((\d\d)_\w+\.png)\)$", re.MULTILINE | re.DOTALL)
START = """\
# Short forms of the experiments, in seconds each: SHORT = True.
SHORT = False
REPOSITORY = ""  # on Colab: the address from which git can clone the project

import os
import pathlib
import subprocess
import sys

os.environ["TF_CPU_ALLOCATOR_USE_BFC"] = "true"  # this allocator can tell the peak of memory (section 6)
if REPOSITORY and not pathlib.Path("unfold").exists():
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, "unfold"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", "unfold"], check=True)
here = pathlib.Path.cwd()
places = [here / "unfold" / "docs" / "lecture", here / "docs" / "lecture", here]
folder = next((place for place in places if (place / "lecture.py").exists()), None)
assert folder, "expected to be in the folder docs/lecture of the project, or an address in REPOSITORY"
sys.path.insert(0, str(folder))

import tempfile

import lecture
from IPython.display import Image

figures = pathlib.Path(tempfile.mkdtemp())"""


def make(page: str):
    """Returns the notebook of the text of a page."""
    parts, end, started = [cell(START)], 0, set()
    for figure in FIGURE.finditer(page):
        parts += cells_of(page[end : figure.start()])
        png, number = figure[1], figure[2]
        (section,) = [name for name in lecture.SECTIONS if f"_{number}_" in name]
        lines = [f'Image(figures / "{png}")']
        if number not in started:
            started.add(number)
            lines = [f'numbers, _ = lecture.run("{section}", figures, SHORT)', "lecture.show(numbers)", *lines]
        parts.append(cell("\n".join(lines)))
        end = figure.end()
    parts += cells_of(page[end:])
    notebook = nbformat.v4.new_notebook(cells=parts)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, each in enumerate(parts):
        each["id"] = f"cell-{number}"  # a random one would change with every run
    return notebook


def cell(source: str):
    return nbformat.v4.new_code_cell(source)


def cells_of(text: str) -> list:
    """Returns the cells of a piece of Markdown: its text, and its Python code."""
    if not text.strip():
        return []
    return jupytext.reads(with_addresses(text.strip() + "\n"), fmt="md").cells


def with_addresses(text: str) -> str:
    """Returns the text without links to files of the project, which do not lead anywhere from a notebook on Colab."""
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)


def written(notebook) -> str:
    return nbformat.writes(notebook, version=4, indent=1) + "\n"


def execute(notebook, short: bool):
    """Executes the notebook in a kernel of its own, in the folder of the lecture. Raises CellExecutionError."""
    if short:
        first = notebook.cells[0]
        first.source = first.source.replace("SHORT = False", "SHORT = True")
    client = nbclient.NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(lecture.HERE)}})
    client.execute()


def main():
    parser = argparse.ArgumentParser(description="Makes the notebook of the lecture.")
    parser.add_argument("--run", action="store_true", help="execute it instead of writing it")
    parser.add_argument("--short", action="store_true", help="with --run: the short forms of the experiments")
    given = parser.parse_args()
    notebook = make(lecture.PAGE.read_text("utf-8"))
    if given.run:
        execute(notebook, given.short)
        print(f"executed {sum(each.cell_type == 'code' for each in notebook.cells)} cells")
        return
    with atomic_write(NOTEBOOK) as file:
        file.write(written(notebook))
    print(f"wrote {NOTEBOOK}")


if __name__ == "__main__":
    main()
