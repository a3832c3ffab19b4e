"""What every pipeline needs around the graph; it knows no task."""
