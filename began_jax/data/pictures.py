"""The pictures in a folder or below: which files are pictures, and what is to be said of the others."""

import collections
import hashlib
import os
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from began_jax.errors import InputError

# Pixels that Pillow decodes itself; what else it opens are documents, or needs another program.
FORMATS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".pgm", ".ppm",
    ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".jpx", ".tga", ".pcx", ".sgi", ".ras", ".qoi", ".ico", ".psd",
)  # fmt: skip
SEVERAL = (".gif", ".tif", ".tiff", ".webp", ".apng", ".avif", ".avifs")  # may hold frames or pages
OF_THE_SYSTEM = ("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini")


class Pictures(NamedTuple):
    """The relative POSIX paths of the pictures, sorted, and what the rest was: notes to print, a line each."""

    ids: list[str]
    notes: list[str]


def list_pictures(
    root: Path,
    option: str = "--images",
    without: Path | None = None,
    beside: Collection[str] = (),
    frames: bool = True,
) -> Pictures:
    """List the pictures below a folder, through links too; hidden files and folders are left alone.

    Args:
        root: the folder.
        option: that named it.
        without: a folder below it that holds no pictures, such as one of masks.
        beside: extensions of files that something else reads, which are not said to be skipped.
        frames: whether files with several frames or pages are counted, which takes to open some.

    Raises:
        InputError: there is no such folder, no picture in it, or a name that is not UTF-8.
    """
    if not root.is_dir():
        raise InputError(f"{option} {root}: no such folder")
    known = known_formats()
    ids, skipped, several = [], collections.Counter(), 0
    for path in files_below(root, without):
        name, kind = path.relative_to(root).as_posix(), path.suffix.lower()
        if kind not in known or not _is_file(path):
            broken = path.is_symlink() and not _is_file(path)
            if broken or kind not in beside:
                skipped["broken links" if broken else kind or "without an extension"] += 1
            continue
        ids.append(checked_name(name, root))
        several += frames and kind in SEVERAL and _holds_several(path)
    if not ids:
        there = f"; it holds {_counted(skipped)}" if skipped else ""
        raise InputError(f"{option} {root}: holds no image ({' '.join(known)}){there}")
    notes = [f"{_counted(skipped)} in {root} are no pictures that can be read, and are skipped"] if skipped else []
    if several:
        notes.append(f"{several:,} files in {root} hold several pictures, of which the first is taken")
    return Pictures(sorted(ids), notes)


def known_formats() -> list[str]:
    """Return the extensions of the formats that the installed Pillow reads."""
    registered = Image.registered_extensions()
    return [extension for extension in FORMATS if registered.get(extension) in Image.OPEN]


def hidden(name: str) -> bool:
    """Say whether a file or folder is one that systems and tools keep for themselves."""
    return name.startswith(".") or name in OF_THE_SYSTEM


def checked_name(name: str, root: Path) -> str:
    """Return a relative path; InputError where it cannot be written as UTF-8, as ids and lists are."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise InputError(f"{root}: the name {shown} is not UTF-8; rename the file, for instance with convmv") from None
    return name


def same_name(name: str) -> str:
    """Return the form in which two spellings of a path are equal: accents composed, / between folders, no ./ before."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def same_stem(name: str) -> str:
    """Return the same without the ending: what a picture shares with the file that annotates it."""
    return PurePosixPath(same_name(name)).with_suffix("").as_posix()


def face_of(name: str, number: int) -> str:
    """Return the id of one of a picture's several faces, counted from 1."""
    return f"{name}#{number}"


def picture_of(name: str) -> str:
    """Return the picture that an id is of, which is the id but for `face_of`: a picture's name ends as its format."""
    return re.sub(r"#\d+$", "", name)


def rows_of(
    names: Sequence[str],
    ids: Sequence[str],
    gaps: bool,
    where: str,
    what: str,
    root: Path | None = None,
    one: str = "give each image one row",
) -> dict[str, int]:
    """Return the row of each name in a file that annotates pictures, one row each.

    Args:
        names: in the file, row by row.
        ids: of the pictures.
        gaps: whether the file may say nothing of some of them.
        where: the file, as messages call it.
        what: it holds.
        root: the folder of the pictures, if known.
        one: what to do where a name is there twice.

    Raises:
        InputError: a name is there twice, or of no picture; or a picture is not there, without `gaps` or of all.
    """
    rows = {name: row for row, name in enumerate(names)}
    if len(rows) < len(names):
        twice = next(name for row, name in enumerate(names) if rows[name] != row)
        raise InputError(f"{where}: {twice} is there twice; {one}")
    missing = [name for name in ids if name not in rows]
    surplus = sorted(rows.keys() - set(ids))
    if missing and (not gaps or len(missing) == len(ids)):
        first = f"; the first name in the file is {surplus[0]}" if len(missing) == len(ids) and surplus else ""
        raise InputError(
            f"{where}: {what} for {len(ids) - len(missing)} of {len(ids)} images; the first missing is "
            f"{missing[0]} (names are relative to {root or '--images'}){first}"
            + ("" if gaps else "; --partial keeps such images for the generator")
        )
    if surplus:
        raise InputError(f"{where}: {len(surplus)} names without an image; the first is {surplus[0]}")
    return rows


def digest(files: Mapping[str, Path]) -> str:
    """Return a digest of files' names and of all that they hold, or of why one cannot be read."""

    def of_one(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            return str(error.strerror).encode()  # whoever needs the file says so

    found = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for name, held in zip(files, pool.map(of_one, files.values()), strict=True):
            found.update(f"{name}\n".encode() + held)
    return found.hexdigest()[:16]


def files_below(root: Path, without: Path | None = None) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, through links, but never to a folder that they are in."""
    left = without.resolve() if without else None
    folders: list[tuple[Path, tuple[Path, ...]]] = [(root, (root.resolve(),))]
    while folders:
        folder, above = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise InputError(f"{folder}: cannot be read ({error.strerror})") from None
        for entry in entries:
            if hidden(entry.name):
                continue
            path = folder / entry.name
            if not _is_folder(path):
                yield path
            elif (place := path.resolve()) not in above and place != left:
                folders.append((path, (*above, place)))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a link to itself
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _holds_several(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # whatever is wrong with it is said when it is read
        return False


def _counted(counts: collections.Counter[str]) -> str:
    """Return how many files there are of each kind: "3 files (2 .txt, 1 broken links)"."""
    shown = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    return f"{counts.total():,} files ({shown})"
