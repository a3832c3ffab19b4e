"""A page in the browser for the four tasks: docs/page.md."""
