"""The user's logging, which other libraries would take."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def root_kept() -> Iterator[None]:
    """Leave the root logger with the handlers that it has; also a decorator.

    Orbax, grain and TFDS write by absl, which gives the root logger a handler where it has none. The user's own
    `logging.basicConfig` would do nothing from then on.
    """
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        yield
    finally:
        root.handlers[:] = handlers
