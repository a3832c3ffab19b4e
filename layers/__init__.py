"""Recurrent layers, decoding, losses and text: what runs inside the graph and knows no task."""
