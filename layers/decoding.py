"""Greedy search, sampling and beam search over a model's next-token probabilities, inside the graph.

A model is a function `step(token_ids int32[rows], state) -> (logits float[rows, vocabulary], state)`. `state` is any
structure (tf.nest) of tensors whose first axis is rows. The rows of finished sentences are removed to save time, so
which sentence a row belongs to, and how many rows there are, changes from step to step. A step must therefore treat
every row independently, and whatever it needs of a sentence, such as an encoded source, must be in the rows of the
state. For the same reason XLA cannot compile the loop: call it outside of `jit_compile`. For several models, see
`ensemble`.

All decoders follow the same rules. A sentence is a sequence of tokens followed by the end token, which does not count
in the length.

* Its log-probability is the sum over its tokens and its end token, under the model, without the rules below.
* `max_length` forces the end, so the score of a truncated sentence also includes that of its end.
* `min_length` excludes the end in any shorter sentence, unless it is forced.
* `prefix` (the lecture's warm start), int32[batch, time] with PADDING on the right, forces the first tokens of each
  sentence. It counts in the length. A prefix longer than `max_length` is the whole sentence; with `max_length` 0 this
  scores given sentences. An end token inside it ends the sentence.
* `forbidden` tokens are never generated; a prefix may contain them.

Numbers (lengths, sizes, temperatures, seeds) may be Python numbers or scalar tensors, such as the inputs of a
signature. One that is out of range raises ValueError, or InvalidArgumentError if it is known only at run time.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from layers.decoding_rules import (
    IMPOSSIBLE,
    NEVER,
    Decoded,
    Rules,
    block_top_k,
    decoded,
    log_normalizer,
    log_probability,
    loop,
    pick,
    put,
    scalar,
)
from layers.text import PADDING


def ensemble(steps: Sequence[Callable]) -> Callable:
    """Returns the step of several models, which share a vocabulary: it averages their probabilities (Sutskever et al.
    2014 average five). Its state is the tuple of their states, its logits are the logarithms of the mean probabilities.
    Of a single model, the logits are those of the model.
    """

    def step(token_ids, state):
        results = [member(token_ids, member_state) for member, member_state in zip(steps, state, strict=True)]
        states = tuple(state for _, state in results)
        if len(steps) == 1:
            return results[0][0], states
        probabilities = [tf.nn.softmax(tf.cast(logits, tf.float32)) for logits, _ in results]
        return tf.math.log(tf.add_n(probabilities) / len(steps)), states

    return step


def greedy(step: Callable, state, *, start, end, max_length, min_length=0, prefix=None, forbidden=()) -> Decoded:
    """Greedy search: returns the sentences of the most probable token at every step.

    Args:
        step: the model, see above.
        state: structure of tensors [batch, ...], the state before the first token.
        start: the token that the first step reads, a number or int32[batch].
        end: the token that ends a sentence.
        max_length, min_length, prefix, forbidden: see above.

    Returns:
        One candidate per sentence; its score is its log-probability.

    Raises:
        ValueError: a number is out of range, the end is forbidden, or the prefix and the state differ in rows.
    """
    rules = Rules(state, end, max_length, min_length, prefix, forbidden)
    return _one_by_one(step, state, start, rules, lambda logits, t: tf.argmax(logits, axis=1, output_type=tf.int32))


def sample(
    step: Callable,
    state,
    *,
    start,
    end,
    max_length,
    min_length=0,
    prefix=None,
    forbidden=(),
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    seed,
) -> Decoded:
    """Returns sentences whose tokens are drawn from the model's distribution, all of it or only the probable tokens.

    Args:
        temperature: divides the logits; 0 is greedy.
        top_k: draw only from this many most probable tokens; 0: from all.
        top_p: draw only from the nucleus, the smallest set of most probable tokens (of the top_k) whose probabilities
            sum to this (Holtzman et al. 2020, "The curious case of neural text degeneration"); 1: from all. It sorts
            the vocabulary, or the top_k.
        seed: an integer; the same seed, state and numbers give the same sentences.
        Other arguments, errors: see `greedy`.

    Returns:
        One candidate per sentence; its score is its log-probability under the model, without temperature, top_k and
        top_p.
    """
    rules = Rules(state, end, max_length, min_length, prefix, forbidden)
    temperature = tf.maximum(scalar("temperature", temperature, tf.float32, least=0), 1e-6)
    top_k = scalar("top_k", top_k, tf.int32, least=0)
    top_p = scalar("top_p", top_p, tf.float32, least=0)
    seed = tf.cast(seed, tf.int64)

    def choose(logits, t):
        def draw(logits):
            seeds = tf.stack([seed, tf.cast(t, tf.int64)])
            drawn = tf.random.stateless_categorical(logits, 1, seeds, tf.int32)[:, 0]
            return tf.minimum(drawn, tf.shape(logits)[1] - 1)  # if no token is possible, the draw is out of range

        def draw_most_probable():
            vocabulary = tf.shape(scaled)[1]
            largest, tokens = tf.math.top_k(scaled, tf.where(top_k > 0, tf.minimum(top_k, vocabulary), vocabulary))
            before = tf.cumsum(tf.nn.softmax(largest), axis=1, exclusive=True)
            first = tf.range(tf.shape(largest)[1]) == 0
            nucleus = first | (before < top_p) | (top_p >= 1)
            return tf.gather(tokens, draw(tf.where(nucleus, largest, NEVER)), batch_dims=1)

        scaled = logits / temperature
        return tf.cond((top_k > 0) | (top_p < 1), draw_most_probable, lambda: draw(scaled))

    return _one_by_one(step, state, start, rules, choose)


def beam_search(
    step: Callable,
    state,
    *,
    start,
    end,
    beam_size,
    max_length,
    min_length=0,
    length_penalty=0.0,
    prefix=None,
    forbidden=(),
) -> Decoded:
    """Returns the best sentences found by a search with `beam_size` hypotheses (Sutskever et al. 2014, section 3.2).

    At every step each open hypothesis is extended by every token. A hypothesis is finished when its end is among the
    `beam_size` best extensions of the step; the search continues with the `beam_size` best that did not end. The best
    `beam_size` finished ones are kept. The search stops when no open hypothesis can become better than the worst of
    them, since log-probabilities only decrease.

    Args:
        beam_size: number of hypotheses, and of candidates, per sentence.
        length_penalty: alpha >= 0 of Wu et al. 2016 ("Google's neural machine translation system", equation 14):
            finished hypotheses compare by log-probability / ((5 + length) / 6)^alpha. 0: by log-probability.
        Other arguments, errors: see `greedy`. The state is [batch, ...]; the step receives [batch * beam_size, ...].

    Returns:
        `beam_size` candidates per sentence; the scores are the quotients above.
    """
    rules = Rules(state, end, max_length, min_length, prefix, forbidden)
    beam = scalar("beam_size", beam_size, tf.int32, least=1)
    alpha = scalar("length_penalty", length_penalty, tf.float32, least=0)
    batch = rules.batch

    def penalty(length):
        return ((5 + tf.cast(length, tf.float32)) / 6) ** alpha

    def with_new_column(ids):
        return tf.pad(ids, [[0, 0], [0, 0], [0, 1]], constant_values=PADDING)

    def body(t, sentences, tokens, state, scores, ids, finished_scores, finished_lengths, finished_ids):
        logits, state = step(tokens, state)
        words, word_scores, end_scores = _extensions(tf.cast(logits, tf.float32), t, sentences, beam, rules)
        choices = tf.shape(words)[2]

        # The best extensions that do not end, and the ends among the best of all extensions.
        word_scores = tf.reshape(scores[:, :, None] + word_scores, [-1, beam * choices])
        word_scores, chosen = tf.math.top_k(word_scores, beam)  # [open, beam]
        best_scores, best = tf.math.top_k(tf.concat([word_scores, scores + end_scores], axis=1), beam)
        ended_scores = tf.where(best >= beam, best_scores, NEVER) / penalty(t)
        ended_ids = tf.gather(with_new_column(ids), tf.maximum(best - beam, 0), batch_dims=1)  # [open, beam, t + 1]

        # The best finished hypotheses, of those so far and those that end at this step.
        finished_ids = with_new_column(finished_ids)
        candidate_scores = tf.concat([tf.gather(finished_scores, sentences), ended_scores], axis=1)  # [open, 2 beam]
        candidate_ids = tf.concat([tf.gather(finished_ids, sentences), ended_ids], axis=1)
        candidate_lengths = tf.concat([tf.gather(finished_lengths, sentences), tf.fill(tf.shape(best), t)], axis=1)
        candidate_scores, order = tf.math.top_k(candidate_scores, beam)
        finished_scores = put(finished_scores, sentences, candidate_scores)
        finished_lengths = put(finished_lengths, sentences, tf.gather(candidate_lengths, order, batch_dims=1))
        finished_ids = put(finished_ids, sentences, tf.gather(candidate_ids, order, batch_dims=1))

        # The open hypotheses of the sentences whose search continues.
        continuing = tf.where(word_scores[:, 0] / penalty(rules.max_length) > candidate_scores[:, -1])[:, 0]
        parents = tf.gather(chosen // choices, continuing)  # [still open, beam]
        tokens = tf.gather(tf.gather(tf.reshape(words, [-1, beam * choices]), chosen, batch_dims=1), continuing)
        ids = tf.gather(tf.gather(ids, continuing), parents, batch_dims=1)
        ids = tf.concat([ids, tokens[:, :, None]], axis=2)
        rows = tf.reshape(tf.cast(continuing, tf.int32)[:, None] * beam + parents, [-1])  # [still open * beam]
        state = tf.nest.map_structure(lambda x: tf.gather(x, rows), state)
        scores, sentences = tf.gather(word_scores, continuing), tf.gather(sentences, continuing)
        tokens = tf.reshape(tokens, [-1])
        return t + 1, sentences, tokens, state, scores, ids, finished_scores, finished_lengths, finished_ids

    first_alone = tf.where(tf.range(beam) == 0, 0.0, NEVER)  # at first all hypotheses of a sentence are equal
    _, _, scores, lengths, ids = loop(
        body,
        rules,
        tf.repeat(tf.broadcast_to(tf.cast(start, tf.int32), [batch]), beam),
        tf.nest.map_structure(lambda x: tf.repeat(x, beam, axis=0), state),
        tf.tile(first_alone[None], [batch, 1]),
        tf.zeros([batch, beam, 0], tf.int32),
        tf.fill([batch, beam], NEVER),
        tf.zeros([batch, beam], tf.int32),
        tf.zeros([batch, beam, 0], tf.int32),
    )
    return decoded(ids, lengths, scores)


def _one_by_one(step, state, start, rules, choose) -> Decoded:
    """Returns one candidate per sentence, for greedy search and sampling.

    `choose(logits float32[open, vocabulary], t)` returns the next tokens, int32[open]; excluded tokens have the logit
    -inf. `open` is the number of sentences that are not finished.
    """

    def body(t, sentences, tokens, state, scores, lengths, ids):
        logits, state = step(tokens, state)
        logits = tf.cast(logits, tf.float32)
        normalizer = log_normalizer(logits, tf.reduce_max(logits, axis=1))
        allowed = tf.where(rules.excluded(t, tf.shape(logits)[1]) | tf.math.is_nan(logits), NEVER, logits)
        forced, given = rules.forced(t, sentences)
        tokens = tf.where(forced, given, choose(allowed, t))
        gained = log_probability(pick(tf.where(forced[:, None], logits, allowed), tokens), normalizer)
        gained = tf.where(forced, tf.maximum(gained, IMPOSSIBLE), gained)
        scores = tf.tensor_scatter_nd_add(scores, sentences[:, None], gained)

        continuing = tf.where((tokens != rules.end) & (gained > NEVER))[:, 0]  # -inf: no token was possible
        sentences, tokens = tf.gather(sentences, continuing), tf.gather(tokens, continuing)
        state = tf.nest.map_structure(lambda x: tf.gather(x, continuing), state)
        lengths = put(lengths, sentences, tf.fill(tf.shape(sentences), t + 1))
        column = put(tf.fill([rules.batch], PADDING), sentences, tokens)
        return t + 1, sentences, tokens, state, scores, lengths, tf.concat([ids, column[:, None]], axis=1)

    batch = rules.batch
    scores, lengths, ids = loop(
        body,
        rules,
        tf.broadcast_to(tf.cast(start, tf.int32), [batch]),
        state,
        tf.zeros([batch]),
        tf.zeros([batch], tf.int32),
        tf.zeros([batch, 0], tf.int32),
    )
    return decoded(ids[:, None], lengths[:, None], scores[:, None])


def _extensions(logits, t, sentences, beam, rules):
    """Returns the extensions of open hypotheses that can be among the best.

    Args:
        logits: float32[open * beam, vocabulary].

    Returns:
        words: int32[open, beam, choices], tokens that do not end the sentence.
        word_scores: float32[open, beam, choices], their log-probabilities; -inf: excluded.
        end_scores: float32[open, beam], those of the end.
    """

    def by_sentence(x):
        return tf.reshape(x, tf.concat([[-1, beam], tf.shape(x)[1:]], axis=0))

    # Instead of masking the whole vocabulary, take as many more words as may turn out to be excluded.
    excluded = tf.concat([rules.forbidden, [rules.end]], axis=0)
    largest, words = block_top_k(logits, beam + tf.size(excluded))
    normalizer = log_normalizer(logits, largest[:, 0])
    word_scores = log_probability(largest, normalizer[:, None])
    word_scores = tf.where(tf.reduce_any(words[:, :, None] == excluded, axis=2), NEVER, word_scores)
    words, word_scores = by_sentence(words), by_sentence(word_scores)
    end_scores = by_sentence(log_probability(logits[:, rules.end], normalizer))
    end_scores = tf.where(t < rules.min_length, NEVER, end_scores)

    forced, given = rules.forced(t, sentences)
    given_scores = by_sentence(log_probability(pick(logits, tf.repeat(given, beam)), normalizer))
    given_scores = tf.maximum(given_scores, IMPOSSIBLE)
    is_end = given == rules.end
    end_scores = tf.where(forced[:, None], tf.where(is_end[:, None], given_scores, NEVER), end_scores)
    only_choice = ~is_end[:, None, None] & (tf.range(tf.shape(words)[2]) == 0)
    forced, given_scores = forced[:, None, None], given_scores[:, :, None]
    word_scores = tf.where(forced, tf.where(only_choice, given_scores, NEVER), word_scores)
    return tf.where(forced, given[:, None, None], words), word_scores, end_scores
