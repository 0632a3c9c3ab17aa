"""What the entry points share: a one-line error with status 2, interruption, and quiet third-party logs."""

import argparse
import contextlib
import dataclasses
import errno
import io
import logging
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from began_jax import sharding
from began_jax.errors import DivergedError, InputError
from began_jax.options import check_options, choices_of, flag

# What JAX says when a process is gone: of several types, by the transport that noticed.
_LOST = re.compile("Gloo|NCCL|[Hh]eartbeat|Barrier failed|coordination service|Connection (closed|reset)|Socket closed")

# Why a file or folder cannot be written, where that is the user's to mend and no mistake of ours.
_UNWRITABLE = {"EACCES", "EPERM", "EEXIST", "ENOTDIR", "EISDIR", "EROFS", "ENOSPC", "EDQUOT"}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        # "(default: None)" says nothing; such an option tells its default, if any, in words
        return action.help if action.default in (None, "") else super()._get_help_string(action)


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose help shows the defaults and whose errors are one line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _HelpFormatter)
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(**kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does; the address of a bucket where a folder is meant is an error."""
        found, rest = super().parse_known_args(args, namespace)
        for name, value in vars(found).items():
            for place in value if isinstance(value, (list, tuple)) else [value]:
                # pathlib has made one slash of two, and would take the scheme for a folder
                form = r"([a-z][a-z0-9+.-]+):/" if isinstance(place, Path) else r"(gs|s3|https?)://"
                if isinstance(place, (Path, str)) and (scheme := re.match(form, str(place))):
                    remedy = "mount it (gcsfuse, s3fs, goofys) and give the folder"
                    self.error(f"{flag(name)}: {scheme[1]}:// is no folder of this machine; {remedy}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Print `PROG: error: MESSAGE` to standard error, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}\n")


def program(script: str) -> str:
    """Return how this stage was called, for its messages: `began-jax STAGE`, or else its script."""
    called = os.path.basename(sys.argv[0])
    return called if called.startswith("began-jax ") else script


def one_line(message: object) -> str:
    """Return the message with every run of white space, line ends included, as one blank."""
    return " ".join(str(message).split())


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def run(main: Callable[[], None], prog: str | None = None) -> None:
    """Run an entry point: InputError is one line and status 2, DivergedError 1, Ctrl-C 130, SIGTERM 143.

    A place that cannot be written counts as an InputError. What reads the output and ends before, such as head, is no
    error of this command: its status is then 141, as the shell knows it.
    """
    quiet_logs()
    for stream in (sys.stdout, sys.stderr):  # names of files that a terminal's encoding lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with errors_end_now(prog):
            main()
        sys.stdout.flush()
    except BrokenPipeError:
        left = [stream for stream in (sys.stdout, sys.stderr) if _unread(stream)]
        if not left:
            raise  # it was another pipe
        with open(os.devnull, "w") as nowhere:
            for stream in left:
                os.dup2(nowhere.fileno(), stream.fileno())  # what is flushed at the end
        raise SystemExit(128 + signal.SIGPIPE) from None
    except (InputError, DivergedError) as error:
        print(_line(error, prog), file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _UNWRITABLE:
            raise
        print(_line(f"{error.filename} cannot be written: {error.strerror}; give another place", prog), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _unread(stream: Any) -> bool:
    """Return whether a stream is a pipe whose reader has ended."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _line(error: object, prog: str | None = None) -> str:
    return f"{prog or os.path.basename(sys.argv[0])}: error: {one_line(error)}"


@contextlib.contextmanager
def errors_end_now(prog: str | None = None) -> Iterator[None]:
    """End this process at once on an error while it is joined: every orderly way out would wait for the others."""
    try:
        yield
    except BaseException as error:
        if not sharding.joined():
            raise
        status = 1
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else 1
        elif isinstance(error, KeyboardInterrupt):
            status = 130
        elif isinstance(error, (InputError, DivergedError)):
            status = 2 if isinstance(error, InputError) else 1
            print(_line(error, prog), file=sys.stderr)
        elif _LOST.search(str(error)):
            reason = f"another process has ended or cannot be reached ({one_line(error)[:120]})"
            print(_line(f"{reason}; start the same command on all of them to go on", prog), file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM in the list it gives, to act on between steps; a second one ends at once."""
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
    """Let only warnings of absl, tensorflow-datasets, Orbax, grain and JAX through."""
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.WARNING)
    absl_logging.set_stderrthreshold("warning")
    for name in ("absl", "orbax", "grain", "jax", "tensorflow_datasets"):
        logging.getLogger(name).setLevel(logging.WARNING)


def add_options(
    parser: argparse.ArgumentParser, presets: Mapping[str, Any], skip: tuple[str, ...] = ("preset",)
) -> None:
    """Add an option for each field of the presets' dataclasses; the help shows the default in every preset.

    An option that is not given is absent from the parsed arguments, so that a preset can supply it.
    """
    options: dict[str, dict[str, dataclasses.Field]] = {}
    for key, preset in presets.items():
        for field in dataclasses.fields(preset):
            options.setdefault(field.name, {})[key] = field
    for name, fields in options.items():
        if name not in skip:
            defaults = {key: getattr(presets[key], name, None) for key in fields}
            parser.add_argument(flag(name), **_argument(next(iter(fields.values())), defaults))


def _argument(field: dataclasses.Field, defaults: dict[str, Any]) -> dict[str, Any]:
    """Return what argparse is told of an option; `defaults` are its value in each preset that has it."""
    help, sample = field.metadata["help"], next(iter(defaults.values()))
    if any(value is not None for value in defaults.values()):
        names: dict[str, list[str]] = {}
        for preset, value in defaults.items():
            if value is not None:
                names.setdefault(_shown(value), []).append(preset)
        alike = len(names) == 1 and None not in defaults.values()
        shown = [value if alike else f"{value} ({', '.join(of)})" for value, of in names.items()]
        help += f" [default: {' '.join(shown)}]"
    argument = {"default": argparse.SUPPRESS, "help": help.replace("%", "%%")}
    if isinstance(sample, bool):
        return argument | {"action": argparse.BooleanOptionalAction}
    choices, kind = choices_of(field), field.metadata["kind"] or type(sample)
    metavar = field.metadata["metavar"] or {int: "N", float: "X", str: "NAME", tuple: "N,N,..."}.get(kind)
    if choices:
        metavar = "{" + ",".join(map(str, choices)) + "}"
    if kind is tuple:
        kind = _names if field.type == tuple[str, ...] else _widths
    return argument | {"type": kind, "choices": choices, "metavar": metavar}


def add_kind(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where a kind of annotation of the user's own is."""
    parser.add_argument(
        "--kind",
        metavar="FILE.py:NAME",
        help="a kind of annotation of yours, FILE.py:NAME or PACKAGE.MODULE:NAME of a began_jax.Kind; the run keeps it",
    )


def add_annotator(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which T annotates generated images, and in how many processes."""
    parser.add_argument(
        "--annotator",
        metavar="NAME",
        help="T for generated images: dlib, segmenter, eyes, FILE.py:NAME, PACKAGE.MODULE:NAME, or network, a small "
        "one trained on the data set's own annotations; default: the one that the run used before, or prepare.py did, "
        "otherwise network",
    )
    parser.add_argument("--workers", type=int, help="processes that T runs in; default: one a core")


def given(parser: argparse.ArgumentParser, args: argparse.Namespace) -> set[str]:
    """Return the names of the options that have another value than by default."""
    return {name for name, value in vars(args).items() if value != parser.get_default(name)}


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what a stage needs instead of starting it."""
    parser.add_argument(
        "--plan", action="store_true", help="say what this would need (memory, operations, disk), and start nothing"
    )


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Add the options that join several processes, on one host or many, into one command."""
    group = parser.add_argument_group("several hosts", "the same command on each, with the same folders: docs/hosts.md")
    group.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 runs, and a free port there")
    group.add_argument("--processes", type=int, metavar="N", help="how many processes there are")
    group.add_argument("--process-id", type=int, metavar="I", help="which of them this is: 0 to N - 1")
    group.add_argument(
        "--distributed", action="store_true", help="take all three from the cluster (SLURM, TPU pods, Open MPI, ...)"
    )


def join_hosts(args: argparse.Namespace) -> None:
    """Join the other processes where `add_hosts`'s options ask for it; call before JAX is first used."""
    given = {"--coordinator": args.coordinator, "--processes": args.processes, "--process-id": args.process_id}
    absent = [name for name, value in given.items() if value is None]
    if args.distributed:
        if len(absent) < len(given):
            raise InputError(f"--distributed takes {', '.join(given)} from the cluster; give it, or those, not both")
        sharding.join()
    elif len(absent) < len(given):
        if absent:
            raise InputError(f"{' and '.join(absent)} missing: {', '.join(given)} go together")
        if not 0 <= args.process_id < args.processes:
            raise InputError(f"--process-id is {args.process_id}; it must be from 0 to {args.processes - 1}")
        if not re.fullmatch(r".+:\d+", args.coordinator):
            raise InputError(f"--coordinator is {args.coordinator}; it must be HOST:PORT")
        sharding.join(args.coordinator, args.processes, args.process_id)


def given_options(args: argparse.Namespace, preset: Any) -> Any:
    """Return the preset, or an instance of its class, with the options that were given on the command line.

    Raises:
        InputError: an option of them cannot have its value.
    """
    names = {field.name for field in dataclasses.fields(preset)} - {"preset"}
    given = {name: value for name, value in vars(args).items() if name in names}
    check_options(preset, given)
    return preset(**given) if isinstance(preset, type) else dataclasses.replace(preset, **given)


def _shown(value: Any) -> str:
    if value in (None, "", ()):
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _widths(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split(","))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of positive numbers such as 64,128,192,256")
    return widths
