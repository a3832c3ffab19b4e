"""The answers of the tabs. These modules import TensorFlow: the tabs import them when they are first used."""
