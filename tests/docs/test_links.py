"""Every relative link of a Markdown file leads to a file, and every anchor to a heading."""

import re

import pytest

CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def markdown_files(root):
    found = [*root.glob("*.md"), *root.glob("saved_models/*.md"), *root.glob("data/*.md")]
    return found + [path for folder in ("docs", "pipelines") for path in (root / folder).rglob("*.md")]


def anchors(path) -> set[str]:
    """The anchors of the headings of a file, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", CODE.sub("", path.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_relative_links(root):
    broken = []
    for path in markdown_files(root):
        for link in LINK.findall(CODE.sub("", path.read_text("utf-8"))):
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            if "://" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
                broken.append(f"{path.relative_to(root)}: {link}")
    assert not broken


@pytest.mark.parametrize("task", ["captioning", "sentiment", "sentiment/language_model", "translation", "video"])
def test_readme_of_a_task_is_short(root, task):
    assert len((root / "pipelines" / task / "README.md").read_text("utf-8").splitlines()) < 100
