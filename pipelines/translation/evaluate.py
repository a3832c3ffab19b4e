"""Scores of a run on sentence pairs: BLEU, chrF, perplexity, exact match, speed."""

import pathlib
import time

import numpy as np
import sacrebleu
import tensorflow as tf

from layers import losses
from layers.teacher_forcing import teacher_forcing
from layers.text import END, START
from pipelines.common import pictures
from pipelines.common.errors import UserError
from pipelines.common.runs import Run, atomic_write, write_json
from pipelines.translation import dataset
from pipelines.translation.config import Config
from pipelines.translation.model import Translator, load_trained
from pipelines.translation.translate import Translation

SENTENCES_AT_ONCE = 64
LENGTHS = (0, 6, 9, 12, 15, 19, 24)  # words of a source from which a bar of the picture begins


def evaluate(
    run_path: pathlib.Path, data: str | None, part: str, beam_sizes: tuple[int, ...], length_penalty: float | None
) -> dict:
    """Scores the run at `run_path`: prints a table, and writes metrics.json, translations.tsv (with the last beam size)
    and bleu_by_length.png into the run.

    Args:
        data: sentence pairs; None: the data the run was trained with.
        part: "train", "validation", "test" or the stem of a file; a table given as `data` is scored as a whole.
        beam_sizes: score with each of these; none: with that of the run.
        length_penalty: None: that of the run.
    """
    run = Run.open(run_path, "translation")
    trained = load_trained(run)
    config = Config.from_json({**run.config, **({"data": data} if data else {})})
    penalty = config.length_penalty if length_penalty is None else length_penalty
    pairs = dataset.load_all(config, part) if data else dataset.load_part(config, part)
    encoded = dataset.encode(pairs, trained.preprocessing, config.max_ratio)
    sources, references = pairs.by_source()
    scores = {
        "data": config.data,
        "split": part,
        "sentences": len(sources),
        "references": len(pairs),
        "length_penalty": penalty,
        "perplexity": float(np.exp(Perplexity(trained.model)(encoded, config))),
        "beams": {},
    }
    translation = Translation([trained])
    for beam_size in beam_sizes or (config.beam_size,):
        began = time.monotonic()
        answers = Translating(translation, beam_size=beam_size, length_penalty=penalty)(sources)
        seconds = time.monotonic() - began
        texts = [answer["translation"] for answer in answers]
        scores["beams"][str(beam_size)] = {
            **text_scores(texts, references),
            "sentences_per_second": len(texts) / seconds,
        }
    write_json(run.metrics_file, scores)
    write_translations(run.path / "translations.tsv", sources, texts, references)
    pictures.bars(
        *bleu_by_length(sources, texts, references),
        run.path / "bleu_by_length.png",
        title=f"{part}: BLEU {bleu(texts, references).score:.1f}",
        names=("words of the source", "BLEU"),
    )
    print(table(scores))
    return scores


class Perplexity:
    """Mean negative log-likelihood of the targets' tokens, in nats, ends included and without smoothing."""

    def __init__(self, model: Translator):
        self.model = model
        ids = tf.TensorSpec([None, None], tf.int32)
        specs = [ids, ids, tf.TensorSpec([None], tf.float32)]
        self.total = tf.function(self.total, input_signature=specs, autograph=False)

    def total(self, source, target, real):
        """(sum over all tokens, how many)."""
        model = self.model
        inputs, targets, weights = teacher_forcing(target, START, END)
        weights *= real[:, None]
        read = tf.reshape(model.read(inputs, model.encode(source)), [-1, model.readout_width])
        each = losses.negative_log_likelihood(read, model.softmax.kernel, model.softmax.bias, tf.reshape(targets, [-1]))
        return tf.reduce_sum(each * tf.reshape(weights, [-1])), tf.reduce_sum(weights)

    def __call__(self, encoded: dataset.Encoded, config: Config) -> float:
        if not len(encoded):
            raise UserError(f"--data {config.data} has no whole pair to compute the perplexity of")
        found = [
            self.total(batch["source"], batch["target"], batch["real"])
            for batch in dataset.batches(encoded, batch_pairs=config.batch_pairs, batch_tokens=config.batch_tokens)
        ]
        return float(sum(total for total, _ in found) / sum(tokens for _, tokens in found))


class Translating:
    """{"translation", "score"} of sentences; those of similar length are translated together."""

    def __init__(self, translation: Translation, *, beam_size: int, length_penalty: float = 0.0):
        limit = translation.members[0].config.max_tokens

        def translate(source):
            if beam_size == 1 and not length_penalty:
                return translation.greedy(source, limit)
            return translation.beam(source, tf.constant([""]), beam_size, length_penalty, 0, limit)

        self.translate = tf.function(translate, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def __call__(self, sources: list[str]) -> list[dict]:
        answers: list[dict] = [{}] * len(sources)
        order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
        for start in range(0, len(order), SENTENCES_AT_ONCE):
            rows = order[start : start + SENTENCES_AT_ONCE]
            found = self.translate(tf.constant([sources[row] for row in rows], tf.string))
            for row, text, score in zip(rows, found["translation"].numpy(), found["score"].numpy(), strict=True):
                answers[row] = {"translation": text.decode(), "score": float(score)}
        return answers


def bleu(texts: list[str], references: list[list[str]]):
    """sacrebleu's corpus BLEU with its defaults; `references` are those of each text, as many as it has."""
    return sacrebleu.BLEU().corpus_score(texts, streams(references))


def streams(references: list[list[str]]) -> list[list[str | None]]:
    """The first reference of every sentence, the second, …; None where a sentence has fewer (what sacrebleu takes)."""
    most = max(map(len, references))
    return [[each[number] if number < len(each) else None for each in references] for number in range(most)]


def text_scores(texts: list[str], references: list[list[str]]) -> dict:
    """Scores of translations, with sacrebleu's signatures."""
    metric, letters = sacrebleu.BLEU(), sacrebleu.CHRF()
    found = metric.corpus_score(texts, streams(references))
    return {
        "bleu": found.score,
        "chrf": letters.corpus_score(texts, streams(references)).score,
        "exact_match": float(np.mean([text in each for text, each in zip(texts, references, strict=True)])),
        "brevity_penalty": found.bp,
        "signatures": [str(metric.get_signature()), str(letters.get_signature())],
    }


def bleu_by_length(sources: list[str], texts: list[str], references: list[list[str]]):
    """(labels, BLEU, sentences) by words of the source, as in Figure 3 of Sutskever et al. 2014."""
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
    """The fewest words to insert, delete or replace that make a reference of the text (Levenshtein 1966)."""
    return min(edits(text.split(), reference.split()) for reference in references)


def edits(first: list[str], second: list[str]) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def write_translations(path: pathlib.Path, sources: list[str], texts: list[str], references: list[list[str]]):
    """A table of all translations, those with the most wrong words first."""
    rows = [
        (word_errors(text, each), source, text, " ||| ".join(each))
        for source, text, each in zip(sources, texts, references, strict=True)
    ]
    with atomic_write(path) as file:
        file.write("word_errors\tsource\ttranslation\treferences\n")
        for row in sorted(rows, key=lambda row: -row[0]):
            file.write("\t".join(" ".join(str(cell).split()) for cell in row) + "\n")


def table(scores: dict) -> str:
    """The scores for people."""
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
