"""The six stages, in order; each module has its command line, `parser`, and its story, `main`."""

NAMES = ("prepare", "train", "invert", "aspect", "generate", "evaluate")
COMMANDS = (*NAMES, "export", "compress")  # what a run gives besides new images
