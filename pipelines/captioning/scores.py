"""Scores of captions given the references of their images, computed as in coco-caption (Chen et al. 2015, "Microsoft
COCO captions: data collection and evaluation server").

Texts are converted to lower case, contractions are split as in the Penn treebank and punctuation is removed, so that
"A dog's ball." and "a dog 's ball" are equal. `captions` is a list of strings, and `references` contains a list of one
or more strings for each of them.
"""

import collections
import math
import re

import numpy as np

WORDS = re.compile(r"[^\W_]+(?:[-.][^\W_]+)*|'[^\W_]+|[&$%#@+=*/]")  # a hyphen or dot inside a word is a part of it
CONTRACTION = re.compile(r"(?<=[^\W_])(n't|'(?:s|m|d|ll|re|ve))\b")
N = 4  # length of the longest n-grams
TINY, SMALL = 1e-15, 1e-9  # added by coco-caption to matches and numbers of n-grams, to avoid the logarithm of zero
SIGMA = 6.0  # CIDEr-D: standard deviation of the Gaussian penalty of the length difference
BETA = 1.2  # ROUGE-L: weight of recall


def words_of(text: str) -> list[str]:
    """Returns the words of a text that are compared."""
    text = CONTRACTION.sub(r" \1 ", text.lower().replace("’", "'"))
    return [word for word in re.findall(r"n't|" + WORDS.pattern, text) if word]


def ngrams(words: list[str], n: int) -> collections.Counter:
    return collections.Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def all_scores(captions: list[str], references: list[list[str]]) -> dict[str, float]:
    """Returns bleu1 … bleu4, cider, rouge_l, exact_match (each at most 1, cider at most 10) and distinct_words."""
    words = [words_of(caption) for caption in captions]
    others = [[words_of(reference) for reference in each] for each in references]
    return {
        **{f"bleu{n}": score for n, score in enumerate(bleu(words, others), start=1)},
        "cider": float(np.mean(cider_d(words, others))),
        "rouge_l": rouge_l(words, others),
        "exact_match": float(np.mean([mine in each for mine, each in zip(words, others, strict=True)])),
        "distinct_words": len({word for mine in words for word in mine}),
    }


def scores_of_each(captions: list[str], references: list[list[str]]) -> list[float]:
    """Returns the CIDEr-D of each caption; the mean is the score of all."""
    words = [words_of(caption) for caption in captions]
    return cider_d(words, [[words_of(reference) for reference in each] for each in references])


def novel(captions: list[str], known: list[str]) -> float:
    """Returns the share of captions that are not among the known ones, such as those of training."""
    seen = {tuple(words_of(caption)) for caption in known}
    return float(np.mean([tuple(words_of(caption)) not in seen for caption in captions]))


def bleu(captions: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """Returns BLEU-1 to BLEU-4 of all captions together (Papineni et al. 2002).

        BLEU-N = BP exp(mean over n <= N of log p(n))

    p(n) is the share of n-grams that occur in a reference, each counted at most as often as in the reference with most
    occurrences; BP = min(1, exp(1 - r / c)), where c is the length of all captions and r that of the references with
    the closest length (the shorter one of two that are equally close).
    """
    matches, totals = np.zeros(N), np.zeros(N)
    length, nearest = 0, 0
    for mine, others in zip(captions, references, strict=True):
        length += len(mine)
        nearest += min((abs(len(other) - len(mine)), len(other)) for other in others)[1]
        for n in range(1, N + 1):
            most: collections.Counter = collections.Counter()
            for other in others:
                most |= ngrams(other, n)
            matches[n - 1] += (ngrams(mine, n) & most).total()
            totals[n - 1] += max(len(mine) - n + 1, 0)
    precisions = (matches + TINY) / (totals + SMALL)
    ratio = (length + TINY) / (nearest + SMALL)
    penalty = min(1.0, math.exp(1 - 1 / ratio))
    return [float(penalty * np.prod(precisions[:n]) ** (1 / n)) for n in range(1, N + 1)]


def cider_d(captions: list[list[str]], references: list[list[list[str]]]) -> list[float]:
    """Returns the CIDEr-D of each caption, whose mean is that of all captions."""
    score = CiderD(references)
    return [score(words, image) for image, words in enumerate(captions)]


class CiderD:
    """The score CIDEr-D of captions of given images (Vedantam et al. 2015, "CIDEr: consensus-based image description
    evaluation", section 6).

        CIDEr-D = 10 / (4 R) sum over n and references of exp(-(l - l')^2 / (2 sigma^2)) min(g, g') g' / (|g| |g'|)

    g and g' are the TF-IDF vectors of the n-grams of caption and reference: their counts times log(images / df), where
    df is the number of images with the n-gram in a reference. (As in coco-caption, lengths are numbers of bigrams.)

    Args:
        references: One or more captions of each image, as words.
    """

    def __init__(self, references: list[list[list[str]]]):
        counted = [[count_all(other) for other in others] for others in references]
        self.frequency: collections.Counter = collections.Counter()
        for others in counted:
            self.frequency.update({ngram for other in others for counts in other for ngram in counts})
        self.images = math.log(len(references))
        self.references = [[self._weigh(other) for other in others] for others in counted]

    def __call__(self, words: list[str], image: int) -> float:
        """Returns the score of a caption of the image with this number, from 0 to 10."""
        vectors, length = self._weigh(count_all(words))
        total = 0.0
        for other_vectors, other_length in self.references[image]:
            near = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
            for (mine, norm), (other, other_norm) in zip(vectors, other_vectors, strict=True):
                if norm and other_norm:
                    # In the order of the words: the order of a set differs between processes, and so would the last
                    # digit of the sum, by which a resumed run could choose another epoch.
                    shared = sum(min(weight, other[g]) * other[g] for g, weight in mine.items() if g in other)
                    total += near * shared / (norm * other_norm)
        return 10 * total / (N * len(self.references[image]))

    def _weigh(self, counts: list[collections.Counter]) -> tuple[list[tuple[dict, float]], int]:
        """Returns for each n (weights by n-gram, their norm), and the length."""
        vectors = []
        for of_length in counts:
            vector = {g: times * (self.images - math.log(max(self.frequency[g], 1))) for g, times in of_length.items()}
            vectors.append((vector, math.sqrt(sum(weight**2 for weight in vector.values()))))
        return vectors, counts[1].total()


def count_all(words: list[str]) -> list[collections.Counter]:
    return [ngrams(words, n) for n in range(1, N + 1)]


def rouge_l(captions: list[list[str]], references: list[list[list[str]]]) -> float:
    """Returns the mean ROUGE-L of the captions (Lin 2004).

        F = (1 + beta^2) P R / (R + beta^2 P)

    P and R are the maximum over the references of the length of the longest common subsequence, divided by the length
    of the caption (P) or of the reference (R).
    """
    scores = []
    for mine, others in zip(captions, references, strict=True):
        common = [longest_common(mine, other) for other in others]
        precision = max(found / max(len(mine), 1) for found in common)
        recall = max(found / max(len(other), 1) for found, other in zip(common, others, strict=True))
        both = recall + BETA**2 * precision
        scores.append((1 + BETA**2) * precision * recall / both if both else 0.0)
    return float(np.mean(scores))


def longest_common(first: list[str], second: list[str]) -> int:
    """Returns the length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for a in first:
        diagonal = 0
        for j, b in enumerate(second, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]
