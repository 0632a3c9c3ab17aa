"""The user's logging, which other libraries would take."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def root_kept() -> Iterator[None]:
    """Keep other libraries from giving the root logger a handler; also a decorator.

    Orbax, grain and TFDS write by absl, which calls `logging.basicConfig` where the root logger has no handler: the
    user's own call would do nothing from then on. Here it has one for as long as it takes, which shows warnings as
    Python does without any.
    """
    shows = logging.StreamHandler()
    shows.setLevel(logging.WARNING)
    root = logging.getLogger()
    if root.handlers:
        yield
        return
    root.addHandler(shows)
    try:
        yield
    finally:
        root.removeHandler(shows)
