import json
import shutil

import pytest

from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.sentiment.export import export
from pipelines.sentiment.language_model.config import TASK as LANGUAGE_MODEL
from tests import device_programs

TEXTS = ["The film was good", "", "it wasn't <br /> Dull, and I don’t like awful films!", "don't " * 60, "Фильм 3"]


@pytest.mark.extra
@pytest.mark.parametrize("format", ["litert", "onnx"])
def test_the_program_answers_as_the_saved_model(shared, command, capsys, tmp_path, format):
    device_programs.require(format)
    folder = tmp_path / "classify"
    assert command("export", "--run", shared.run, "--to", folder, "--format", format) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    described = json.loads((folder / "model.json").read_text("utf-8"))
    assert described["labels"] == ["negative", "positive"]
    assert described["comparison"]["same"] == described["comparison"]["answers"] > 20
    assert described["comparison"]["largest_difference"] < 1e-5
    shapes = [described["functions"]["classify"][each] for each in ("inputs", "outputs")]
    batch = 1 if format == "litert" else None
    assert shapes == [
        {"ids": {"dtype": "int32", "shape": [batch, None]}},
        {"probabilities": {"dtype": "float32", "shape": [batch, 2]}},
    ]
    found = device_programs.run(folder, "classify.py", folder, *TEXTS)
    command("predict", "--model", shared.run, *TEXTS)
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    probabilities = [each["probability"] for each in expected]
    assert [each["probability"] for each in found] == pytest.approx(probabilities, abs=1e-4)


@pytest.mark.extra
def test_an_average_in_onnx_of_several_texts_at_once(shared, tmp_path):
    import numpy as np
    import tensorflow as tf

    from layers.text import pad
    from pipelines.common.serving import onnx_files
    from pipelines.sentiment.model import load_trained

    device_programs.require("onnx")
    folder = export(Export((shared.run, shared.run), tmp_path / "mean", "onnx"))
    trained = load_trained(Run.open(shared.run, "sentiment"))
    ids = pad(trained.preprocessing(tf.constant(TEXTS))[0])
    found = onnx_files.load(folder / "classify.onnx")({"ids": ids.numpy()})["probabilities"]
    np.testing.assert_allclose(found, tf.nn.softmax(trained.model(ids)), atol=1e-5)


def test_what_has_no_function_is_refused(shared, command, capsys, tmp_path):
    other = shutil.copytree(shared.run, tmp_path / "other")
    words = (other / "vocabulary.txt").read_text("utf-8").splitlines()
    (other / "vocabulary.txt").write_text("".join(word + "\n" for word in [*words[:-1], "otherwise"]), "utf-8")
    assert command("export", "--run", shared.run, other, "--format", "onnx") == 2
    assert "cannot be averaged in onnx: their vocabularies differ" in capsys.readouterr().err
    assert command("export", "--run", shared.run, "--weights", "int8") == 2
    assert "--weights int8 is for litert and onnx" in capsys.readouterr().err
    assert not list(shared.run.glob("export-*"))


def test_a_language_model_is_refused(tmp_path, command, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"task": LANGUAGE_MODEL, "config": {}}))
    assert command("export", "--run", tmp_path, "--format", "litert") == 2
    assert "is a language model: expected --format saved_model" in capsys.readouterr().err
