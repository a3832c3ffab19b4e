"""The tasks, one folder each, and what they share in `common`: what runs around the graph."""
