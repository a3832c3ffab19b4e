"""Decoding against plain Python: all sentences there are, and the same searches written a second time.

The model of these tests remembers all of its history: its state is a number that every token changes (modulo NODES),
and each sentence has a table of its own from that number to logits.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from layers.decoding import IMPOSSIBLE, Decoded, beam_search, ensemble, greedy, sample

START, END = 1, 2
NODES = 97
rows_seen = tf.Variable(0, dtype=tf.int64)


def history_model(tables):
    """(step, first state) of float[batch, NODES, vocabulary]."""
    batch, _, vocabulary = tf.unstack(tf.shape(tables))

    def step(token_ids, state):
        rows_seen.assign_add(tf.size(token_ids, tf.int64))
        node = (state["node"] * vocabulary + token_ids + 1) % NODES
        logits = tf.gather_nd(tables, tf.stack([state["sentence"], node], axis=1))
        with tf.control_dependencies([tf.debugging.assert_equal(state["history"][1][:, 0, 1], state["sentence"])]):
            return logits, {**state, "node": node}

    sentences = tf.range(batch)
    history = (tf.ones([batch]), tf.stack([[sentences, sentences]] * 2, axis=-1)[0][:, None])
    return step, {"sentence": sentences, "node": tf.zeros([batch], tf.int32), "history": history}


@functools.cache
def compiled(method: str, forbidden: tuple[int, ...]):
    """A decoder in a graph of any batch, vocabulary and numbers."""

    def run(tables, prefix, numbers):
        step, state = history_model(tables)
        decoder = {"greedy": greedy, "sample": sample, "beam": beam_search}[method]
        return decoder(step, state, start=START, end=END, prefix=prefix, forbidden=forbidden, **numbers)

    integers = ["max_length", "min_length", *{"greedy": [], "sample": ["top_k", "seed"], "beam": ["beam_size"]}[method]]
    floats = {"greedy": [], "sample": ["temperature", "top_p"], "beam": ["length_penalty"]}[method]
    numbers = {name: tf.TensorSpec([], tf.int32) for name in integers}
    numbers |= {name: tf.TensorSpec([], tf.float32) for name in floats}
    shapes = [tf.TensorSpec([None, None, None], tf.float32), tf.TensorSpec([None, None], tf.int32), numbers]
    return tf.function(run, input_signature=shapes)


@dataclass
class Case:
    """Some sentences to decode, and the rules."""

    tables: np.ndarray  # float32[batch, NODES, vocabulary]
    prefixes: list[list[int]]
    max_length: int
    min_length: int = 0
    length_penalty: float = 0.0
    forbidden: tuple[int, ...] = ()

    def decode(self, method, **numbers):
        """(what the decoder gives, how many rows its model was asked for)."""
        numbers = {"max_length": self.max_length, "min_length": self.min_length, **numbers}
        if method == "beam":
            numbers["length_penalty"] = self.length_penalty
        numbers = {
            name: tf.constant(value, tf.int32 if isinstance(value, int) else tf.float32)
            for name, value in numbers.items()
        }
        rows_seen.assign(0)
        decoded = compiled(method, self.forbidden)(self.tables, padded(self.prefixes), numbers)
        return decoded, int(rows_seen)

    def one_by_one(self):
        for n, prefix in enumerate(self.prefixes):
            yield Case(
                self.tables[n : n + 1], [prefix], self.max_length, self.min_length, self.length_penalty, self.forbidden
            )

    # The rules in plain Python, for the only sentence of a case.

    @functools.cached_property
    def log_probabilities(self):
        logits = self.tables[0].astype(float)
        logits -= logits.max(axis=1, keepdims=True)
        return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).tolist()

    @property
    def limit(self):
        return max(self.max_length, len(self.prefixes[0]))

    def own(self, tokens):
        """The model's own log-probabilities of the token behind these."""
        node = 0
        for token in (START, *tokens):
            node = (node * self.tables.shape[2] + token + 1) % NODES
        return self.log_probabilities[node]

    def choices(self, tokens):
        """token -> log-probability of those that may come behind these."""
        own, prefix = self.own(tokens), self.prefixes[0]
        if len(tokens) < len(prefix):
            allowed = [prefix[len(tokens)]]
        elif len(tokens) >= self.limit:
            allowed = [END]
        else:
            allowed = [token for token in range(len(own)) if token not in self.forbidden]
            if len(tokens) < self.min_length:
                allowed.remove(END)
        return {token: own[token] for token in allowed}

    def penalized(self, score, length):
        return score / ((5 + length) / 6) ** self.length_penalty


def padded(lists):
    longest = max(map(len, lists), default=0)
    return np.array([[*ids, *[0] * (longest - len(ids))] for ids in lists], np.int32).reshape(len(lists), longest)


def all_sentences(case, tokens=(), score=0.0):
    """[(log-probability, tokens)] of every sentence that the rules allow."""
    found = []
    for token, gained in case.choices(tokens).items():
        if token == END:
            found.append((score + gained, tokens))
        else:
            found += all_sentences(case, (*tokens, token), score + gained)
    return found


def plain_greedy(case):
    score, tokens = 0.0, ()
    while choices := case.choices(tokens):
        token = max(choices, key=choices.get)
        score += choices[token]
        if token == END:
            return [(score, tokens)]
        tokens = (*tokens, token)
    return []


def plain_beam_search(case, beam_size, stops=True):
    """([(score, tokens)], steps made), by the rule of Sutskever et al. 2014."""
    open_ones, finished, steps = [(0.0, ())], [], 0
    while open_ones:
        steps += 1
        extensions = sorted(
            (
                (score + gained, tokens, token)
                for score, tokens in open_ones
                for token, gained in case.choices(tokens).items()
            ),
            reverse=True,
        )
        for score, tokens, token in extensions[:beam_size]:
            if token == END:
                finished.append((case.penalized(score, len(tokens)), tokens))
        finished = sorted(finished, reverse=True)[:beam_size]
        going_on = [(score, (*tokens, token)) for score, tokens, token in extensions if token != END]
        open_ones = going_on[:beam_size]
        if stops and open_ones and len(finished) == beam_size:
            best_possible = max(case.penalized(open_ones[0][0], length) for length in range(steps, case.limit + 1))
            if best_possible <= finished[-1][0]:
                break
    return finished, steps


def check(decoded, row, expected):
    """That this sentence's candidates are the expected [(score, tokens)], the best first, and then there are none."""
    assert decoded.scores.dtype == tf.float32
    assert decoded.ids.dtype == decoded.lengths.dtype == tf.int32
    ids, lengths, scores = (part[row].numpy() for part in decoded)
    found = [tuple(candidate[:length]) for candidate, length in zip(ids.tolist(), lengths, strict=True)]
    assert found[: len(expected)] == [tuple(tokens) for _, tokens in expected]
    np.testing.assert_allclose(scores[: len(expected)], [score for score, _ in expected], rtol=1e-5, atol=2e-5)
    assert all(scores[len(expected) :] == -np.inf)
    assert not any(lengths[len(expected) :])
    assert not ids[np.arange(ids.shape[1]) >= lengths[:, None]].any()


def close(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@st.composite
def cases(draw, largest_vocabulary=5, longest=4, penalties=(0.0, 0.6, 1.0, 3.0)):
    batch = draw(st.integers(1, 3))
    forbidden = draw(st.sampled_from([(), (0, 1)]))
    vocabulary = draw(st.integers(3 + len(forbidden) // 2, largest_vocabulary))
    words = [token for token in range(1, vocabulary) if token != END]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tables = random.normal(size=[batch, NODES, vocabulary]) * draw(st.sampled_from([0.3, 2.0]))
    tables[:, :, END] += draw(st.sampled_from([-2.0, 0.0, 2.0]))
    return Case(
        tables=tables.astype("float32"),
        prefixes=[draw(st.lists(st.sampled_from(words), max_size=longest + 1)) for _ in range(batch)],
        max_length=draw(st.integers(0, longest)),
        min_length=draw(st.integers(0, longest + 1)),
        length_penalty=draw(st.sampled_from(penalties)),
        forbidden=forbidden,
    )


def examples(number):
    return settings(max_examples=number, deadline=None, derandomize=True, database=None)


@pytest.mark.extra
@examples(50)
@given(cases(longest=3))
def test_a_beam_that_holds_everything_finds_the_best_of_all_sentences(case):
    words = case.tables.shape[2]
    every_extension = max(words ** (case.max_length + 1), words)
    decoded, _ = case.decode("beam", beam_size=every_extension)
    assert decoded.ids.shape[:2] == (len(case.prefixes), every_extension)
    for row, alone in enumerate(case.one_by_one()):
        expected = [(alone.penalized(score, len(tokens)), tokens) for score, tokens in all_sentences(alone)]
        check(decoded, row, sorted(expected, reverse=True))


@examples(200)
@given(cases(largest_vocabulary=9, longest=7), st.sampled_from([1, 2, 3, 5, 12]))
def test_a_small_beam_is_the_plain_search(case, beam_size):
    """Steps included: none is made for a sentence that is finished, nor when nothing can change any more."""
    decoded, rows = case.decode("beam", beam_size=beam_size)
    steps = 0
    for row, alone in enumerate(case.one_by_one()):
        expected, its_steps = plain_beam_search(alone, beam_size)
        assert plain_beam_search(alone, beam_size, stops=False)[0] == expected
        check(decoded, row, expected)
        steps += its_steps
    assert rows == steps * beam_size


@examples(100)
@given(cases(largest_vocabulary=9, longest=7, penalties=[0.0]))
def test_greedy_is_the_plain_search_and_a_beam_of_one(case):
    decoded, rows = case.decode("greedy")
    expected = [plain_greedy(alone) for alone in case.one_by_one()]
    for row, candidates in enumerate(expected):
        check(decoded, row, candidates)
    if all(expected):
        assert rows == sum(len(tokens) + 1 for [(_, tokens)] in expected)
    close(decoded, case.decode("beam", beam_size=1)[0])


@pytest.mark.parametrize("vocabulary", [64, 150])
@pytest.mark.parametrize("known", [True, False])
def test_a_large_vocabulary(vocabulary, known):
    """More than one block of it: the best may lie in any, and several in one."""
    random = np.random.default_rng(vocabulary)
    tables = random.normal(size=[3, NODES, vocabulary]).astype("float32") * 2
    tables[1] = np.sort(tables[1], axis=1)
    forbidden = (0, 1, vocabulary - 1)
    case = Case(tables, [[], [5], [7, vocabulary - 1]], max_length=6, length_penalty=0.6, forbidden=forbidden)
    if known:
        step, state = history_model(tf.constant(tables))
        rules = {"max_length": 6, "length_penalty": 0.6, "forbidden": forbidden}
        decoded = beam_search(
            step, state, start=START, end=END, beam_size=5, prefix=padded(case.prefixes), **rules
        )  # here outside of a graph, too
    else:
        decoded, _ = case.decode("beam", beam_size=5)
    for row, alone in enumerate(case.one_by_one()):
        check(decoded, row, plain_beam_search(alone, 5)[0])


def ragged_case(seed=0, **rules):
    """Sentences of several prefixes, the last one longer than max_length, which end at several lengths."""
    tables = np.random.default_rng(seed).normal(size=[4, NODES, 6]).astype("float32") * 2
    tables[:, :, END] += np.array([[3], [0], [-3], [0]])
    return Case(tables, [[], [3], [3, 4], [5, 4, 5, 3, 3]], **{"max_length": 4, "forbidden": (0, 1), **rules})


SAMPLING = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 7}
DECODERS = pytest.mark.parametrize(
    ("method", "numbers"), [("greedy", {}), ("sample", SAMPLING), ("beam", {"beam_size": 3})]
)


@DECODERS
def test_a_batch_is_its_sentences_one_by_one(method, numbers):
    case = ragged_case(max_length=7)
    if method == "sample":
        numbers = {**numbers, "top_k": 1}  # which numbers are drawn for a row depends on its place
    whole, _ = case.decode(method, **numbers)
    assert len(set(whole.lengths[:, 0].numpy())) > 2
    for row, alone in enumerate(case.one_by_one()):
        decoded, _ = alone.decode(method, **numbers)
        time = decoded.ids.shape[2]
        close((whole.ids[row, :, :time], whole.lengths[row], whole.scores[row]), [part[0] for part in decoded])
        assert not whole.ids[row, :, time:].numpy().any()


@DECODERS
@pytest.mark.parametrize("max_length", [0, 1, 4, 9])
def test_a_prefix_is_kept_and_counts(method, numbers, max_length):
    case = ragged_case(max_length=max_length, min_length=3)
    decoded, _ = case.decode(method, **numbers)
    for row, (alone, prefix) in enumerate(zip(case.one_by_one(), case.prefixes, strict=True)):
        candidates = decoded.scores[row].numpy() > -np.inf
        assert candidates[0]
        lengths = decoded.lengths[row].numpy()[candidates]
        assert (lengths <= alone.limit).all()
        assert (lengths >= min(3, alone.limit)).all()
        for ids, length, score in zip(*(part[row].numpy() for part in decoded), strict=True):
            if score > -np.inf:
                tokens = ids[:length].tolist()
                assert tokens[: len(prefix)] == prefix
                assert math.isclose(score, own_score(alone, tokens), rel_tol=1e-5)
        if len(prefix) >= max_length:
            assert lengths.tolist() == [len(prefix)]


def own_score(case, tokens):
    return sum(case.own(tokens[:t])[token] for t, token in enumerate([*tokens, END]))


@DECODERS
def test_a_sentence_cut_at_one_token_ends(method, numbers):
    decoded, _ = ragged_case(max_length=1, min_length=1).decode(method, **numbers)
    assert decoded.lengths[0, 0] == 1
    assert decoded.ids[0, 0, 0] in (3, 4, 5)


@DECODERS
def test_a_prefix_that_the_model_excludes_is_kept(method, numbers):
    case = ragged_case()
    case.tables[:, :, 3] = -np.inf
    case.tables[:, :, END] = -np.inf  # the forced end too
    decoded, _ = case.decode(method, **numbers)
    assert decoded.ids[1, 0, 0] == 3
    assert decoded.ids[2, 0, :2].numpy().tolist() == [3, 4]
    assert decoded.lengths[:, 0].numpy().tolist() == [4, 4, 4, 5]
    assert not np.isnan(decoded.scores).any()
    np.testing.assert_allclose(decoded.scores[:, 0] / IMPOSSIBLE, [1, 2, 2, 3], rtol=5e-3)


@DECODERS
def test_an_end_inside_of_a_prefix_ends_the_sentence(method, numbers):
    case = ragged_case()
    case.prefixes = [[3, END, 4]] * 4
    decoded, _ = case.decode(method, **numbers)
    for row, alone in enumerate(case.one_by_one()):
        check(Decoded(*(part[:, :1] for part in decoded)), row, [(own_score(alone, [3]), [3])])


@DECODERS
@pytest.mark.parametrize(
    ("logits", "tokens"),
    [(np.nan, slice(0, None)), (np.nan, 4), (np.inf, 4), (-np.inf, slice(2, None))],  # the last: the forbidden alone
)
def test_where_nothing_is_possible_there_is_no_sentence(method, numbers, logits, tokens):
    case = ragged_case(max_length=7)
    case.tables[0, :, tokens] = logits
    case.prefixes[0] = [3]  # so that a sentence has begun
    decoded, _ = case.decode(method, **numbers)
    check(decoded, 0, [])
    for row, alone in list(enumerate(case.one_by_one()))[1:]:
        others, _ = alone.decode(method, **numbers)
        if method != "sample":
            assert decoded.lengths[row, 0] == others.lengths[0, 0]
        assert decoded.scores[row, 0] > -np.inf


@DECODERS
def test_an_empty_batch(method, numbers):
    case = ragged_case()
    case.tables, case.prefixes = case.tables[:0], []
    decoded, rows = case.decode(method, **numbers)
    candidates = 3 if method == "beam" else 1
    assert [part.shape for part in decoded] == [(0, candidates, 0), (0, candidates), (0, candidates)]
    assert rows == 0


# Sampling -------------------------------------------------------------------------------------------------------------


def drawn_probabilities(case, temperature, top_k, top_p, tokens=(), probability=1.0):
    """sentence -> probability to be drawn, over all sentences."""
    choices = case.choices(tokens)
    weights = {token: math.exp(own / temperature) for token, own in choices.items()}
    ranked = sorted(weights, key=weights.get, reverse=True)[: top_k or None]
    total, nucleus, mass = sum(weights[token] for token in ranked), [], 0.0
    for token in ranked:
        if mass >= top_p:
            break
        nucleus.append(token)
        mass += weights[token] / total
    total = sum(weights[token] for token in nucleus)
    found = {}
    for token in nucleus:
        share = probability * weights[token] / total
        if token == END:
            found[tokens] = share
        else:
            found |= drawn_probabilities(case, temperature, top_k, top_p, (*tokens, token), share)
    return found


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [(1.0, 0, 1.0), (0.6, 0, 1.0), (2.0, 0, 1.0), (1.0, 3, 1.0), (1.0, 0, 0.7), (1.5, 3, 0.8), (1.0, 50, 1.0)],
)
def test_sentences_are_drawn_as_often_as_they_are_probable(temperature, top_k, top_p):
    times = 10_000
    table = np.random.default_rng(3).normal(size=[1, NODES, 7]).astype("float32")
    case = Case(table, [[3]], max_length=3, min_length=2, forbidden=(0, 1))
    probabilities = drawn_probabilities(case, temperature, top_k, top_p)
    assert math.isclose(sum(probabilities.values()), 1)

    many = Case(np.broadcast_to(table, [times, NODES, 7]), [[3]] * times, 3, 2, forbidden=(0, 1))
    numbers = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": 5}
    decoded, _ = many.decode("sample", **numbers)
    counts = dict.fromkeys(probabilities, 0)
    for ids, length, score in zip(*(part[:, 0].numpy() for part in decoded), strict=True):
        tokens = tuple(ids[:length].tolist())
        if not counts[tokens]:
            assert math.isclose(score, own_score(case, tokens), rel_tol=1e-5)
        counts[tokens] += 1
    found = np.array(list(counts.values()))
    expected = np.array(list(probabilities.values())) * times
    rare = expected < 8
    found, expected = ([*values[~rare], values[rare].sum()] for values in (found, expected))
    freedom = len(expected) - 1
    assert freedom >= 5
    statistic = sum((f - e) ** 2 / max(e, 8) for f, e in zip(found, expected, strict=True))
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)

    again, _ = many.decode("sample", **numbers)
    for ours, theirs in zip(decoded, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other, _ = many.decode("sample", **{**numbers, "seed": 6})
    assert (other.scores.numpy() != decoded.scores.numpy()).mean() > 0.3


@pytest.mark.parametrize("cut", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.0}])
def test_sampling_of_the_best_alone_is_greedy(cut):
    case = ragged_case(max_length=7)
    close(case.decode("sample", **{**SAMPLING, **cut})[0], case.decode("greedy")[0])


# Ensembles and precision ----------------------------------------------------------------------------------------------


@pytest.mark.extra
def test_an_ensemble_averages_probabilities():
    tables = np.random.default_rng(0).normal(size=[3, 4, NODES, 6]).astype("float32") * 2
    members = [history_model(tf.constant(table)) for table in tables]
    in_full, second_state = members[1]

    def in_half(token_ids, state):
        logits, inner = in_full(token_ids, state[0])
        return tf.cast(logits, tf.float16), [inner]

    members[1] = in_half, [second_state]
    tables[1] = tables[1].astype("float16")

    probabilities = np.exp(tables) / np.exp(tables).sum(axis=-1, keepdims=True)
    average = Case(np.log(probabilities.mean(axis=0)), [[], [3], [4, 5], []], max_length=5, length_penalty=0.5)
    rules = {"start": START, "end": END, "max_length": 5, "prefix": padded(average.prefixes)}
    states = tuple(state for _, state in members)
    step = ensemble([step for step, _ in members])
    close(tf.function(lambda: greedy(step, states, **rules))(), average.decode("greedy")[0])
    rules |= {"beam_size": 4, "length_penalty": 0.5}
    close(tf.function(lambda: beam_search(step, states, **rules))(), average.decode("beam", beam_size=4)[0])


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("decoder", [greedy, functools.partial(beam_search, beam_size=2)])
def test_half_precision_logits_are_summed_in_full(dtype, decoder):
    def step(token_ids, state):
        return tf.fill([tf.size(token_ids), 5000], tf.constant(30, dtype)), state

    decoded = decoder(step, tf.zeros([1]), start=START, end=END, max_length=2, min_length=2)
    np.testing.assert_allclose(decoded.scores[0, 0], -3 * math.log(5000), rtol=1e-6)


# Exports, and what is refused -----------------------------------------------------------------------------------------


@pytest.mark.extra
def test_all_of_it_runs_in_a_saved_model(tmp_path):
    random = np.random.default_rng(0)
    module = tf.Module()
    module.table = tf.Variable(random.normal(size=[7, 64]).astype("float32"))
    module.recurrent = tf.Variable(random.normal(size=[7, 7]).astype("float32"))
    module.embedding = tf.Variable(random.normal(size=[64, 7]).astype("float32"))

    def step(token_ids, h):
        h = tf.tanh(tf.gather(module.embedding, token_ids) + h @ module.recurrent)
        return h @ module.table, h

    first = tf.TensorSpec([None, 7], name="state")
    prefix = tf.TensorSpec([None, None], tf.int32, name="prefix")
    rules = {"start": START, "end": END, "forbidden": (0, 1)}

    def numbers(**kinds):
        return [tf.TensorSpec([], kind, name=name) for name, kind in kinds.items()]

    @tf.function(input_signature=[first, prefix, *numbers(beam_size=tf.int32, max_length=tf.int32, alpha=tf.float32)])
    def beam(state, prefix, beam_size, max_length, alpha):
        return beam_search(
            step,
            state,
            beam_size=beam_size,
            max_length=max_length,
            length_penalty=alpha,
            prefix=prefix,
            **rules,
        )._asdict()

    @tf.function(
        input_signature=[
            first,
            *numbers(max_length=tf.int32, temperature=tf.float32, top_k=tf.int32, top_p=tf.float32, seed=tf.int64),
        ]
    )
    def draw(state, max_length, temperature, top_k, top_p, seed):
        options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
        return sample(step, state, max_length=max_length, **options, **rules)._asdict()

    @tf.function(input_signature=[first])
    def best(state):
        return greedy(step, state, max_length=9, **rules)._asdict()

    signatures = {"beam": beam, "sample": draw, "greedy": best}
    tf.saved_model.save(module, tmp_path, signatures=signatures)
    loaded = tf.saved_model.load(tmp_path)
    for batch in (1, 4):
        state = tf.constant(random.normal(size=[batch, 7]), tf.float32)
        prefix = tf.constant(padded([[], [5, 6, 7], [9], [8]][:batch]))
        arguments = {
            "beam": (state, prefix, tf.constant(5), tf.constant(6), tf.constant(0.6)),
            "sample": (state, tf.constant(6), tf.constant(0.9), tf.constant(20), tf.constant(0.9), tf.constant(2**40)),
            "greedy": (state,),
        }
        for name, function in signatures.items():
            expected = function(*arguments[name])
            names = loaded.signatures[name].structured_input_signature[1]
            by_name = dict(zip([spec.name for spec in function.input_signature], arguments[name], strict=True))
            assert names.keys() == by_name.keys()
            found = loaded.signatures[name](**by_name)
            assert found["ids"].shape[:2] == (batch, 5 if name == "beam" else 1)
            for part in expected:
                np.testing.assert_array_equal(found[part], expected[part])
        # Outside of any graph the answers are the same.
        close(
            beam_search(step, state, beam_size=5, max_length=6, length_penalty=0.6, prefix=prefix, **rules),
            beam(*arguments["beam"]).values(),
        )
    with pytest.raises(tf.errors.InvalidArgumentError, match="beam_size, expected 1 or more, is"):
        beam(state, prefix, tf.constant(0), tf.constant(6), tf.constant(0.6))
    with pytest.raises(tf.errors.InvalidArgumentError, match="length_penalty, expected 0 or more, is"):
        beam(state, prefix, tf.constant(3), tf.constant(6), tf.constant(-0.6))
    with pytest.raises(tf.errors.InvalidArgumentError, match="numbers of rows of the prefix and of the state"):
        beam(state, prefix[:3], tf.constant(3), tf.constant(6), tf.constant(0.6))


@pytest.mark.parametrize(
    ("decoder", "wrong", "message"),
    [
        (greedy, {"max_length": -1}, "max_length is -1, expected 0 or more"),
        (greedy, {"min_length": tf.constant(-2)}, "min_length is -2, expected 0 or more"),
        (greedy, {"forbidden": (0, END)}, r"end token 2 is among the forbidden \(0, 2\)"),
        (greedy, {"prefix": np.ones([3, 2], np.int32)}, "prefix has 3 rows and the state 2"),
        (greedy, {"state": ()}, "state has no tensor"),
        (sample, {"seed": 0, "temperature": -0.5}, "temperature is -0.5"),
        (sample, {"seed": 0, "temperature": math.nan}, "temperature is nan"),
        (sample, {"seed": 0, "top_k": -1}, "top_k is -1"),
        (sample, {"seed": 0, "top_p": -0.1}, "top_p is -0.1"),
        (beam_search, {"beam_size": 0}, "beam_size is 0, expected 1 or more"),
        (beam_search, {"beam_size": 2, "length_penalty": -0.1}, "length_penalty is -0.1, expected 0 or more"),
    ],
)
def test_what_is_out_of_range_is_refused(decoder, wrong, message):
    arguments = {"state": tf.zeros([2, 1]), "start": START, "end": END, "max_length": 3, **wrong}
    with pytest.raises(ValueError, match=message):
        decoder(lambda ids, state: (tf.zeros([2, 4]), state), **arguments)
