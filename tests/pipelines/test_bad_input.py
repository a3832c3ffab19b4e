"""Invalid input that every pipeline refuses in the same way: one message, exit status 2, no run folder."""

import shutil

import pytest

from layers.text import GENERATION
from pipelines.common.data import sources

TASKS = ("captioning", "sentiment", "translation", "video")
OTHER_WORDS = "\n".join([*GENERATION, "▁few", ""]).encode()

# Parametrized by the module, as `command` is.
every_task = pytest.mark.parametrize("task", TASKS, scope="module")


@pytest.fixture
def tiny() -> list[str]:
    """Returns no arguments: nothing is trained here."""
    return []


@pytest.mark.parametrize(
    ("task", "data"),
    [
        ("captioning", ["tfds:coco_captions"]),
        ("sentiment", ["tfds:imdb_reviews", "--group-column", ""]),
        ("translation", ["tfds:wmt14_translate/fr-en"]),
        ("video", ["tfds:ucf101"]),
    ],
    scope="module",
)
def test_no_network(refused, monkeypatch, data):
    monkeypatch.setattr(sources, "reachable", lambda address: False)
    assert "there is no network to download" in refused(*data)


@every_task
def test_the_sample_outside_of_a_checkout(refused, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    assert "the sample is part of a checkout of the project" in refused("sample")


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("captioning", ["train", "flickr8"], "there is no preset flickr8 (did you mean flickr8k?)"),
        ("captioning", ["describe", "x"], "there is no command describe"),
        ("captioning", ["train", "sample", "--unitz", "3"], "--units"),
        ("captioning", ["train", "sample", "--image", "attention"], "merge"),
        ("captioning", ["export"], "--run"),
        ("captioning", ["evaluate", "--run", "none"], "there is no run or export none: expected a path"),
        ("captioning", ["evaluate", "--run", ".", "--beam-size", "0"], "--beam-size is 0, but must be at least 1"),
        ("sentiment", ["train", "imbd"], "there is no preset imbd (did you mean imdb?); expected one of sample, imdb"),
        ("sentiment", ["trian", "imdb"], "there is no command trian (did you mean train?)"),
        ("sentiment", ["train", "sample", "--unitz", "3"], "--units"),
        ("sentiment", ["train", "sample", "--units", "many"], "--units"),
        ("sentiment", ["train", "sample", "--units", "0"], "--units is 0, but must be at least 1"),
        ("sentiment", ["train", "sample", "--epochs", "0"], "--epochs is 0.0, but must be greater than 0"),
        ("sentiment", ["train", "sample", "--cell", "gru"], "lstm"),
        ("sentiment", ["evaluate"], "--run"),
        ("sentiment", ["export"], "--run"),
        ("sentiment", ["predict", "good"], "--model"),
        ("translation", ["train", "multi3k"], "there is no preset multi3k (did you mean multi30k?)"),
        ("translation", ["translate", "x"], "there is no command translate"),
        ("translation", ["train", "sample", "--unitz", "3"], "--units"),
        ("translation", ["train", "sample", "--cell", "gru"], "lstm"),
        ("translation", ["export"], "--run"),
        ("translation", ["evaluate", "--run", "none"], "there is no run or export none: expected a path"),
        ("translation", ["evaluate", "--run", ".", "--beam-size", "0"], "--beam-size is 0, but must be at least 1"),
        ("video", ["train", "fihgt"], "there is no preset fihgt (did you mean fight?); expected one of sample, fight"),
        ("video", ["trian", "fight"], "there is no command trian (did you mean train?)"),
        ("video", ["train", "sample", "--unitz", "3"], "--units"),
        ("video", ["train", "sample", "--units", "0"], "--units is 0, but must be at least 1"),
        ("video", ["train", "sample", "--k1", "5"], "--k1 is 5, but must be 0 with --bidirectional"),
        ("video", ["train", "sample", "--cell", "gru"], "lstm"),
        ("video", ["evaluate"], "--run"),
        ("video", ["export"], "--run"),
        ("video", ["predict", "a.mp4"], "--model"),
        ("video", ["predict", "--model", ".", "a.mp4", "--folder-fps", "0"], "--folder-fps is 0.0, but must be from"),
    ],
    scope="module",
)
def test_the_command_line(command, capsys, arguments, message):
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert out == ""


@every_task
@pytest.mark.parametrize("words", [["evaluate", "--run"], ["export", "--run"], ["fine-tune", "--data", "x", "--from"]])
def test_folders_that_are_not_a_run(task, shared, command, capsys, tmp_path, words):
    def told(folder):
        assert command(*words, folder) == 2
        return capsys.readouterr().err

    assert "does not exist" in told(tmp_path / "none")
    assert "is an export: expected the folder of a run" in told(shared.run / "export")
    assert "is not a run: it has no config.json" in told(tmp_path)
    other, another = tmp_path / "other", "translation" if task == "sentiment" else "sentiment"
    other.mkdir()
    config = (shared.run / "config.json").read_text()
    (other / "config.json").write_text(config.replace(f'"task": "{task}"', f'"task": "{another}"'))
    assert f"is a run of the pipeline {another}: expected one of {task}" in told(other)
    (other / "config.json").write_text(config)
    assert "has no model.weights.h5 yet: train the run first" in told(other)


@every_task
def test_fine_tuning_needs_data_and_a_run(shared, command, capsys):
    assert command("fine-tune", "--from", shared.run) == 2
    assert "fine-tune needs --data" in capsys.readouterr().err
    assert command("fine-tune", "--data", shared.data) == 2
    assert "fine-tune needs --from RUN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("captioning", ["--units", "5"], "--units is 5, but fine-tuning keeps the model it starts from, where it is 8"),
        ("captioning", ["--weights", "a.weights.h5"], "--weights is a.weights.h5, but fine-tuning keeps"),
        ("sentiment", ["--units", "5"], "--units is 5, but fine-tuning keeps the model it starts from, where it is 4"),
        ("sentiment", ["--cell", "rnn"], "--cell is rnn"),
        (
            "translation",
            ["--units", "6"],
            "--units is 6, but fine-tuning keeps the model it starts from, where it is 16",
        ),
        ("video", ["--units", "5"], "--units is 5, but fine-tuning keeps the model it starts from, where it is 8"),
        ("video", ["--encoder-weights", "a.weights.h5"], "--encoder-weights is a.weights.h5, but fine-tuning keeps"),
        ("video", ["--cell", "rnn"], "--cell is rnn"),
        ("video", ["--image-size", "32"], "--image-size is 32"),
    ],
    scope="module",
)
def test_fine_tuning_keeps_the_model(shared, tmp_path, command, capsys, arguments, message):
    given = ["fine-tune", "--from", shared.run, "--data", shared.data, "--run", tmp_path / "tuned", *arguments]
    assert command(*given) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "tuned").exists()


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras's remark before it refuses
@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    [
        ("captioning", "vocabulary.txt", OTHER_WORDS, "does not hold the weights of this model"),
        ("captioning", "vocabulary.txt", b"one\ntwo\n", "vocabulary.txt is not a vocabulary"),
        ("captioning", "vocabulary.txt", None, "vocabulary.txt could not be read"),
        ("sentiment", "model.weights.h5", b"cut off", "does not hold the weights of this model"),
        ("sentiment", "vocabulary.txt", b"<pad>\n<unk>\n\xff\n", "vocabulary.txt is not a vocabulary"),
        ("sentiment", "vocabulary.txt", b"<pad>\n<unk>\nfew\n", "does not hold the weights of this model"),
        ("sentiment", "labels.json", b"[", "labels.json is not a JSON file"),
        ("sentiment", "labels.json", b'["one"]', "labels.json does not contain labels"),
        ("sentiment", "config.json", b"{}", "config.json is not the configuration of a run"),
        ("translation", "vocabulary.target.txt", OTHER_WORDS, "does not hold the weights of this model"),
        ("translation", "vocabulary.target.txt", b"un\ndeux\n", "vocabulary.target.txt is not a vocabulary"),
        ("translation", "vocabulary.target.txt", None, "vocabulary.target.txt could not be read"),
        ("video", "model.weights.h5", b"cut off", "does not hold the weights of this model"),
        ("video", "labels.json", b"[", "labels.json is not a JSON file"),
        ("video", "labels.json", b'["one"]', "labels.json does not contain labels"),
        ("video", "labels.json", b'["one", "two", "three"]', "does not hold the weights of this model"),
        ("video", "config.json", b"{}", "config.json is not the configuration of a run"),
    ],
    scope="module",
)
def test_a_damaged_run(shared, command, capsys, tmp_path, name, content, message):
    """A file of the run is replaced, or missing if there is no content."""
    run = shutil.copytree(shared.run, tmp_path / "run", ignore=shutil.ignore_patterns("export", "checkpoints", "logs"))
    (run / name).unlink()
    if content is not None:
        (run / name).write_bytes(content)
    assert command("evaluate", "--run", run) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "score"),
    [("captioning", "perplexity"), ("sentiment", "accuracy"), ("translation", "perplexity"), ("video", "accuracy")],
    scope="module",
)
def test_a_run_that_cannot_be_written_shows_its_scores(shared, command, tmp_path, capsys, score):
    run = shutil.copytree(shared.run, tmp_path / "run")
    (run / "metrics.json").unlink(missing_ok=True)
    (run / "metrics.json").mkdir()  # stands for a read-only disk, which root may write to
    assert command("evaluate", "--run", run) == 2
    out, err = capsys.readouterr()
    assert score in out
    assert err.splitlines()[-1].endswith(f"{run / 'metrics.json'} could not be written: Is a directory")
