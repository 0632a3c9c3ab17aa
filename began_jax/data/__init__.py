"""Data sets: folders of images, rendered sets, TFDS on disk, and the reader without TensorFlow."""
