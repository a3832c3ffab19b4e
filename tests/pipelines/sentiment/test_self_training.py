import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from pipelines.common.config import from_json
from pipelines.common.runs import Run
from pipelines.sentiment import dataset, self_training, word_ids
from pipelines.sentiment.config import Config, DataConfig
from pipelines.sentiment.export import Classifier
from pipelines.sentiment.model import load_trained
from pipelines.sentiment.pieces import Pieces
from pipelines.sentiment.reviews import Reviews, in_memory
from tests import killing

PIECES = ["--pieces", "0.5", "--label-pieces"]


@dataclasses.dataclass(frozen=True)
class School:
    """Data with unlabelled reviews, two teachers with different vocabularies, and the arguments of a student."""

    data: pathlib.Path
    teachers: tuple[pathlib.Path, pathlib.Path]
    arguments: list


def reviews_of(texts) -> Reviews:
    return in_memory((text, text, text, text) for text in texts)


@pytest.fixture(scope="module")
def school(shared, tmp_path_factory, command, tiny, make):
    make_reviews, write_csv = make
    folder = tmp_path_factory.mktemp("school")
    data = folder / "data"
    data.mkdir()
    write_csv(data / "train.csv", make_reviews(48, seed=4))
    write_csv(data / "unsup.csv", [{"text": f"{row['text']} unheard"} for row in make_reviews(60, seed=5)])
    other = folder / "other"
    options = [*tiny, "--group-column", "film"]
    assert command("train", "sample", "--data", data, "--run", other, "--vocabulary-size", "9", *options) == 0
    teachers = (shared.run, other)
    return School(data, teachers, ["train", "sample", "--data", data, "--teachers", *teachers, *options])


@pytest.fixture(scope="module")
def student(school, command, tmp_path_factory):
    run = tmp_path_factory.mktemp("student") / "run"
    assert command(*school.arguments, "--run", run) == 0
    return run


@pytest.mark.extra
def test_targets_are_the_predictions_of_the_teachers_export(school, student):
    trained = [load_trained(Run.open(path, "sentiment")) for path in school.teachers]
    assert trained[0].preprocessing.vocabulary.words != trained[1].preprocessing.vocabulary.words
    config = from_json(Config, Run.open(student, "sentiment").config)
    assert config.transfer.teachers == school.teachers
    texts = list(dataset.find_unlabelled(config.data, dataset.load(config.data)).texts)
    expected = Classifier(trained).classify(np.array(texts))["probabilities"]
    np.testing.assert_allclose(np.load(student / "pseudo_labels.npy"), expected, atol=1e-5)
    reviews = reviews_of(texts)
    swapped = self_training.predict_probabilities(trained[0], reviews, ("positive", "negative"))
    alone = Classifier(trained[:1]).classify(np.array(texts))["probabilities"]
    np.testing.assert_allclose(swapped, alone.numpy()[:, ::-1], atol=1e-5)


@pytest.mark.extra
def test_a_student_learns_the_words_of_unlabelled_reviews(student, command):
    assert "unheard" in (student / "vocabulary.txt").read_text().split()
    assert command("evaluate", "--run", student) == 0
    assert command("export", "--run", student) == 0


@pytest.fixture(scope="module")
def reader(school, command, tmp_path_factory):
    """A student whose teachers also label pieces."""
    run = tmp_path_factory.mktemp("reader") / "run"
    assert command(*school.arguments, *PIECES, "--run", run) == 0
    return run


@pytest.mark.extra
def test_teachers_label_the_pieces_of_all_training_reviews(school, reader):
    run = Run.open(reader, "sentiment")
    trained, config = load_trained(run), from_json(Config, run.config)
    parts = dataset.load(config.data)
    training = [parts["train"], dataset.find_unlabelled(config.data, parts)]
    found = np.load(reader / "piece_labels.npy")
    assert found.shape == (2, sum(map(len, training)), 2) and found.dtype == np.float32
    texts = word_ids.encode(training, trained.preprocessing)
    pieces = Pieces(texts, trained.preprocessing.vocabulary, config.training.seed)
    split, _ = trained.preprocessing.split(np.array([text for part in training for text in part.texts]))
    teachers = [load_trained(Run.open(path, "sentiment")) for path in school.teachers]
    for epoch in (0, 1):
        spans = pieces.draw(epoch, 0.5)
        np.testing.assert_array_equal(found[epoch].any(axis=1), spans.is_piece)
        np.testing.assert_allclose(found[epoch][spans.is_piece].sum(axis=1), 1, rtol=1e-5)
        begins = spans.begins - texts.splits[:-1]
        rows = np.flatnonzero(spans.is_piece)
        words = [split[row].numpy()[begins[row] : begins[row] + spans.lengths[row]] for row in rows]
        said = [b" ".join(each).decode() for each in words]
        reviews = reviews_of(said)
        expected = np.zeros([len(rows), 2])
        for teacher in teachers:
            predict = self_training.piece_predictor(teacher, parts["validation"], config)
            probabilities = predict(word_ids.encode([reviews], teacher.preprocessing))
            expected += probabilities[:, [teacher.names.index(name) for name in trained.names]] / 2
        np.testing.assert_allclose(found[epoch][rows], expected, atol=1e-5)


@pytest.mark.extra
def test_teachers_are_calibrated_before_they_label_pieces(school):
    run = Run.open(school.teachers[0], "sentiment")
    config, teacher = from_json(Config, run.config), load_trained(run)
    head = teacher.model.get_layer("head")
    head.set_weights([50 * weight for weight in head.get_weights()])  # much too certain
    pieces = ["good", "bad film", "the film was lovely and"]
    reviews = reviews_of(pieces)
    plain = self_training.predict_probabilities(teacher, reviews, teacher.names)
    predict = self_training.piece_predictor(teacher, dataset.load(config.data)["validation"], config)
    calibrated = predict(word_ids.encode([reviews], teacher.preprocessing))
    assert (calibrated.max(axis=1) < plain.max(axis=1) - 0.01).all()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.extra
def test_a_resumed_reader_needs_no_teacher_but_its_labels(school, reader, tmp_path, command, monkeypatch, capsys):
    monkeypatch.setattr(self_training, "load_trained", None)
    run = make_unfinished(reader, tmp_path / "run")
    shutil.copy(reader / "piece_labels.npy", run)
    assert command(*school.arguments, *PIECES, "--run", run) == 0
    killing.assert_same_run(run, reader)
    other = make_unfinished(reader, tmp_path / "other")
    np.save(other / "piece_labels.npy", np.zeros([1, 3, 2], np.float32))
    assert command(*school.arguments, *PIECES, "--run", other) == 2
    assert "piece_labels.npy has the shape (1, 3, 2), but the training 2 epochs" in capsys.readouterr().err


@pytest.mark.extra
def test_a_run_without_the_labels_of_its_pieces_asks_the_teachers_again(school, reader, tmp_path, command):
    run = make_unfinished(reader, tmp_path / "run")
    assert command(*school.arguments, *PIECES, "--run", run) == 0
    np.testing.assert_array_equal(np.load(run / "piece_labels.npy"), np.load(reader / "piece_labels.npy"))
    killing.assert_same_run(run, reader)


def make_unfinished(student, run, pseudo_labels=None):
    """Returns the run as it was before its first checkpoint, with its own pseudo-labels or these."""
    run.mkdir()
    for name in ("config.json", "vocabulary.txt", "labels.json", "pseudo_labels.npy"):
        shutil.copy(student / name, run)
    if pseudo_labels is not None:
        np.save(run / "pseudo_labels.npy", pseudo_labels)
    return run


@pytest.mark.extra
def test_a_resumed_run_needs_no_teacher(school, student, tmp_path, command, monkeypatch):
    monkeypatch.setattr(self_training, "load_trained", None)
    run = make_unfinished(student, tmp_path / "run")
    assert command(*school.arguments, "--run", run) == 0
    killing.assert_same_run(run, student)


@pytest.mark.extra
def test_the_student_learns_the_pseudo_labels(school, student, tmp_path, command):
    """If all pseudo-labels are the same, the student prefers that label."""
    texts = ["the film was good", "the film was bad"]
    said = []
    for label in (0, 1):
        run = make_unfinished(student, tmp_path / f"run{label}", np.eye(2)[[label] * 60])
        assert command(*school.arguments, "--run", run) == 0
        trained = load_trained(Run.open(run, "sentiment"))
        said.append(self_training.predict_probabilities(trained, reviews_of(texts), trained.names))
    assert (said[0][:, 0] > said[1][:, 0] + 0.1).all()


@pytest.mark.extra
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pseudo_labels.npy is damaged"),
        (b"no array", "pseudo_labels.npy is damaged"),
        (np.zeros([59, 2], np.float32), "has the shape (59, 2), but the data 60 unlabelled reviews and 2 labels"),
        (np.zeros([60, 3], np.float32), "has the shape (60, 3)"),
    ],
)
def test_invalid_pseudo_labels(school, student, tmp_path, command, capsys, content, message):
    run = make_unfinished(student, tmp_path / "run")
    if isinstance(content, bytes):
        (run / "pseudo_labels.npy").write_bytes(content)
    else:
        np.save(run / "pseudo_labels.npy", content)
    assert command(*school.arguments, "--run", run) == 2
    assert message in capsys.readouterr().err


def test_pseudo_labels_are_appended_to_the_true_labels():
    first = word_ids.LabelledTexts(np.array([5, 6]), np.array([0, 1, 2]), 1, np.eye(2, dtype=np.float32))
    second = word_ids.LabelledTexts(np.array([7, 8]), np.array([0, 2]), 0, np.array([[0.25, 0.75]], np.float32))
    both = first + second
    (batch,) = word_ids.batches(both, batch_reviews=4, batch_words=100)
    place = {int(row): number for number, row in enumerate(batch["rows"])}
    assert [word for word in batch["ids"].numpy()[place[2]] if word] == [7, 8]
    np.testing.assert_array_equal(batch["targets"].numpy()[place[2]], [0.25, 0.75])
    np.testing.assert_array_equal(batch["targets"].numpy()[place[1]], [0, 1])
    np.testing.assert_array_equal(both.labels, [0, 1, 1])
    assert both.cut == 1


def test_unlabelled_reviews_that_are_held_out_are_left_out(tmp_path, make, capsys):
    """Those of the films of validation, and of the test if it was split off; and those with a text of either."""
    make_reviews, write_csv = make
    rows = make_reviews(80, seed=1)
    write_csv(tmp_path / "train.csv", rows)
    write_csv(tmp_path / "unsup.csv", [{**row, "text": f"{row['text']} {number}"} for number, row in enumerate(rows)])
    data = DataConfig(location=str(tmp_path), group_column="film")
    parts = dataset.load(data)
    found = dataset.find_unlabelled(data, parts)
    assert set(found.groups) == set(parts["train"].groups)
    assert f"left out {80 - len(found)} reviews" in capsys.readouterr().err
    write_csv(tmp_path / "test.csv", [{**rows[0], "text": found.texts[0]}, rows[1]])
    parts = dataset.load(data)
    again = dataset.find_unlabelled(data, parts)
    assert set(again.groups) == set(parts["train"].groups) > set(parts["test"].groups)
    assert found.texts[0] not in again.texts


@pytest.fixture
def refused(school, tmp_path, command, capsys):
    def run(message, *arguments):
        assert command(*school.arguments, "--run", tmp_path / "run", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error, error
        assert not (tmp_path / "run").exists()

    return run


@pytest.mark.extra
def test_data_without_unlabelled_reviews(refused, shared):
    message = f"--data {shared.data} has no unlabelled reviews for the --teachers: expected a folder with"
    refused(message, "--data", shared.data)


@pytest.mark.extra
def test_teachers_that_do_not_fit(refused, school, shared, tmp_path):
    names = ["negative", "positive", "neither"]
    message = f"the teacher {shared.run} has the labels negative, positive; expected negative, positive, neither"
    refused(message, "--label-names", *names)
    refused("--split-seed is 7, but 1 in the teacher", "--split-seed", "7")
    message = f"--max-words is 40, but 50 in the teacher {shared.run}: expected the same with --label-pieces"
    refused(message, "--max-words", "40", *PIECES)
    refused("does not exist", "--teachers", tmp_path / "nowhere")
    damaged = shutil.copytree(shared.run, tmp_path / "damaged")
    (damaged / "model.weights.h5").write_bytes((damaged / "model.weights.h5").read_bytes()[:2000])
    refused("damaged/model.weights.h5 does not hold the weights of this model", "--teachers", damaged)


@pytest.mark.extra
def test_the_same_data_by_another_name(refused, school):
    refused("--split-seed is 7, but 1 in the teacher", "--data", f"{school.data}/../data", "--split-seed", "7")
