"""Serves exports over HTTP, with the REST interface of TensorFlow Serving: docs/serving.md."""
