import json
import shutil

import numpy as np
import pytest

from layers.text import END
from pipelines.common.config import from_json, replace
from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.common.serving import exports
from pipelines.common.serving.decoding_options import DecodingOptions
from pipelines.common.weights import save_weights
from pipelines.translation.config import Config
from pipelines.translation.export import export
from pipelines.translation.model import make_model
from pipelines.translation.preprocessing import Preprocessing, load_vocabularies
from tests import device_programs

SENTENCES = ["A red star.", "", "THIS house isn't blue!", "A «grey» door_ and a Door …"]
VARIANTS = {
    "attention": {"attention": "general", "attention_input": True, "context": "none"},
    "context": {"context": "mean", "bidirectional": False, "cell": "rnn"},
    "subword": {"level": "subword", "restore_case": True, "attention": "dot", "context": "none"},
}


def variant(run, folder, **changes):
    """A run like `run` with other fields of the configuration, and random weights that make translations of some words;
    subwords are letters and words."""
    opened = Run.open(run, "translation")
    config = replace(from_json(Config, opened.config), **changes)
    with Run.start(folder, "translation", config) as started:
        for name in ("source", "target"):
            shutil.copy(run / f"vocabulary.{name}.txt", folder)
        if config.text.level == "subword":
            words = (folder / "vocabulary.source.txt").read_text("utf-8").split("\n")[:-1]
            letters = sorted(set("".join(words[4:])) - set(words))
            (folder / "vocabulary.source.txt").write_text("".join(f"{word}\n" for word in words + letters), "utf-8")
        model = make_model(config, Preprocessing(*load_vocabularies(started), **vars(config.text)))
        model.softmax.bias.assign(np.where(np.arange(model.softmax.words) == END, -1.0, 0.0))
        save_weights(model, started.weights_file)
    return folder


def greedy(folder, sentences) -> list[str]:
    """The translations of the SavedModel."""
    loaded = exports.load(folder, "translation", {"translation", "score", "candidates"})
    options = DecodingOptions(beam_size=1, length_penalty=0.0)
    outputs = exports.decode(loaded, options, source=sentences)
    return [each["translation"] for each in exports.sentences(outputs, "translation", options)]


@pytest.mark.extra
@pytest.mark.parametrize("format", ["litert", "onnx"])
@pytest.mark.parametrize("name", [None, *VARIANTS])
def test_the_program_translates_as_the_saved_model(shared, tmp_path, format, name):
    device_programs.require(format)
    run = variant(shared.run, tmp_path / "run", **VARIANTS[name]) if name else shared.run
    folder = export(Export((run,), tmp_path / "translate", format))
    described = json.loads((folder / "model.json").read_text("utf-8"))
    assert set(described["functions"]) == {"encode", "step"}
    assert described["comparison"]["same"] == described["comparison"]["answers"] > 30
    found = device_programs.run(folder, "translate.py", folder, *SENTENCES)
    expected = greedy(export(Export((run,), tmp_path / "saved")), SENTENCES)
    assert [each["translation"] for each in found] == expected
    assert expected[0] and not expected[1]


@pytest.mark.extra
def test_an_average_in_onnx(shared, tmp_path):
    device_programs.require("onnx")
    runs = [shared.run, variant(shared.run, tmp_path / "run", **VARIANTS["attention"])]
    folder = export(Export(runs, tmp_path / "mean", "onnx", "int8"))
    described = json.loads((folder / "model.json").read_text("utf-8"))
    states = set(described["functions"]["encode"]["outputs"])
    assert {"h_1", "c_2", "h_1_of_2", "context_of_2", "memory_keys_of_2", "memory_mask_of_2"} <= states
    new = {name.removeprefix("new_") for name in described["functions"]["step"]["outputs"]} - {"log_probabilities"}
    assert states - new == {"context", "memory_keys_of_2", "memory_mask_of_2", "memory_values_of_2"}
    found = device_programs.run(folder, "translate.py", folder, *SENTENCES[:1])
    assert found[0]["translation"] == greedy(export(Export(runs, tmp_path / "saved")), SENTENCES[:1])[0]


def test_replace_unknown_is_for_saved_models(shared, command, capsys):
    assert command("export", "--run", shared.run, "--format", "onnx", "--replace-unknown", "True") == 2
    assert "--replace-unknown is for a SavedModel: onnx has no text" in capsys.readouterr().err
