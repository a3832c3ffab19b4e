import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from layers.text import END, START, UNKNOWN, pad
from layers.tokenizer import Tokenizer
from pipelines.common.errors import UserError
from pipelines.common.options import Export
from pipelines.common.runs import Run
from pipelines.translation.decoder import make_decoder
from pipelines.translation.export import export
from pipelines.translation.model import Trained, load_trained

TEXTS = [
    "A red star.", "", "   ", "This house isn't green!", "映画はとても良い。", "фильм 😀", "A blue car. " * 40,
    "A\tgrey\ndoor.",
]  # fmt: skip
ALONE = """
import json, sys
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
texts = tf.constant(json.load(sys.stdin))
number = lambda value, kind: tf.constant(value, kind)
found = [loaded.signatures["serving_default"](source=texts), loaded.signatures["serving_default"](source=texts[:1])]
beam = loaded.signatures["beam"]
for size in (1, 4):
    found.append(beam(source=texts, prefix=tf.constant([""]), beam_size=number(size, tf.int32),
                      length_penalty=number(0.0, tf.float32), min_length=number(0, tf.int32),
                      max_length=number(20, tf.int32)))
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("layers", "pipelines", "tensorflow_text"))
assert not ours, ours
print(json.dumps([{k: v.numpy().tolist() for k, v in one.items()} for one in found], default=bytes.decode))
"""


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "translation"))


@pytest.fixture(scope="module")
def loaded(shared):
    return tf.saved_model.load(str(shared.run / "export"))


@pytest.fixture(scope="module")
def attentive(shared, command, tiny, tmp_path_factory):
    """Returns the folder of a run with attention inside the recurrence, trained and exported."""
    run = tmp_path_factory.mktemp("attentive") / "run"
    options = ["--attention", "additive", "--attention-input", "--bidirectional", "--replace-unknown", "--epochs", "1"]
    assert command("train", "sample", "--data", shared.data, "--run", run, *tiny, "--context", "none", *options) == 0
    assert command("export", "--run", run) == 0
    return run


def search(loaded, texts, prefix=("",), beam_size=4, length_penalty=0.0, min_length=0, max_length=20) -> dict:
    return loaded.signatures["beam"](
        source=tf.constant(texts), prefix=tf.constant(list(prefix)), beam_size=tf.constant(beam_size),
        length_penalty=tf.constant(length_penalty), min_length=tf.constant(min_length),
        max_length=tf.constant(max_length),
    )  # fmt: skip


def sample(loaded, texts, prefix="", temperature=1.0, top_k=0, top_p=1.0, seed=0) -> list[str]:
    found = loaded.signatures["sample"](
        source=tf.constant(texts), prefix=tf.constant([prefix]), temperature=tf.constant(temperature),
        top_k=tf.constant(top_k), top_p=tf.constant(top_p), seed=tf.constant(seed), max_length=tf.constant(20),
    )  # fmt: skip
    return strings(found["translation"])


def strings(tensor) -> list[str]:
    return [text.decode() for text in tensor.numpy().ravel()]


@pytest.mark.extra
def test_the_same_answers_in_a_process_with_only_tensorflow(shared, trained, tmp_path):
    (shared.run / "export").rename(tmp_path / "moved")
    try:
        answer = subprocess.run(
            [sys.executable, "-c", ALONE, tmp_path / "moved"], input=json.dumps(TEXTS), capture_output=True, text=True,
            cwd=tmp_path, timeout=300,
        )  # fmt: skip
    finally:
        (tmp_path / "moved").rename(shared.run / "export")
    assert answer.returncode == 0, answer.stderr
    default, one, greedy, beam = json.loads(answer.stdout)
    decoder = make_decoder([trained])
    for found, beam_size in ((default, trained.config.search.beam_size), (greedy, 1), (beam, 4)):
        translations, numbers = decoder.batched(beam_size=beam_size, length_penalty=0.0)(TEXTS)
        assert found["translation"] == translations
        np.testing.assert_allclose(found["score"], numbers["score"], atol=1e-5)
    assert one["translation"] == default["translation"][:1]
    assert default["translation"][1] == default["translation"][2] == ""
    assert default["score"][1] == 0 and np.shape(default["candidates"]) == (8, 5)


def test_translations_begin_with_the_prefix(loaded, trained):
    found = search(loaded, TEXTS[:4], prefix=["Cette étoile n'est"])
    assert all(text.startswith("Cette étoile n'est") for text in (strings(found["translation"])[i] for i in (0, 3)))
    each = strings(search(loaded, ["A red car.", "A red car."], prefix=["Une", "Cette"])["translation"])
    assert each[0].startswith("Une") and each[1].startswith("Cette")
    assert all(
        text.startswith("Une porte")
        for text in [sample(loaded, ["A red car."], "Une porte", seed=s)[0] for s in (1, 2)]
    )


def test_candidates_come_best_first_with_their_scores(loaded, trained):
    """The score is the log-probability of the sentence with teacher forcing."""
    found = search(loaded, ["A red star."], beam_size=3)
    candidates = strings(found["candidates"])
    assert len(set(candidates)) == 3 and candidates[0] == strings(found["translation"])[0]
    target = trained.preprocessing.target
    source = pad(trained.preprocessing.source.encode(tf.constant(["A red star."]))[0])
    scores = []
    for text in candidates:
        ids = target.encode(tf.constant([text]))[0].flat_values.numpy().tolist()
        logits = trained.model((source, tf.constant([[START, *ids]])))
        log_probability = tf.nn.log_softmax(logits)[0].numpy()
        scores.append(sum(log_probability[t, token] for t, token in enumerate([*ids, END])))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(float(found["score"][0]), abs=1e-4)


def test_length_limits(loaded):
    for text in strings(search(loaded, TEXTS[:1] * 2, min_length=7, max_length=9)["candidates"]):
        tokens = len(text.replace("!", " !").replace(".", " .").split())
        assert not text or 5 <= tokens <= 9
    assert len(strings(search(loaded, TEXTS[:1], max_length=1)["translation"])[0].split()) <= 1


def test_draws_follow_seed_and_temperature(loaded):
    texts = ["A red star."] * 8
    assert sample(loaded, texts, seed=1) == sample(loaded, texts, seed=1)
    assert len(set(sample(loaded, texts, seed=1, temperature=3.0))) > 1
    greedy = strings(search(loaded, texts, beam_size=1)["translation"])
    assert sample(loaded, texts, top_k=1, seed=5) == greedy
    assert sample(loaded, texts, temperature=1e-4, seed=5) == greedy
    assert sample(loaded, texts, top_p=1e-6, seed=5) == greedy


def test_explain_returns_what_the_pictures_show(loaded, trained):
    found = {
        name: value.numpy()
        for name, value in loaded.signatures["explain"](
            source=tf.constant(["A red star.", "A car."]), translation=tf.constant(["Une étoile rouge.", "Une"])
        ).items()
    }
    assert [token.decode() for token in found["tokens"][0]] == ["▁Une", "▁étoile", "▁rouge", "."]
    assert [token.decode() for token in found["tokens"][1]] == ["▁Une", "", "", ""]
    assert found["probability"].shape == (2, 4) and not found["probability"][1, 1:].any()
    assert (found["probability"] >= 0).all() and (found["probability"] <= 1).all()
    assert found["state"].shape == (2, trained.config.model.layers * trained.config.model.units)
    for gate in "ifgoc":
        assert found[gate].shape == (2, 4, trained.config.model.units)
    assert ((found["f"] > 0) & (found["f"] < 1)).all()


def test_with_attention_the_export_equals_the_model_and_explains_the_alignment(attentive):
    loaded = tf.saved_model.load(str(attentive / "export"))
    trained = load_trained(Run.open(attentive, "translation"))
    translations, numbers = make_decoder([trained]).batched(beam_size=4, length_penalty=0.0)(TEXTS)
    found = search(loaded, TEXTS)
    assert strings(found["translation"]) == translations
    np.testing.assert_allclose(found["score"], numbers["score"], atol=1e-5)

    sources, answers = tf.constant(["A red star.", "A car."]), tf.constant(["Une étoile rouge.", "Une"])
    found = {
        name: value.numpy() for name, value in loaded.signatures["explain"](source=sources, translation=answers).items()
    }
    assert [token.decode() for token in found["source_tokens"][1]] == ["▁A", "▁car", ".", ""]
    assert found["alignment"].shape == (2, 4, 4)
    np.testing.assert_allclose(found["alignment"].sum(axis=2), [[1, 1, 1, 1], [1, 0, 0, 0]], atol=1e-6)
    assert (found["alignment"][1, :, 3] == 0).all()  # padding of the source
    encoded, _ = trained.preprocessing.source.encode(sources)
    _, decoded = trained.model.decode(tf.constant([[START], [START]]), trained.model.encode(pad(encoded)))
    np.testing.assert_allclose(found["alignment"][:, 0], decoded.alignment[:, 0], atol=1e-6)


@pytest.fixture
def unsure(attentive):
    """Returns a model of words, with attention, that predicts nothing but the unknown word."""
    trained = load_trained(Run.open(attentive, "translation"))
    bias = trained.model.softmax.bias
    bias.assign(tf.tensor_scatter_nd_update(bias, [[UNKNOWN]], [100.0]))
    return trained


def test_an_unknown_word_is_replaced_by_the_most_attended_source_word(unsure):
    sources = tf.constant(["Zoë met Xanthippe.", "A", ""])
    greedy = make_decoder([unsure]).beam(sources, beam_size=1, length_penalty=0.0, max_length=3)
    first, second, third = strings(greedy["translation"])
    assert (second, third) == ("A A A", "")
    encoded, _ = unsure.preprocessing.source.encode(sources[:1])
    _, decoded = unsure.model.decode(tf.constant([[START, UNKNOWN, UNKNOWN]]), unsure.model.encode(pad(encoded)))
    tokens = ["▁Zoë", "▁met", "▁Xanthippe", "."]
    words = "".join(tokens[place] for place in tf.argmax(decoded.alignment[0], axis=-1))
    assert first == words.replace("▁", " ").strip()
    best = make_decoder([unsure]).beam(sources, beam_size=2, max_length=3)
    assert strings(best["translation"]) == [first, second, third]
    drawn = make_decoder([unsure]).sample(sources, seed=1, temperature=0.1, max_length=3)
    assert strings(drawn["translation"]) == [first, second, third]
    assert strings(make_decoder([unsure]).beam(tf.constant(["", " "]), max_length=3)["translation"]) == ["", ""]


def test_unknown_words_of_a_prefix_stay_as_they_are(unsure):
    prefix = tf.constant(["Quux"])
    found = make_decoder([unsure]).beam(tf.constant(["A", "A"]), beam_size=2, max_length=3, prefix=prefix)
    assert strings(found["translation"]) == ["Quux A A"] * 2


def test_replacing_unknown_words_is_an_option_of_evaluation_and_export(attentive, shared, command, tmp_path, capsys):
    refused = make_decoder([load_trained(Run.open(attentive, "translation"))], replace_unknown=False)
    assert refused.replace_unknown is None
    assert command("export", "--run", shared.run, "--to", tmp_path / "export", "--replace-unknown", "True") == 2
    assert "--replace-unknown needs a model of words (--level word) that has --attention" in capsys.readouterr().err
    assert command("evaluate", "--run", attentive, "--replace-unknown", "False", "--split", "validation") == 0
    assert command("evaluate", "--run", shared.run, "--replace-unknown", "True") == 2


@pytest.mark.extra
def test_fine_tuned_with_attention_and_averaged(attentive, shared, command, tmp_path):
    """With a learning rate of almost zero, the fine-tuned run and the average of both answer as the base run does."""
    tuned = tmp_path / "tuned"
    given = ["--from", attentive, "--data", shared.data, "--run", tuned, "--epochs", "1", "--learning-rate", "1e-12"]
    assert command("fine-tune", *given) == 0
    assert command("export", "--run", attentive, tuned, "--to", tmp_path / "export") == 0
    both, alone = (tf.saved_model.load(str(folder)) for folder in (tmp_path / "export", attentive / "export"))
    assert strings(search(both, TEXTS)["translation"]) == strings(search(alone, TEXTS)["translation"])


def test_an_ensemble_averages_probabilities(shared, trained, tmp_path):
    """The score of a sentence is that of the mean probabilities of three runs."""
    members = [trained]
    for seed in (7, 8):
        other = type(trained.model).from_config({**trained.model.get_config(), "seed": seed})
        other((tf.ones([1, 2], tf.int32), tf.ones([1, 2], tf.int32)))
        members.append(Trained(trained.config, trained.preprocessing, other))
    source = tf.constant(["A red star."])
    options = {"prefix": tf.constant(["Une étoile"]), "beam_size": 1, "min_length": 2, "max_length": 2}
    found = make_decoder(members).beam(source, length_penalty=0.0, **options)
    ids = pad(trained.preprocessing.source.encode(source)[0])
    words = trained.preprocessing.target.encode(tf.constant(["Une étoile"]))[0].flat_values.numpy().tolist()
    inputs = tf.constant([[START, *words]])
    mean = np.mean([tf.nn.softmax(member.model((ids, inputs)))[0].numpy() for member in members], axis=0)
    expected = sum(np.log(mean[t, token]) for t, token in enumerate([*words, END]))
    assert strings(found["translation"]) == ["Une étoile"]
    assert float(found["score"][0]) == pytest.approx(expected, abs=1e-4)


def test_runs_with_other_vocabularies_are_not_an_ensemble(shared, command, tmp_path, capsys):
    shutil.copytree(shared.run, tmp_path / "run")
    vocabulary = tmp_path / "run" / "vocabulary.source.txt"
    *words, last_but_one, last = vocabulary.read_text(encoding="utf-8").split()
    vocabulary.write_text("\n".join([*words, last, last_but_one]) + "\n", encoding="utf-8")
    assert command("export", "--run", shared.run, tmp_path / "run", "--to", tmp_path / "export") == 2
    assert "cannot be averaged: their source vocabularies differ" in capsys.readouterr().err
    assert not (tmp_path / "export").exists()


def test_an_untrained_run(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        export(Export((tmp_path / "none",)))


def test_the_tokenizer_of_the_export_is_the_one_of_training(trained):
    assert isinstance(trained.preprocessing.target, Tokenizer)
    text = "Cette étoile n'est pas verte !"
    ids, cut = trained.preprocessing.target.encode(tf.constant([text]))
    assert strings(trained.preprocessing.target.decode(ids)) == [text] and not cut.numpy().any()
