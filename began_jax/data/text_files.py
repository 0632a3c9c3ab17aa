"""Text as tables and lists hold it: in UTF-8, or UTF-16 as some spreadsheets write it, parted by commas or not."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from began_jax.errors import InputError

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
DELIMITERS = (",", ";", "\t")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


def text_of(path: Path, where: str) -> str:
    """Return a file's text; InputError where it cannot be read, or is in another encoding, which could be any."""
    try:
        content = path.read_bytes()
        encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8")
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error})") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{where}: line {line} is not in UTF-8; save the file in UTF-8") from None


def lines_of(path: Path, where: str) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of each line of a .jsonl that holds something."""
    return ((number, line) for number, line in enumerate(text_of(path, where).split("\n"), 1) if line.strip())


def rows_of_csv(path: Path, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its last line, fields) of each row that holds something; blanks about a field are left out.

    The header tells what parts the fields: commas, or semicolons or tabs in its place. Beside semicolons a number may
    have a decimal comma, as spreadsheets write it in many languages.
    """
    text = text_of(path, where)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=lambda each: len(next(csv.reader([first], delimiter=each), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                given = [field.strip() for field in fields]
                if delimiter == ";":
                    given = [each.replace(",", ".") if DECIMAL_COMMA.fullmatch(each) else each for each in given]
                yield reader.line_num, given
    except csv.Error as error:
        raise InputError(f"{where}: line {reader.line_num} cannot be read ({error})") from None
