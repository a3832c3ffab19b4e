"""Recurrent layers, decoding, losses and text processing: everything that runs inside the graph, for any task."""
