"""Reading data: its location, tables, splits, batches and tf.data pipelines."""
