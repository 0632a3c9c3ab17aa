"""Where a data set is: the TFDS builder of a folder, or of a name that TFDS knows."""

import contextlib
import io
import os
from pathlib import Path

import tensorflow_datasets as tfds

from began_jax.errors import InputError


def builder_at(place: str) -> tfds.core.DatasetBuilder:
    """Return the builder of a prepared data set, of a folder or of tfds:NAME; InputError where there is none."""
    return _registered(place) if place.startswith("tfds:") else _in_folder(place)


def _registered(data: str) -> tfds.core.DatasetBuilder:
    name = data.removeprefix("tfds:")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder = tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except Exception as error:  # tfds raises many kinds here, each with lines of advice
        raise InputError(f"--data {data}: cannot be opened by tensorflow-datasets ({brief(error)})") from None
    if not builder.is_prepared():
        raise InputError(
            f"--data {data}: not prepared in {builder.data_path}; where TensorFlow is installed, run "
            f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
            "file_format='array_record').download_and_prepare()\", or set TFDS_DATA_DIR to where it is"
        )
    return builder


def _in_folder(data: str) -> tfds.core.DatasetBuilder:
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise InputError(f"--data {data}: no such folder; make one with prepare.py, or give tfds:NAME")
    for depth in range(4):  # tfds lays out name/config/version
        found = sorted(info.parent for info in folder.glob("*/" * depth + "dataset_info.json"))
        if found:
            break
    else:
        raise InputError(f"--data {data}: holds no TFDS data set (dataset_info.json); make one with prepare.py")
    if len(found) > 1:
        raise InputError(f"--data {data}: holds {len(found)} data sets; give one of them, such as {found[0]}")
    try:
        return tfds.builder_from_directory(found[0])
    except Exception as error:  # damaged JSON of several kinds
        raise InputError(f"--data {data}: its description cannot be read ({brief(error)})") from None


def brief(error: Exception) -> str:
    """Return the first line of an error that another package raised."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]
