import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.common.runs import Run
from pipelines.sentiment.language_model.config import TASK
from pipelines.sentiment.language_model.export import Generation, append_words
from pipelines.sentiment.language_model.model import load_trained

PREFIXES = ["The film", "", "Nie gehört!"]
SEPARATE_PROCESS = f"""
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
found = loaded.signatures["sample"](
    prefix=tf.constant({PREFIXES}), temperature=tf.constant(1.0), top_k=tf.constant(0),
    top_p=tf.constant(0.9), seed=tf.constant(3), max_length=tf.constant(12),
)
assert not [name for name in sys.modules if name.split(".")[0] in ("layers", "pipelines")]
print(json.dumps({{name: value.numpy().tolist() for name, value in found.items()}}, default=bytes.decode))
"""


@pytest.fixture(scope="module")
def generation(pretrained):
    return Generation(load_trained(Run.open(pretrained.run, TASK)))


@pytest.mark.extra
def test_a_process_with_only_tensorflow_generates_the_same_text(pretrained, generation, tmp_path):
    command = [sys.executable, "-c", SEPARATE_PROCESS, pretrained.run / "export"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    expected = generation.sample(tf.constant(PREFIXES), 1.0, 0, 0.9, 3, 12)
    assert found["text"] == [text.decode() for text in expected["text"].numpy()]
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4)


def test_the_export_generates_the_same_text_as_the_model(pretrained, generation):
    loaded = tf.saved_model.load(str(pretrained.run / "export"))
    assert set(loaded.signatures) == {"serving_default", "sample", "defaults"}
    found = loaded.signatures["serving_default"](prefix=tf.constant(PREFIXES))
    max_length = loaded.signatures["defaults"]()["max_length"]
    expected = generation.sample(tf.constant(PREFIXES), 1.0, 0, 1.0, 0, max_length)
    assert found["text"].numpy().tolist() == expected["text"].numpy().tolist()
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4)


def test_reserved_words_are_never_generated(generation):
    texts = generation.sample(tf.constant([""] * 50), 5.0, 0, 1.0, 1, 20)["text"].numpy()
    assert b"<" not in b"".join(texts)


def test_the_score_is_the_log_probability_of_the_text(generation):
    """Of a prefix that is as long as max_length, whatever would be sampled next."""
    text = tf.constant(["the film was good"])
    score = float(generation.sample(text, 0.5, 1, 1.0, 0, 1)["score"][0])
    model, ids = generation.model, generation.preprocessing(text)[0].to_tensor()
    state, total = model.initial_state(1)["forward"], 0.0
    for word, target in zip([2, *ids[0].numpy()], [*ids[0].numpy(), 3], strict=True):
        logits, state = model.step(tf.constant([word], tf.int32), state)
        total += float(tf.nn.log_softmax(logits)[0, target])
    assert score == pytest.approx(total, rel=1e-4)


def test_spaces_around_signs():
    words = tf.ragged.constant([[",", "not", "(", "at", "all", ")", "good", "."], [], ["a", "film"]])
    texts = append_words(tf.constant(["Good ", "End", ""]), words).numpy()
    assert texts.tolist() == [b"Good, not (at all) good.", b"End", b"a film"]
