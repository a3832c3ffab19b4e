import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.sentiment.generation import Generation, write_on
from pipelines.sentiment.language_model import load_language_model, open_language_model

ALONE = """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
found = loaded.signatures["sample"](
    prefix=tf.constant(["The film", "", "Nie gehört!"]), temperature=tf.constant(1.0), top_k=tf.constant(0),
    top_p=tf.constant(0.9), seed=tf.constant(3), max_length=tf.constant(12),
)
assert not [name for name in sys.modules if name.split(".")[0] in ("layers", "pipelines")]
print(json.dumps({name: value.numpy().tolist() for name, value in found.items()}, default=bytes.decode))
"""


@pytest.fixture(scope="module")
def generation(pretrained):
    return Generation(load_language_model(open_language_model(pretrained.run)))


@pytest.mark.extra
def test_the_same_text_in_a_process_of_tensorflow_alone(pretrained, generation, tmp_path):
    shutil.copytree(pretrained.run / "export", tmp_path / "moved")
    answer = subprocess.run(
        [sys.executable, "-c", ALONE, tmp_path / "moved"], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    expected = generation.sample(tf.constant(["The film", "", "Nie gehört!"]), 1.0, 0, 0.9, 3, 12)
    assert found["text"] == [text.decode() for text in expected["text"].numpy()]
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4)


def generated(command, capsys, *arguments) -> list[dict]:
    capsys.readouterr()
    assert command("generate", *arguments) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_prefix_stays_and_equal_seeds_write_equal_texts(pretrained, command, capsys):
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


def test_a_warm_start_is_not_needed(pretrained, command, capsys):
    (answer,) = generated(command, capsys, "--run", pretrained.run, "--top-k", "3", "--max-length", "5")
    assert answer["prefix"] == "" and answer["text"] == answer["text"].strip()
    assert len(answer["text"].split()) <= 5


def test_no_word_is_written_that_cannot_be_read(generation):
    found = generation.sample(tf.constant([""] * 50), 5.0, 0, 1.0, 1, 20)["text"].numpy()
    assert b"<" not in b"".join(found)


def test_the_score_is_the_models_own(generation):
    """A prefix as long as is allowed is the text: its log-probability, whatever would be drawn."""
    text = tf.constant(["the film was good"])
    score = float(generation.sample(text, 0.5, 1, 1.0, 0, 1)["score"][0])
    model, ids = generation.model, generation.preprocessing(text)[0].to_tensor()
    state, total = model.initial_state(1)["forward"], 0.0
    for read, said in zip([2, *ids[0].numpy()], [*ids[0].numpy(), 3], strict=True):
        logits, state = model.step(tf.constant([read], tf.int32), state)
        total += float(tf.nn.log_softmax(logits)[0, said])
    assert score == pytest.approx(total, rel=1e-4)


def test_signs_stand_at_their_words():
    words = tf.ragged.constant([[",", "not", "(", "at", "all", ")", "good", "."], [], ["a", "film"]])
    found = write_on(tf.constant(["Good ", "End", ""]), words).numpy()
    assert found.tolist() == [b"Good, not (at all) good.", b"End", b"a film"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "0"], "--temperature is 0.0, but must be greater than 0"),
        (["--top-p", "2"], "--top-p is 2.0"),
        (["--number", "0"], "--number is 0, but must be at least 1"),
        (["--max-length", "0"], "--max-length is 0, but must be at least 1"),
    ],
)
def test_numbers_out_of_range(pretrained, command, capsys, arguments, message):
    assert command("generate", "--run", pretrained.run, *arguments) == 2
    assert message in capsys.readouterr().err


def test_runs_of_the_other_kind(shared, pretrained, command, capsys, tmp_path, monkeypatch):
    def refused(*arguments) -> str:
        assert command(*arguments) == 2
        return capsys.readouterr().err

    classifier = f"{shared.run} is a run of the pipeline sentiment: expected one of sentiment language model"
    language_model = f"{pretrained.run} is a run of the pipeline sentiment language model: expected one of sentiment"
    assert classifier in refused("generate", "--run", shared.run)
    assert "expected one that returns score and text" in refused("generate", "--run", shared.run / "export")
    assert "expected one that returns label, prob" in refused("predict", "--model", pretrained.run, "good")
    assert language_model in refused("evaluate", "--run", pretrained.run)
    assert language_model in refused("fine-tune", "--from", pretrained.run, "--data", shared.data)
    assert language_model in refused("export", "--run", shared.run, pretrained.run, "--to", tmp_path / "to")
    assert "only classifiers can be averaged" in refused("export", "--run", pretrained.run, shared.run)
    assert classifier in refused("train", "sample", "--init-from", shared.run, "--run", tmp_path / "run")
    assert "none does not exist" in refused("train", "imdb", "--init-from", tmp_path / "none")
    monkeypatch.chdir(tmp_path)  # where no preset has been trained
    assert "which does not exist: train it with" in refused("train", "imdb-pretrained")
    (tmp_path / "config.json").write_bytes((pretrained.run / "config.json").read_bytes())
    assert "has no export yet: make it with python -m pipelines.sentiment export" in refused(
        "generate", "--run", tmp_path
    )
