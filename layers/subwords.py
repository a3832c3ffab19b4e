"""Learns subwords: parts of words that make up all words of a text, so that hardly any token is unknown.

By byte-pair encoding: starting from characters, the most frequent adjacent pair becomes a new subword (Sennrich, Haddow
and Birch: Neural Machine Translation of Rare Words with Subword Units, 2016, https://aclanthology.org/P16-1162).
`Tokenizer` applies them by the longest match from the left, as in WordPiece (Wu et al.: Google's Neural Machine
Translation System, 2016, https://arxiv.org/abs/1609.08144), which needs only the subwords themselves, so the vocabulary
file is sufficient.
"""

import collections
import io
import itertools
from collections.abc import Collection, Iterator, Mapping

LONGEST = 16  # characters of a subword, at most; longer ones are rare words


def learn_subwords(pieces: Mapping[str, int], size: int, min_count: int = 1) -> list[str]:
    """Returns subwords learned from pieces and their counts, the most frequent first, ties in alphabetical order.

    All characters that occur at least `min_count` times are included, so that text made of these is never unknown. The
    other subwords are those of byte-pair encoding that the longest match uses at least `min_count` times.

    Args:
        size: maximum number of subwords.

    Raises:
        ValueError: there are more characters than `size`.
    """
    characters: collections.Counter[str] = collections.Counter()
    for piece, count in pieces.items():
        for character in piece:
            characters[character] += count
    alphabet = {character for character, count in characters.items() if count >= min_count}
    if len(alphabet) > size:
        raise ValueError(
            f"{size} subwords are fewer than the {len(alphabet)} characters that occur {min_count} times or more: "
            "ask for more subwords, or count only characters that occur more often"
        )
    parts: collections.Counter[str] = collections.Counter()  # of pieces, without the characters that stay unknown
    for piece, count in pieces.items():
        for known, characters_of_part in itertools.groupby(piece, alphabet.__contains__):
            if known:
                parts["".join(characters_of_part)] += count
    candidates = alphabet.union(byte_pairs(parts, size - len(alphabet)))
    used = collections.Counter(dict.fromkeys(alphabet, 0))
    for part, count in parts.items():
        for subword in longest_matches(part, candidates):
            used[subword] += count
    kept = (subword for subword, count in used.items() if subword in alphabet or count >= min_count)
    return sorted(kept, key=lambda subword: (-used[subword], subword))


def byte_pairs(parts: Mapping[str, int], size: int) -> list[str]:
    """The first `size` subwords of at least two characters that sentencepiece's byte-pair encoding finds."""
    # one character has no pair; sentencepiece reserves U+2585 for unknown tokens and skips text that contains it
    parts = {part: count for part, count in sorted(parts.items()) if len(part) > 1 and "\u2585" not in part}
    if not parts or not size:
        return []
    import sentencepiece  # imported here because only learning needs it

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(f"{part}\t{count}" for part, count in parts.items()),
        input_format="tsv",
        model_writer=model,
        model_type="bpe",
        vocab_size=size + len(set().union(*parts)) + 1,  # sentencepiece counts characters and <unk> as well
        hard_vocab_limit=False,
        max_sentencepiece_length=LONGEST,
        character_coverage=1.0,
        # the pieces unchanged
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_number=False,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    learned = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    found = (learned.id_to_piece(number) for number in range(len(learned)) if not learned.is_unknown(number))
    return [subword for subword in found if len(subword) > 1]


def longest_matches(piece: str, subwords: Collection[str]) -> Iterator[str]:
    """The same as `cut_pieces` in tokenizer.py, for one piece in Python, to count subwords for a vocabulary."""
    while piece:
        starts = (piece[:length] for length in range(min(LONGEST, len(piece)), 0, -1))
        found = next((start for start in starts if start in subwords), piece[0])
        yield found
        piece = piece[len(found) :]
