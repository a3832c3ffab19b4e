"""Checks the architecture: which part may import which, and what no module may contain.

layers < pipelines.common < pipelines.<task> < pipelines.serve < pipelines.app
                                                  a task never imports another task; nothing imports data
pipelines.<task>                                  contains no decoding algorithm
export.py, predict.py                             import neither dataset.py nor train.py, not even indirectly
config.py, cli.py, __main__.py                    import no TensorFlow, so that --help is quick
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
    "predict.py", "preprocessing.py", "release.py", "train.py",
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
    for node in statements(ast.parse(path.read_text("utf-8"), str(path)), inside_functions):
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


@pytest.mark.parametrize("name", MODULES)
def test_import_floors(name):
    mine = imports(name)
    if in_package(name, "layers"):
        forbidden = ["pipelines"]
    elif in_package(name, "pipelines.common"):
        forbidden = [f"pipelines.{part}" for part in (*TASKS, *ABOVE)]
    elif any(in_package(name, f"pipelines.{part}") for part in ABOVE):
        forbidden = []
    else:
        forbidden = [f"pipelines.{part}" for part in (*TASKS, *ABOVE) if not in_package(name, f"pipelines.{part}")]
    assert [found for found in mine for package in forbidden if in_package(found, package)] == []


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_data_or_tests(name):
    assert [found for found in imports(name) if found.split(".")[0] in ("data", "make_samples", "tests")] == []


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


@pytest.mark.parametrize("name", [n for n in MODULES if any(in_package(n, f"pipelines.{task}") for task in TASKS)])
def test_tasks_contain_no_decoding_algorithm(name):
    """A decoding algorithm would most likely use one of these."""
    nodes = ast.walk(ast.parse(MODULES[name].read_text("utf-8")))
    called = {node.func.attr for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    assert called.isdisjoint({"while_loop", "top_k", "categorical", "stateless_categorical"})


QUICK = [name for name in MODULES if name.split(".")[-1] in ("config", "cli", "__main__")]


@pytest.mark.parametrize("name", QUICK)
def test_help_imports_no_tensorflow(name):
    slow = {
        (module, found)
        for module in reached(name, inside_functions=False)
        for found in imports(module, inside_functions=False)
        if found.split(".")[0] in SLOW_IMPORTS
    }
    assert slow == set()


@pytest.mark.parametrize("task", [*TASKS, *ABOVE])
def test_no_tensorflow_is_loaded_in_a_process_of_the_command_line(task):
    program = f"import sys, pipelines.{task}.__main__; print(sorted({SLOW_IMPORTS} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr


@pytest.mark.parametrize("name", MODULES)
def test_no_import_hides_a_package_of_the_project(name):
    """`from keras import layers` would hide our own package called layers."""
    path = MODULES[name]
    bound = {
        alias.asname or alias.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    assert bound & {"layers", "pipelines"} == set()


@pytest.mark.parametrize("name", MODULES)
def test_no_import_by_string(name):
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names & {"__import__", "import_module", "eval", "exec"} == set()
    machinery = {found for found in imports(name) if in_package(found, "importlib")}
    assert [found for found in machinery if not found.startswith(("importlib.metadata", "importlib.resources"))] == []


@cache
def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Returns (the source text of the called function, the call) for each call in a module."""
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("name", MODULES)
def test_no_dataset_is_autotuned(name):
    """pipelines/common/data/loading.py explains why."""
    told = {id(argument) for written, call in calls(name) if written == "without_autotune" for argument in call.args}
    made = [
        (written, call)
        for written, call in calls(name)
        if written.startswith("tf.data.Dataset.") or written.endswith(".as_dataset")
    ]
    assert [w for w, call in made if id(call) not in told and not w.startswith("tf.data.Dataset.zip")] == []


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_converted_by_autograph(name):
    """All graphs use TensorFlow's control flow; converting Python's takes seconds."""
    tree = ast.parse(MODULES[name].read_text("utf-8"))
    decorators = [ast.unparse(each) for node in ast.walk(tree) for each in getattr(node, "decorator_list", [])]
    assert "tf.function" not in decorators
    for written, call in calls(name):
        if written == "tf.function":
            words = {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert words.get("autograph") == "False", ast.unparse(call)
        if written.endswith(".map"):
            assert ast.unparse(call.args[0]).startswith("without_autograph("), ast.unparse(call)


@pytest.mark.parametrize("task", [*TASKS, LANGUAGE_MODEL])
def test_every_task_has_the_same_files(task):
    present = {path.name for path in (ROOT / "pipelines" / Path(*task.split("."))).iterdir()}
    expected = set(TASK_FILES) - ({"__main__.py", "preprocessing.py"} if task == LANGUAGE_MODEL else set())
    assert expected - present == set()


@pytest.mark.parametrize("name", [name for name in MODULES if in_package(name, "pipelines.common")])
def test_the_families_of_common_import_downwards(name):
    """errors < files < config, runs, … < data < vision; pictures and serving beside them; evaluation and training above
    all."""
    family = name.split(".")[2] if name.count(".") > 2 else ""
    allowed = {
        "": {""},
        "data": {"", "data"},
        "vision": {"", "data", "vision"},
        "pictures": {"", "pictures"},
        "serving": {"", "serving"},
        "evaluation": {"", "pictures", "evaluation"},
        "training": {"", "data", "pictures", "training"},
    }
    found = {
        module.split(".")[2] if module.count(".") > 2 else ""
        for module in imports(name) & MODULES.keys()
        if in_package(module, "pipelines.common") and MODULES[module].name != "__init__.py"
    }
    assert found <= allowed[family]


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
