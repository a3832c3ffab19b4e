"""The code that all pipelines share; it is independent of any task."""
