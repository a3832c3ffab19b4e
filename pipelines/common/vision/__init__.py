"""Images and videos: decoding, convolutional encoders, and the cache of their features."""
