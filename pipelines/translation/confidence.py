"""Confidence of translations: the probability that the sentence BLEU of a translation reaches a bar."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np
import sacrebleu

from pipelines.common import confidence
from pipelines.common.data.loading import streamed
from pipelines.common.errors import UserError
from pipelines.translation import dataset
from pipelines.translation.decoder import make_decoder
from pipelines.translation.model import Trained
from pipelines.translation.pairs import Pairs
from pipelines.translation.source_words import MAX_SENTENCES, SourceWords, save_seen

BAR = 30.0  # BLEU of a sentence
MAX_FITTED = 2_000  # sentences
SHARES = 0.3, 1.0  # of the words of a made-up sentence that are replaced, from and to
WEIGHT = 0.5  # of a made-up sentence
INPUTS = ("log_probability", "log_length", "unseen_words", "unseen_pairs", "log_words")
SEED = 1


def learn(trained: Trained, sources: Sequence[str], validation: Pairs) -> Trained:
    """Returns the run with its confidence, and the words that training has seen.

    It is fitted to translations of validation sentences, found with the search of the run, and of as many made-up
    sentences (`made_up`), because validation alone does not show what a model does with other matters.

    Args:
        sources: those of training.
    """
    seen = SourceWords(trained.preprocessing.source, trained.seen).learn_seen(streamed(sources[:MAX_SENTENCES]))
    trained = dataclasses.replace(trained, seen=seen, confidence=None)
    texts, references = validation.by_source()
    random = np.random.default_rng(SEED)
    rows = sorted(random.permutation(len(texts))[:MAX_FITTED].tolist())
    texts, references = [texts[row] for row in rows], [references[row] for row in rows]
    changed = made_up(texts, random)
    answers, evidence = make_decoder([trained]).batched(with_evidence=True, sort_key=len)(texts + changed)
    reached = reaches(sentence_bleu(answers, references + references))
    fitted = {
        "part": "validation",
        "sentences": len(texts),
        "reached": float(reached[: len(texts)].mean()),
        "made_up": len(changed),
        "made_up_reached": float(reached[len(texts) :].mean()),
    }
    found = confidence.fit(
        {name: evidence[name] for name in INPUTS},
        reached,
        bar={"bleu": BAR},
        fitted=fitted,
        weights=np.repeat([1.0, WEIGHT], len(texts)),
    )
    return dataclasses.replace(trained, confidence=found)


def save(run: pathlib.Path, trained: Trained):
    """Writes the files into the folder of a run."""
    assert trained.seen is not None and trained.confidence is not None
    save_seen(run, trained.seen)
    trained.confidence.save(run)  # last: if it exists, both are complete


def learn_if_missing(run: pathlib.Path, trained: Trained) -> Trained:
    """Returns a run with its confidence. If it has none, it is fitted to the validation part of its data, and stored;
    if that part cannot be read, standard error says so."""
    if trained.confidence is not None:
        return trained
    try:
        train, parts = dataset.open_parts(trained.config.data)
        if "validation" not in parts:
            raise UserError(f"--data {trained.config.data.location} has no part validation")
    except UserError as error:
        confidence.report_unfitted(run, error)
        return trained
    sources = [source for source, _ in itertools.islice(train, MAX_SENTENCES)]
    trained = learn(trained, sources, parts["validation"])
    save(run, trained)
    confidence.report_fitted(run)
    return trained


def made_up(sources: list[str], random: np.random.Generator) -> list[str]:
    """Returns sentences in which some words are replaced: by a word of another sentence, or by a word that is made up
    of the beginning of one word and the end of another."""
    words = [word for source in sources for word in source.split()]

    def replaced(word: str) -> str:
        if random.random() < 0.5:
            return words[random.integers(len(words))]
        other = words[random.integers(len(words))]
        return word[: -(-len(word) // 2)] + other[len(other) // 2 :]

    changed = []
    for source in sources:
        rate = random.uniform(*SHARES)
        changed.append(" ".join(replaced(word) if random.random() < rate else word for word in source.split()))
    return changed


def sentence_bleu(texts: list[str], references: list[list[str]]) -> np.ndarray:
    """Returns the BLEU of each sentence by sacrebleu, float64[sentences]; `references`: one or more of each."""
    metric = sacrebleu.BLEU(effective_order=True)
    scores = [metric.sentence_score(text, each).score for text, each in zip(texts, references, strict=True)]
    return np.array(scores)


def reaches(scores: np.ndarray) -> np.ndarray:
    """Returns whether the BLEU of each sentence reaches the bar, bool[sentences]."""
    return scores >= BAR
