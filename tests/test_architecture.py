"""Checks the architecture: which part may import which, and what no module may contain.

layers < pipelines.common < pipelines.<task> < pipelines.serve < pipelines.app
                                                  a task never imports another task; nothing imports data
pipelines.<task>                                  contains no decoding algorithm
export.py, predict.py                             import neither dataset.py nor train.py, not even indirectly
config.py, presets.py, options.py, cli.py, __main__.py import no TensorFlow, so that --help is quick
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SLOW_IMPORTS = {"tensorflow", "keras", "tensorflow_datasets", "matplotlib"}
TASK_FILES = [
    "README.md", "__init__.py", "__main__.py", "config.py", "dataset.py", "evaluate.py", "export.py", "model.py",
    "options.py", "predict.py", "preprocessing.py", "presets.py", "release.py", "train.py",
]  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for folder in ("layers", "pipelines") for path in sorted((ROOT / folder).rglob("*.py"))
}
ABOVE = ("serve", "app")  # they use all tasks
TASKS = sorted(
    {name.split(".")[1] for name in MODULES if name.count(".") >= 2 and name.startswith("pipelines.")}
    - {"common", *ABOVE}
)
LANGUAGE_MODEL = "sentiment.language_model"  # its commands and preprocessing are those of sentiment


@cache
def tree_of(name: str) -> ast.Module:
    """Returns the syntax tree of a module."""
    return ast.parse(MODULES[name].read_text("utf-8"), str(MODULES[name]))


def statements(tree: ast.AST, inside_functions: bool):
    """Yields the nodes of a syntax tree; without function bodies, only those that run on import."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if inside_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from statements(node, inside_functions)


@cache
def imports(name: str, inside_functions: bool = True) -> frozenset[str]:
    """Returns the full names of what a module imports; for `from a import b`, "a" and "a.b"."""
    path = MODULES[name]
    found = set()
    for node in statements(tree_of(name), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {source} | {f"{source}.{alias.name}" for alias in node.names}
    return frozenset(found)


def reached(name: str, inside_functions: bool = True) -> set[str]:
    """Returns the modules of the project that are imported with this one, including itself and its packages."""
    seen, todo = set(), [name]
    while todo:
        module = todo.pop()
        if module in MODULES and module not in seen:
            seen.add(module)
            todo += [*imports(module, inside_functions), module.rpartition(".")[0]]
    return seen


def in_package(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_the_tree_was_found():
    assert {"layers", "pipelines", "pipelines.common"} <= MODULES.keys()
    assert "sentiment" in TASKS


def floors_above(name: str) -> list[str]:
    """Returns the packages that a module must not import."""
    if in_package(name, "layers"):
        return ["pipelines"]
    if in_package(name, "pipelines.common"):
        return [f"pipelines.{part}" for part in (*TASKS, *ABOVE)]
    if any(in_package(name, f"pipelines.{part}") for part in ABOVE):
        return []
    return [f"pipelines.{part}" for part in (*TASKS, *ABOVE) if not in_package(name, f"pipelines.{part}")]


def test_import_floors():
    wrong = [
        (name, found)
        for name in MODULES
        for found in imports(name)
        for package in (*floors_above(name), "data", "make_samples", "tests")
        if in_package(found, package)
    ]
    assert wrong == []


@pytest.mark.parametrize("task", [*TASKS, LANGUAGE_MODEL])
@pytest.mark.parametrize("file", ["export", "predict"])
def test_serving_needs_no_training_code(task, file):
    brought_in = reached(f"pipelines.{task}.{file}")
    assert f"pipelines.{task}.{file}" in brought_in
    training = {module for module in brought_in if in_package(module, "pipelines.common.training")}
    assert training <= {"pipelines.common.training", "pipelines.common.training.options"}  # the fields of a config
    assert [name for name in brought_in if name.split(".")[-1] in ("dataset", "train")] == []


@pytest.mark.parametrize("task", [*TASKS, LANGUAGE_MODEL])
def test_predict_uses_only_the_export_and_pictures(task):
    common = {
        "pipelines.common.errors",
        "pipelines.common.config",
        "pipelines.common.serving",
        "pipelines.common.serving.exports",
        "pipelines.common.serving.decoding_options",
        "pipelines.common.serving.text_inputs",
    }
    allowed = (
        {name for name in MODULES if in_package(name, "pipelines.common.pictures")}
        | common
        | {"pipelines", f"pipelines.{task}", f"pipelines.{task.split('.')[0]}"}
    )
    # Videos are decoded to frames for the export, or features are read from files, and are drawn as timelines.
    allowed |= reached("pipelines.common.vision.videos") | reached("pipelines.common.pictures.timelines")
    allowed |= reached("pipelines.common.vision.feature_files")
    assert reached(f"pipelines.{task}.predict") - allowed == {f"pipelines.{task}.predict"}


def test_tasks_contain_no_decoding_algorithm():
    """A decoding algorithm would most likely use one of these."""
    algorithms = ("while_loop", "top_k", "categorical", "stateless_categorical")
    of_tasks = [name for name in MODULES if any(in_package(name, f"pipelines.{task}") for task in TASKS)]
    wrong = [(name, called) for name in of_tasks for called, _ in calls(name) if called.split(".")[-1] in algorithms]
    assert wrong == []


def test_help_imports_no_tensorflow():
    quick = [name for name in MODULES if name.split(".")[-1] in ("config", "presets", "options", "cli", "__main__")]
    slow = {
        (name, module, found)
        for name in quick
        for module in reached(name, inside_functions=False)
        for found in imports(module, inside_functions=False)
        if found.split(".")[0] in SLOW_IMPORTS
    }
    assert slow == set()


def test_no_tensorflow_is_loaded_in_a_process_of_the_command_line():
    """One process imports all command lines: none of them may load a slow package."""
    modules = ", ".join(f"pipelines.{task}.__main__" for task in (*TASKS, *ABOVE))
    program = f"import sys, {modules}; print(sorted({SLOW_IMPORTS} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr


def test_no_import_hides_a_package_of_the_project():
    """`from keras import layers` would hide our own package called layers."""
    wrong = [
        (name, alias.name)
        for name in MODULES
        for node in ast.walk(tree_of(name))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if (alias.asname or alias.name) in ("layers", "pipelines")
    ]
    assert wrong == []


def test_no_import_by_string():
    by_string = ("__import__", "import_module", "eval", "exec")
    wrong = [
        (name, node.id)
        for name in MODULES
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Name) and node.id in by_string
    ]
    allowed = ("importlib.metadata", "importlib.resources")
    wrong += [
        (name, found)
        for name in MODULES
        for found in imports(name)
        if in_package(found, "importlib") and not found.startswith(allowed)
    ]
    assert wrong == []


@cache
def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Returns (the source text of the called function, the call) for each call in a module."""
    nodes = ast.walk(tree_of(name))
    return [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]


def test_no_dataset_is_autotuned():
    """pipelines/common/data/loading.py explains why."""
    wrong = []
    for name in MODULES:
        told = {id(given) for written, call in calls(name) if written == "without_autotune" for given in call.args}
        for written, call in calls(name):
            is_made = written.startswith("tf.data.Dataset.") or written.endswith(".as_dataset")
            if is_made and id(call) not in told and not written.startswith("tf.data.Dataset.zip"):
                wrong.append((name, written))
    assert wrong == []


def test_nothing_is_converted_by_autograph():
    """All graphs use TensorFlow's control flow; converting Python's takes seconds."""
    for name in MODULES:
        decorated = [each for node in ast.walk(tree_of(name)) for each in getattr(node, "decorator_list", [])]
        assert "tf.function" not in map(ast.unparse, decorated), name
        for written, call in calls(name):
            if written == "tf.function":
                words = {word.arg: ast.unparse(word.value) for word in call.keywords}
                assert words.get("autograph") == "False", (name, ast.unparse(call))
            if written.endswith(".map"):
                assert ast.unparse(call.args[0]).startswith("without_autograph("), (name, ast.unparse(call))


@pytest.mark.parametrize("task", [*TASKS, LANGUAGE_MODEL])
def test_every_task_has_the_same_files(task):
    present = {path.name for path in (ROOT / "pipelines" / Path(*task.split("."))).iterdir()}
    expected = set(TASK_FILES) - (
        {"__main__.py", "options.py", "preprocessing.py"} if task == LANGUAGE_MODEL else set()
    )
    assert expected - present == set()


def test_the_families_of_common_import_downwards():
    """errors < files < config, runs, … < data < vision; pictures and serving beside them; evaluation and training above
    all."""

    def family(module: str) -> str:
        return module.split(".")[2] if module.count(".") > 2 else ""

    allowed = {
        "": {""},
        "data": {"", "data"},
        "vision": {"", "data", "vision"},
        "pictures": {"", "pictures"},
        "serving": {"", "serving"},
        "evaluation": {"", "pictures", "evaluation"},
        "training": {"", "data", "pictures", "training"},
    }
    of_common = [
        name for name in MODULES if in_package(name, "pipelines.common") and MODULES[name].name != "__init__.py"
    ]
    wrong = [
        (name, module)
        for name in of_common
        for module in of_common
        if module in imports(name) and family(module) not in allowed[family(name)]
    ]
    assert wrong == []


def test_files_are_named_by_concept():
    assert [str(path) for path in MODULES.values() if path.stem in ("utils", "util", "helpers", "helper", "misc")] == []


def test_the_tests_are_not_a_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_large_file_is_tracked():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs the git repository: this is a copy without it")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(files) > 20
    limits = {path: (10 if ROOT / "saved_models" in path.parents else 5) * 2**20 for path in files}  # released models
    assert [str(path) for path, limit in limits.items() if path.is_file() and path.stat().st_size > limit] == []
