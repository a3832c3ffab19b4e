"""Reading data: where it is, tables, and tf.data pipelines."""
