"""Charts and pictures, drawn with matplotlib and Pillow."""
