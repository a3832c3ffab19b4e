"""Evaluates a run on sentence pairs: BLEU, chrF, perplexity, exact matches, speed."""

import dataclasses
import pathlib
import time
from collections.abc import Callable

import numpy as np
import sacrebleu
import tensorflow as tf

from layers import losses
from layers.teacher_forcing import teacher_forcing
from layers.text import END, START
from pipelines.common.errors import UserError
from pipelines.common.evaluation.reliability import report
from pipelines.common.evaluation.robustness import UNCHANGED, Column, Distortion, measure, show
from pipelines.common.files import write_json, write_tsv
from pipelines.common.metrics import edit_distance
from pipelines.common.pictures.charts import draw_bars
from pipelines.common.runs import Run
from pipelines.translation import dataset
from pipelines.translation.confidence import BAR, learn_if_missing, reaches, sentence_bleu
from pipelines.translation.config import DataConfig
from pipelines.translation.decoder import make_decoder
from pipelines.translation.distortions import DISTORTIONS
from pipelines.translation.model import TranslationModel, load_trained
from pipelines.translation.options import Evaluate

COLUMNS = (Column("bleu", "BLEU", places=2), Column("chrf", "chrF", places=2))  # of the table of distortions
LENGTHS = (0, 6, 9, 12, 15, 19, 24)  # lower limits of the bars of the picture, in words of the source


def evaluate(options: Evaluate) -> dict:
    """Prints a table of scores, and writes metrics.json, translations.tsv, bleu_by_length.png and reliability.png into
    the run; with `robust` also a second table and robustness.png.

    The translations in the files, their confidence, and those of distorted sentences are of the last beam size. Returns
    the scores.
    """
    run, data, part = Run.open(options.run, "translation"), options.data, options.split
    trained = learn_if_missing(run.path, load_trained(run))
    config = trained.config
    penalty = config.search.length_penalty if options.length_penalty is None else options.length_penalty
    source = config.data
    if data:
        source = dataclasses.replace(source, location=data, quoting=options.quoting or source.quoting)
    pairs = dataset.load_all(source, part) if data else dataset.load_part(source, part)
    encoded = dataset.encode(pairs, trained.preprocessing, config.data.max_ratio)
    sources, references = pairs.by_source()
    scores: dict = {
        "data": source.location,
        "split": part,
        "sentences": len(sources),
        "references": len(pairs),
        "length_penalty": penalty,
        "perplexity": float(np.exp(Perplexity(trained.model)(encoded, source))),
        "beams": {},
    }
    decoder = make_decoder([trained], options.replace_unknown)
    for beam_size in options.beam_size or (config.search.beam_size,):
        decode = decoder.batched(with_evidence=True, sort_key=len, beam_size=beam_size, length_penalty=penalty)
        began = time.monotonic()
        texts, numbers = decode(sources)
        seconds = time.monotonic() - began
        scores["beams"][str(beam_size)] = {
            **text_scores(texts, references),
            "sentences_per_second": len(texts) / seconds,
        }
    print(table(scores))
    write_json(run.metrics_file, scores)
    if "confidence" in numbers:
        scores["confidence"] = report(
            numbers["confidence"],
            reaches(sentence_bleu(texts, references)),
            lambda rows: bleu([texts[row] for row in rows], [references[row] for row in rows]).score,
            bar=f"sentence BLEU of at least {BAR:g}",
            name="BLEU",
            png=run.path / "reliability.png",
            places=2,
        )
    if options.robust:
        scores["robust"] = measure_distortions(decode, sources, texts, references)
        show(scores["robust"], DISTORTIONS, COLUMNS, run.path / "robustness.png", f"{source.location}, {part}")
    write_json(run.metrics_file, scores)
    write_translations(run.path / "translations.tsv", sources, texts, references)
    labels, values, counts = bleu_by_length(sources, texts, references)
    draw_bars(
        labels,
        values,
        counts,
        run.path / "bleu_by_length.png",
        title=f"{part}: BLEU {bleu(texts, references).score:.1f}",
        names=("words of the source", "BLEU"),
    )
    return scores


class Perplexity:
    """Computes the mean negative log-likelihood of the tokens and ends of targets in nats, without label smoothing."""

    def __init__(self, model: TranslationModel):
        self.model = model
        ids = tf.TensorSpec([None, None], tf.int32)
        specs = [ids, ids, tf.TensorSpec([None], tf.float32)]
        self.total = tf.function(self.total, input_signature=specs, autograph=False)

    def total(self, source, target, real):
        """Returns (sum over all tokens, number of tokens)."""
        model = self.model
        inputs, targets, weights = teacher_forcing(target, START, END)
        weights *= real[:, None]
        outputs, _ = model.decode(inputs, model.encode(source))
        outputs = tf.reshape(outputs, [-1, model.readout_width])
        each = losses.negative_log_likelihood(
            outputs, model.softmax.kernel, model.softmax.bias, tf.reshape(targets, [-1])
        )
        return tf.reduce_sum(each * tf.reshape(weights, [-1])), tf.reduce_sum(weights)

    def __call__(self, encoded: dataset.Encoded, data: DataConfig) -> float:
        if not len(encoded):
            raise UserError(f"--data {data.location} has no whole pair to compute the perplexity of")
        found = [
            self.total(batch["source"], batch["target"], batch["real"])
            for batch in dataset.batches(encoded, batch_pairs=data.batch_pairs, batch_tokens=data.batch_tokens)
        ]
        return float(sum(total for total, _ in found) / sum(tokens for _, tokens in found))


def bleu(texts: list[str], references: list[list[str]]):
    """Returns the corpus BLEU of sacrebleu. `references`: one or more of each text."""
    return sacrebleu.BLEU().corpus_score(texts, streams(references))


def streams(references: list[list[str]]) -> list[list]:
    """Returns the format of sacrebleu: the first reference of every sentence, the second ones, …; None if missing."""
    most = max(map(len, references))
    return [[each[number] if number < len(each) else None for each in references] for number in range(most)]


def text_scores(texts: list[str], references: list[list[str]]) -> dict:
    """Returns the scores of translations, with the signatures of sacrebleu."""
    metric, letters = sacrebleu.BLEU(), sacrebleu.CHRF()
    found = metric.corpus_score(texts, streams(references))
    return {
        "bleu": found.score,
        "chrf": letters.corpus_score(texts, streams(references)).score,
        "exact_match": float(np.mean([text in each for text, each in zip(texts, references, strict=True)])),
        "brevity_penalty": found.bp,
        "signatures": [str(metric.get_signature()), str(letters.get_signature())],
    }


def measure_distortions(decode: Callable, sources: list[str], texts: list[str], references: list[list[str]]) -> dict:
    """Returns the scores of sentences and of their DISTORTIONS, by name.

    Args:
        decode: function of sources that returns translations, and something else.
        texts: translations of the sources as they are.
        references: one or more of each.
    """

    def scores_of(translations: list[str], expected: list[list[str]]) -> dict:
        found = text_scores(translations, expected)
        return {column.key: found[column.key] for column in COLUMNS}

    def score(distortion: Distortion) -> dict:
        changed = distortion.change(sources, texts, references)
        translations, _ = decode(changed.sources)
        found = scores_of(translations, changed.references)
        if changed.unchanged is not None:
            found[UNCHANGED] = scores_of(changed.unchanged, changed.references)
        return found

    return measure(scores_of(texts, references), DISTORTIONS, score)


def bleu_by_length(sources: list[str], texts: list[str], references: list[list[str]]):
    """Returns (labels, BLEU, numbers of sentences) by the length of the source (Sutskever et al. 2014, Figure 3)."""
    words = np.array([len(source.split()) for source in sources])
    labels, scores, counts = [], [], []
    for start, end in zip(LENGTHS, [*LENGTHS[1:], None], strict=True):
        rows = np.flatnonzero((words >= start) & (words < (end or np.inf)))
        if len(rows):
            labels.append(f"{start}–{end - 1}" if end else f"{start}+")
            scores.append(bleu([texts[row] for row in rows], [references[row] for row in rows]).score)
            counts.append(len(rows))
    return labels, scores, counts


def word_errors(text: str, references: list[str]) -> int:
    """Returns the edit distance in words to the closest reference (Levenshtein 1966)."""
    return min(edit_distance(text.split(), reference.split()) for reference in references)


def write_translations(path: pathlib.Path, sources: list[str], texts: list[str], references: list[list[str]]):
    """Writes a table of all translations, those with the most word errors first."""
    rows = [
        (word_errors(text, each), source, text, " ||| ".join(each))
        for source, text, each in zip(sources, texts, references, strict=True)
    ]
    write_tsv(path, "word_errors source translation references", sorted(rows, key=lambda row: -row[0]))


def table(scores: dict) -> str:
    """Returns the scores as a table to print."""
    lines = [
        f"{scores['data']}, {scores['split']}: {scores['sentences']:,} sentences, {scores['references']:,} references,"
        f" perplexity {scores['perplexity']:.2f}, length penalty {scores['length_penalty']:g}",
        "beam     BLEU     chrF   exact   sentences/s",
    ]
    greedy = "1" if scores["length_penalty"] else "greedy"  # with a penalty, a longer translation may win later on
    for beam, row in scores["beams"].items():
        name = greedy if beam == "1" else beam
        quality = f"{row['bleu']:6.2f}   {row['chrf']:6.2f}  {row['exact_match']:6.1%}"
        lines.append(f"{name:<6} {quality}   {row['sentences_per_second']:11.1f}")
    return "\n".join([*lines, *row["signatures"]])
