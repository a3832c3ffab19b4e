"""The released models answer the examples of the READMEs as these say."""

import json
import os
import shutil
import subprocess
import sys

import pytest

TRANSLATIONS = {  # of the demo, of the picture in the README, and of saved_models/README.md
    "Zwei Hunde rennen am Strand.": "Two dogs run on the beach.",
    "ein mann mit hut repariert sein fahrrad": "A man in a hat is fixing his bike.",
    "Zwei kleine Hunde spielen am Strand mit einem roten Ball.": "Two small dogs play with a red ball on the beach.",
}
REVIEWS = {  # of the demo and of the READMEs
    "Not a bad film.": "positive",
    "What a film!": "positive",
    "The film was not good.": "negative",
    "The plot is thin, but the two leads make it worth every minute.": "positive",
}


@pytest.fixture
def predict(root, tmp_path):
    """Returns a function that returns the answers of a released model, which is copied first: its folder stays as it
    is."""

    def run(task: str, name: str, *arguments: str) -> list[dict]:
        model = tmp_path / name
        shutil.copytree(root / "saved_models" / task / name, model, ignore=shutil.ignore_patterns("export"))
        command = [sys.executable, "-m", f"pipelines.{task}", "predict", "--model", str(model), *arguments]
        done = subprocess.run(command, cwd=root, env=os.environ, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.mark.extra
def test_reviews(predict):
    *answers, empty = predict("sentiment", "imdb", *REVIEWS, "")
    assert {answer["text"]: answer["label"] for answer in answers} == REVIEWS
    assert empty["probability"] == 0.5


@pytest.mark.extra
def test_translations(predict):
    other_matter = "Der Bundestag hat das Gesetz in dritter Lesung beschlossen."
    *answers, doubtful = predict("translation", "multi30k-de-en", *TRANSLATIONS, other_matter)
    assert {answer["source"]: answer["translation"] for answer in answers} == TRANSLATIONS
    assert all(answer["confidence"] > 0.5 for answer in answers) and doubtful["confidence"] < 0.3


@pytest.mark.extra
def test_captions(predict):
    photos = ["data/samples/photos/photographer.jpg", "data/samples/photos/coffee.jpg"]
    photographer, coffee = predict("captioning", "flickr8k", *photos)
    assert photographer["caption"].split().count("camera") == 2  # as the README says below the picture
    assert coffee["confidence"] < 0.3 < photographer["confidence"]
