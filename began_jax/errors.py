"""The one exception that a user's input can cause; entry points turn it into one line and exit status 2."""


class InputError(ValueError):
    """Wrong command line, file or array: the message says what, where, and what would be right."""


class DivergedError(RuntimeError):
    """A loss is no longer finite; entry points turn it into one line and exit status 1."""
