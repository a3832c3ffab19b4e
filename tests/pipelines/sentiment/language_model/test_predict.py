import json

import pytest


def generated(command, capsys, *arguments) -> list[dict]:
    capsys.readouterr()
    assert command("generate", *arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_prefix_is_kept_and_equal_seeds_generate_equal_texts(pretrained, command, capsys):
    prefix = "  The FILM was unheardof,"
    first = generated(
        command, capsys, "--run", pretrained.run, "--prefix", prefix, "--number", "4", "--temperature", "2"
    )
    assert [answer["seed"] for answer in first] == [0, 1, 2, 3]
    assert all(answer["text"].startswith(prefix.strip()) for answer in first)
    assert len({answer["text"] for answer in first}) > 1
    again = generated(command, capsys, "--run", pretrained.run / "export", "--prefix", prefix, "--seed", "2",
                      "--temperature", "2")  # fmt: skip
    assert again == first[2:3]


def test_a_prefix_is_not_required(pretrained, command, capsys):
    (answer,) = generated(command, capsys, "--run", pretrained.run, "--top-k", "3", "--max-length", "5")
    assert answer["prefix"] == "" and answer["text"] == answer["text"].strip()
    assert len(answer["text"].split()) <= 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "0"], "--temperature is 0.0, but must be greater than 0"),
        (["--top-p", "2"], "--top-p is 2.0"),
        (["--number", "0"], "--number is 0, but must be at least 1"),
        (["--max-length", "0"], "--max-length is 0, but must be at least 1"),
    ],
)
def test_options_out_of_range(pretrained, command, capsys, arguments, message):
    assert command("generate", "--run", pretrained.run, *arguments) == 2
    assert message in capsys.readouterr().err


def test_runs_of_the_other_task(shared, pretrained, command, capsys, tmp_path, monkeypatch):
    def refused(*arguments) -> str:
        assert command(*arguments) == 2
        return capsys.readouterr().err

    classifier = f"{shared.run} is a run of the pipeline sentiment: expected one of sentiment language model"
    language_model = f"{pretrained.run} is a run of the pipeline sentiment language model: expected one of sentiment"
    assert classifier in refused("generate", "--run", shared.run)
    assert "expected one that returns score and text" in refused("generate", "--run", shared.run / "export")
    assert language_model in refused("predict", "--model", pretrained.run, "good")
    assert "returns label, prob" in refused("predict", "--model", pretrained.run / "export", "good")
    assert language_model in refused("evaluate", "--run", pretrained.run)
    assert language_model in refused("fine-tune", "--from", pretrained.run, "--data", shared.data)
    assert language_model in refused("export", "--run", shared.run, pretrained.run, "--to", tmp_path / "to")
    assert "only classifiers can be averaged" in refused("export", "--run", pretrained.run, shared.run)
    assert classifier in refused("train", "sample", "--init-from", shared.run, "--run", tmp_path / "run")
    assert "none does not exist" in refused("train", "imdb", "--init-from", tmp_path / "none")
    monkeypatch.chdir(tmp_path)  # where no preset has been trained
    assert "which does not exist: train it with" in refused("train", "imdb-pretrained")
    (tmp_path / "config.json").write_bytes((pretrained.run / "config.json").read_bytes())
    assert "has no export yet, and its training is not finished" in refused("generate", "--run", tmp_path)
