"""The recurrent layers that a configuration can choose, by the name of their cell."""

from layers.lstm import LSTM
from layers.rnn import VanillaRNN

CELLS = {"lstm": LSTM, "rnn": VanillaRNN}
