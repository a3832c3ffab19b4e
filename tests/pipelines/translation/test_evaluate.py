import csv
import json

import numpy as np
import pytest
import sacrebleu

from pipelines.common.runs import Run
from pipelines.translation import dataset
from pipelines.translation.decoder import make_decoder
from pipelines.translation.evaluate import (
    Perplexity,
    bleu,
    bleu_by_length,
    text_scores,
    word_errors,
)
from pipelines.translation.model import load_trained
from pipelines.translation.train import make_loss


@pytest.fixture(scope="module")
def trained(shared):
    return load_trained(Run.open(shared.run, "translation"))


def test_the_table_and_the_files_of_an_evaluation(shared, command, capsys):
    assert command("evaluate", "--run", shared.run, "--beam-size", "1", "3") == 0
    out = capsys.readouterr().out
    assert "test: 17 sentences, 24 references" in out  # some sources come twice
    assert "greedy" in out and "|case:mixed|eff:no|tok:13a|" in out
    scores = json.loads((shared.run / "metrics.json").read_text())
    assert set(scores["beams"]) == {"1", "3"}
    for row in scores["beams"].values():
        assert {"bleu", "chrf", "exact_match", "brevity_penalty", "sentences_per_second", "signatures"} == set(row)
    assert scores["perplexity"] > 1
    with open(shared.run / "translations.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    errors = [int(row["word_errors"]) for row in rows]
    assert len(rows) == scores["sentences"] and errors == sorted(errors, reverse=True)
    assert (shared.run / "bleu_by_length.png").stat().st_size > 1000


def test_a_missing_part(shared, command, capsys):
    assert command("evaluate", "--run", shared.run, "--split", "test_1999") == 2
    assert "has no part test_1999: expected test_1999.en and test_1999.fr" in capsys.readouterr().err


def test_bleu_uses_every_reference():
    texts = ["the cat sat on the mat now", "a dog runs over there today"]
    references = [["the cat sat on the mat now", "a cat was there"], ["a dog runs over there today"]]
    assert bleu(texts, references).score == pytest.approx(100)
    assert bleu(texts, [["no", references[0][0]], references[1]]).score == pytest.approx(100)
    one = [["the cat is on the mat today"], ["a dog ran over there yesterday"]]
    assert bleu(texts, one).score == pytest.approx(sacrebleu.corpus_bleu(texts, [[each[0] for each in one]]).score)
    scores = text_scores(texts, one)
    assert 0 < scores["bleu"] < 60 and 0 < scores["chrf"] < 60 and scores["exact_match"] == 0


def test_every_sentence_is_in_one_bar():
    sources = ["w " * n for n in (1, 5, 6, 8, 9, 30)]
    texts = ["a b c d e f"] * 6
    labels, scores, counts = bleu_by_length(sources, texts, [[text] for text in texts])
    assert labels == ["0–5", "6–8", "9–11", "24+"]
    assert counts == [2, 2, 1, 1]
    np.testing.assert_allclose(scores, 100)


def test_perplexity_is_that_of_the_training_loss_without_smoothing(shared, trained):
    pairs = dataset.load_part(trained.config.data, "validation")
    encoded = dataset.encode(pairs, trained.preprocessing, 4.0)
    found = Perplexity(trained.model)(encoded, trained.config.data)
    loss = make_loss(trained.model, trained.config.loss, trained.config.training)
    sums = [loss(batch, False)["nll"] for batch in dataset.batches(encoded, batch_pairs=5, batch_tokens=100)]
    assert found == pytest.approx(float(sum(t for t, _ in sums)) / float(sum(w for _, w in sums)), rel=1e-5)
    assert float(sum(w for _, w in sums)) == len(encoded.targets.ids) + len(encoded)


def test_sentences_keep_their_order_and_do_not_depend_on_their_batch(trained):
    decoder = make_decoder([trained])
    sources = ["This star isn't blue!", "A red car.", "", "A green house.", "zzz"]
    for beam_size in (1, 4):
        decode = decoder.batched(sort_key=len, beam_size=beam_size, length_penalty=0.0)
        translations, numbers = decode(sources)
        for number, source in enumerate(sources):
            alone, found = decode([source])
            assert alone == [translations[number]]
            assert found["score"][0] == pytest.approx(numbers["score"][number], abs=1e-4)
        assert translations[2] == "" and numbers["score"][2] == 0


def test_word_errors_are_those_to_the_closest_reference():
    assert word_errors("a b", ["a c d", "a"]) == 1
