"""How pictures are divided into splits, in whole groups, and which of each split are annotated."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from began_jax.data.pictures import picture_of
from began_jax.errors import InputError


def group(ids: Sequence[str], group_regex: str | None) -> dict[str, list[int]]:
    """Return group -> indices of its ids, as `hold_out` splits them; InputError where the regex matches not all.

    It is matched with the name of the picture, of which all faces are one group.
    """
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(ids):
        name = picture_of(name)
        match = re.search(group_regex or ".*", name, re.DOTALL)
        found = match and match.group(1 if match.re.groups else 0)
        if found is None:
            raise InputError(f"--group-regex {group_regex}: does not match {name}; every id must match")
        groups.setdefault(found, []).append(index)
    return groups


def hold_out(ids: Sequence[str], fraction: float, group_regex: str | None, seed: int) -> tuple[list[int], list[int]]:
    """Split indices into (train, test): whole groups, drawn by `seed`, until test holds at least `fraction`.

    A group is the set of ids in which `group_regex` matches the same text (its first parenthesis, or all of
    it); without a regex each image is its own group. Both lists are in the order of `ids`.
    """
    groups = group(ids, group_regex)
    names, test = sorted(groups), []
    for draw in np.random.default_rng(seed).permutation(len(names)):
        if len(test) >= fraction * len(ids):
            break
        test += groups[names[draw]]
    if len(test) == len(ids):
        raise InputError(
            f"--holdout {fraction:g}: leaves none of {len(ids)} images in {len(names)} group(s) for "
            "training; give a smaller fraction, or a --group-regex with more groups"
        )
    held = set(test)
    return [i for i in range(len(ids)) if i not in held], sorted(test)


def annotated_rows(splits: Mapping[str, Sequence[int]], annotated: np.ndarray | None) -> dict[str, list[int]] | None:
    """Return the numbers of each split's annotated pictures, or None where all are.

    Raises:
        InputError: a split that is learnt from or measured on has none.
    """
    if annotated is None:
        return None
    rows = {name: np.flatnonzero(annotated[list(pictures)]).tolist() for name, pictures in splits.items()}
    for name in ("train", "test"):
        if len(splits.get(name, ())) and not rows[name]:
            count = f"none of the {len(splits[name]):,} pictures of the {name} split is annotated"
            raise InputError(f"--partial: {count}; annotate some of it, or draw it by another --holdout or --seed")
    return rows


def check_seen(splits: Mapping[str, Sequence[int]], points: np.ndarray) -> None:
    """Raise InputError where a point of landmarks [N, K, 2] is absent in all pictures of a split, but not of others."""
    there = np.isfinite(points[..., 0])
    for name in ("train", "test"):
        rows = list(splits.get(name, ()))
        if len(rows) and there[rows].any() and (nowhere := np.flatnonzero(there.any(0) & ~there[rows].any(0)).tolist()):
            first = f"point {nowhere[0]} (from 0) is absent in all {len(rows):,} pictures of the {name} split"
            raise InputError(f"--landmarks: {first}; leave it out, or draw the split by another --holdout or --seed")


def in_words(annotated: np.ndarray | None) -> str:
    """Return how many pictures are annotated, to follow what they hold, or nothing where all are."""
    return "" if annotated is None else f" for {annotated.sum():,} of them"
