"""The page docs/lecture/README.md says what its experiments give."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

SECTIONS = [
    "section_01_tasks",
    "section_02_vanilla_rnn",
    "section_03_unfolding",
    "section_04_bptt",
    "section_05_memory",
    "section_06_truncated_bptt",
    "section_07_teacher_forcing",
    "section_08_warm_start",
    "section_09_lstm",
    "section_10_sutskever",
]


@pytest.fixture
def lecture(root, monkeypatch):
    """Returns a function that imports a module of docs/lecture."""
    monkeypatch.syspath_prepend(str(root / "docs" / "lecture"))
    return importlib.import_module


@pytest.fixture
def page(root) -> str:
    return (root / "docs" / "lecture" / "README.md").read_text("utf-8")


# The page -------------------------------------------------------------------------------------------------------------


def test_the_sections_are_those_of_the_folder(lecture):
    assert lecture("lecture").SECTIONS == SECTIONS


# Settings of the experiments, what follows from an equation (log 2, 1/6, sigmoid of 1 and 5), and what a paper says.
CONSTANTS = {
    "0.8", "1.2", "0.4", "1.6", "7.5", "0.001", "0.003", "0.01", "0.02", "0.69", "0.167", "0.73", "0.99", "4.7",
}  # fmt: skip


def test_every_decimal_number_of_the_page_is_compared_with_an_experiment(lecture, page):
    every_quote = [quote for name in SECTIONS for quote in lecture(name).QUOTES]
    assert set(lecture("quotes").unheld(page, every_quote)) == CONSTANTS


def test_the_page_shows_every_figure_and_the_figures_are_small(lecture, page, root):
    figures = [png for name in SECTIONS for png in lecture(name).FIGURES]
    shown = [line for line in page.splitlines() if line.startswith("![")]
    assert [line.partition("](figures/")[2].rstrip(")") for line in shown] == figures
    sizes = [(root / "docs" / "lecture" / "figures" / png).stat().st_size for png in figures]
    assert sum(sizes) < 1_000_000


def test_the_page_names_every_script(page):
    assert [name for name in SECTIONS if f"({name}.py)" not in page] == []


# The experiments ------------------------------------------------------------------------------------------------------

CLAIMS = {  # what the page says in words
    "section_02_vanilla_rnn": lambda found: found["largest"] < 1,
    "section_04_bptt": lambda found: (
        found["state_gradients_differ"] < 1e-12
        and found["weight_gradients_differ"] < 1e-12
        and found["norm_unclipped_1.6"] > 10
        and found["loss_unclipped_1.6"] > np.log(2) > 10 * found["loss_clipped_1.6"]
    ),
    "section_05_memory": lambda found: found["rnn_50"] > 0.15 > 10 * found["lstm_50"],
    "section_06_truncated_bptt": lambda found: found["loss_5_5"] > 0.6 > 2 * found["loss_5_20"],
    "section_09_lstm": lambda found: found["reaches_0"] > 10,
}


def check(name, found, page, lecture):
    assert lecture("quotes").differences(page, lecture(name).QUOTES, found) == []
    assert name not in CLAIMS or CLAIMS[name](found)


@pytest.mark.extra
@pytest.mark.parametrize("name", SECTIONS)
def test_the_short_form_of_a_section_gives_the_numbers_of_the_page(name, lecture, page, tmp_path):
    found, _ = lecture("lecture").run(name, tmp_path, short=True)
    check(name, found, page, lecture)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(lecture(name).FIGURES)


@pytest.mark.slow
def test_the_whole_lecture_gives_the_numbers_of_the_page(root, tmp_path):
    """In a process of its own, as `make lecture` runs it, whose allocator measures memory."""
    command = [sys.executable, "docs/lecture/lecture.py", "--to", str(tmp_path)]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=7200)
    assert result.returncode == 0, result.stderr
    assert "README.md said otherwise" not in result.stdout, result.stdout
    assert "It would be wrong to call the ending delightful." in result.stdout


def test_sums_of_the_adding_problem(lecture):
    inputs, sums = lecture("section_05_memory").adding_problem(np.random.default_rng(0), 10)
    assert inputs.shape == (64, 10, 2) and np.all(inputs[:, :5, 1].sum(axis=1) == 1)
    assert np.allclose(sums[:, 0], (inputs[:, :, 0] * inputs[:, :, 1]).sum(axis=1))


def test_an_echo_repeats_its_bits_after_the_lag(lecture):
    section = lecture("section_06_truncated_bptt")
    for inputs, targets, weights in section.echo(30):
        assert np.array_equal(2 * targets[section.LAG :] - 1, inputs[: -section.LAG, 0])
        assert np.flatnonzero(weights)[0] == section.LAG


def test_signals_of_the_warm_start(lecture):
    section, random = lecture("section_08_warm_start"), np.random.default_rng(0)
    wave = section.sines(random, 3, 50)
    assert wave.shape == (3, 50) and np.abs(wave).max() <= 1
    chaos = section.mackey_glass(random, 4, 200)
    assert chaos.shape == (4, 200) and 0.1 < chaos.std() < 0.4 and abs(chaos.mean()) < 0.1
    assert np.abs(np.diff(chaos)).max() < 0.5  # a continuous solution


def test_strings_of_a_and_b(lecture):
    section = lecture("section_09_lstm")
    inputs, targets, weights = section.strings([1, 2])
    letters = np.array(["$", "a", "b"])
    read = [
        "".join(letters[row.argmax(axis=-1)])[: int(count)] for row, count in zip(inputs, weights.sum(1), strict=True)
    ]
    predicted = ["".join(letters[row])[: int(count)] for row, count in zip(targets, weights.sum(1), strict=True)]
    assert (read, predicted) == (["$ab", "$aabb"], ["ab$", "aabb$"])


def test_weights_are_those_of_a_model_that_is_made(lecture):
    from pipelines.translation.config import ModelConfig
    from pipelines.translation.model import TranslationModel

    config = ModelConfig(units=3, embedding_units=2, layers=2)
    model = TranslationModel(source_vocabulary=7, target_vocabulary=5, **vars(config), seed=0)
    model((np.ones([1, 2], "int32"), np.ones([1, 2], "int32")))
    counted = sum(lecture("section_10_sutskever").weights(config, 7, 5).values())
    assert counted == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


# The numbers in the text ----------------------------------------------------------------------------------------------

QUOTES = ("loss of {loss:.2f} after\n{updates:,.0f} updates", "falls to {norm:.1e}", "in {step_seconds:.0f} s")
TEXT = "It has a loss of 0.25\nafter 1,200 updates. The gradient falls to 1.4e-05 in 3 s. Version 1.5, `x = 2.5`."


def test_new_numbers_are_written_into_the_text(lecture):
    numbers = {"loss": 0.5, "updates": 12000, "norm": 2.25e-7}
    expected = TEXT.replace("0.25", "0.50").replace("1,200", "12,000").replace("1.4e-05", "2.2e-07")
    assert lecture("quotes").refresh(TEXT, QUOTES, numbers) == expected


def test_numbers_that_differ_are_reported(lecture):
    differences = lecture("quotes").differences
    assert differences(TEXT, QUOTES, {"loss": 0.3, "updates": 1201, "norm": 1.5e-5, "step_seconds": 70}) == []
    assert differences(TEXT, QUOTES, {"norm": 1e-4}) == ["norm: 1.4e-05 on the page, 0.0001 now"]
    assert len(differences(TEXT, QUOTES, {"loss": 0.5, "updates": 2000})) == 2


def test_numbers_that_no_quote_holds_are_found(lecture):
    assert lecture("quotes").unheld(TEXT, QUOTES) == ["1.5"]
    assert lecture("quotes").unheld(TEXT, QUOTES[1:]) == ["0.25", "1.5"]


def test_a_quote_that_is_not_on_the_page_is_an_error(lecture):
    with pytest.raises(ValueError, match="once on the page, found it 0 times"):
        lecture("quotes").find(TEXT, "a loss of {loss:.2f} nats")


# The notebook ---------------------------------------------------------------------------------------------------------


@pytest.mark.extra
def test_the_notebook_is_that_of_the_page(lecture, page):
    pytest.importorskip("jupytext", reason="needs the extra lecture")
    import nbformat

    notebook = lecture("notebook")
    found = nbformat.read(notebook.NOTEBOOK, 4)
    assert [cell.source for cell in found.cells] == [cell.source for cell in notebook.make(page).cells], (
        "run docs/lecture/notebook.py"
    )
    assert all(not cell.get("outputs") for cell in found.cells)


@pytest.mark.extra
def test_the_notebook_runs(root):
    """Every cell, with the short forms of the experiments."""
    pytest.importorskip("jupytext", reason="needs the extra lecture")
    command = [sys.executable, "docs/lecture/notebook.py", "--run", "--short"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "executed" in result.stdout
