"""What the entry points share: a one-line error with status 2, interruption, and quiet third-party logs."""

import argparse
import contextlib
import dataclasses
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from began_jax.errors import DivergedError, InputError


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        # "(default: None)" says nothing; such an option tells its default, if any, in words
        return action.help if action.default is None else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose help shows the defaults and whose errors are one line."""

    def __init__(self, **kwargs):
        kwargs.setdefault("formatter_class", _HelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(**kwargs)

    def error(self, message: str) -> NoReturn:
        """Prints `PROG: error: MESSAGE` to standard error and exits with status 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")


def one_line(message: object) -> str:
    """Returns the message with every run of white space, line ends included, as one blank."""
    return " ".join(str(message).split())


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def run(main: Callable[[], None], prog: str | None = None) -> None:
    """Runs an entry point: InputError is one line and status 2, DivergedError 1, Ctrl-C 130, SIGTERM 143."""
    quiet_logs()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except InputError as error:
        print(f"{prog or os.path.basename(sys.argv[0])}: error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
    except DivergedError as error:
        print(f"{prog or os.path.basename(sys.argv[0])}: error: {one_line(error)}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Notes Ctrl-C and SIGTERM in the list it gives, to act on between steps; a second one ends at once."""
    received: list[int] = []

    def note(signum: int, frame: object) -> None:
        if received:
            raise SystemExit(128 + signum)
        received.append(signum)

    previous = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    caught = [signum for signum, handler in previous.items() if handler is not signal.SIG_IGN]  # by nohup or &
    for signum in caught:
        signal.signal(signum, note)
    try:
        yield received
    finally:
        for signum in caught:
            signal.signal(signum, previous[signum])


def quiet_logs() -> None:
    """Lets only warnings of absl, tensorflow-datasets, Orbax, grain and JAX through."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.WARNING)
    absl_logging.set_stderrthreshold("warning")
    for name in ("absl", "orbax", "grain", "jax", "tensorflow_datasets"):
        logging.getLogger(name).setLevel(logging.WARNING)


def add_options(parser: argparse.ArgumentParser, presets: dict[str, Any], skip: tuple[str, ...] = ("preset",)) -> None:
    """Adds an option for each field of the presets' dataclass; the help shows the default in every preset.

    An option that is not given is absent from the parsed arguments, so that a preset can supply it.
    """
    first = next(iter(presets.values()))
    for field in dataclasses.fields(first):
        if field.name in skip:
            continue
        defaults: dict[str, list[str]] = {}
        for name, preset in presets.items():
            defaults.setdefault(_shown(getattr(preset, field.name)), []).append(name)
        text = " ".join(f"{value} ({', '.join(names)})" for value, names in defaults.items())
        text = next(iter(defaults)) if len(defaults) == 1 else text
        kind: dict[str, Any] = {
            "type": type(getattr(first, field.name)),
            "choices": field.metadata["choices"],
        }
        if isinstance(getattr(first, field.name), bool):
            kind = {"action": argparse.BooleanOptionalAction}
        elif isinstance(getattr(first, field.name), tuple):
            kind = {"type": _widths}
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            default=argparse.SUPPRESS,
            help=f"{field.metadata['help']} [default: {text}]".replace("%", "%%"),
            **kind | ({} if "action" in kind else {"metavar": _metavar(first, field)}),
        )


def add_annotator(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say which T annotates generated images, and in how many processes."""
    parser.add_argument(
        "--annotator",
        metavar="NAME",
        help="T for generated images: dlib, segmenter, FILE.py:NAME, PACKAGE.MODULE:NAME, or network, a small one "
        "trained on the data set's own annotations; default: the one that the run used before, or prepare.py did, "
        "otherwise network",
    )
    parser.add_argument("--workers", type=int, help="processes that T runs in; default: one a core")


def given_options(args: argparse.Namespace, preset: Any) -> Any:
    """The preset with the options that were given on the command line."""
    names = {field.name for field in dataclasses.fields(preset)}
    return dataclasses.replace(preset, **{k: v for k, v in vars(args).items() if k in names and k != "preset"})


def _metavar(preset: Any, field: dataclasses.Field) -> str:
    if field.metadata["choices"]:
        return "{" + ",".join(map(str, field.metadata["choices"])) + "}"
    return {int: "N", float: "X", str: "NAME", tuple: "N,N,..."}[type(getattr(preset, field.name))]


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value) if value != "" else "none"


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of positive numbers such as 64,128,192,256")
    return widths
