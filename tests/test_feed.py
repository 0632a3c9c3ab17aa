"""What feeds a training: rows as a function of the step, images decoded once or always, work made ahead."""

import threading

import numpy as np
import pytest

from began_jax.data import feed
from began_jax.errors import InputError


class Numbered:
    """Thirteen examples; the first pixel of an image is its number. It counts what is decoded."""

    def __init__(self):
        self.decoded = []

    def __len__(self):
        return 13

    def image(self, i):
        self.decoded.append(int(i))
        image = np.random.default_rng(int(i)).integers(0, 256, (8, 10, 3), np.uint8)
        image[0, 0] = i
        return image

    def __getitem__(self, i):
        mask = np.random.default_rng(100 + int(i)).integers(0, 2, (8, 10, 1)).astype(np.float32)
        return {"image": self.image(i), "mask": mask}


SOURCE = Numbered()


def of(batch_size, seed, **part):
    return feed.batches(SOURCE, feed.rows(len(SOURCE), batch_size, seed, **part))


def numbers(batch):
    return [int(image[0, 0, 0]) for image in batch["image"]]


def test_batches_are_a_function_of_the_step():
    steps = of(4, seed=1)
    assert steps[0].keys() == {"image"}
    assert steps[0]["image"].shape == (4, 8, 10, 3) and steps[0]["image"].dtype == np.uint8
    stream = [n for step in range(39) for n in numbers(steps[step])]
    epochs = [stream[i * 13 : i * 13 + 13] for i in range(12)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 12
    again = of(4, seed=1)
    assert numbers(again[30]) == stream[120:124]  # asked for first, out of order
    assert [n for step in range(3) for n in numbers(of(4, seed=2)[step])] != stream[:12]
    images = steps[7]["image"]
    np.testing.assert_array_equal(images, [SOURCE.image(n) for n in numbers(steps[7])])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_share_the_global_batch(count):
    whole = of(6, seed=0)
    parts = [of(6, seed=0, process_index=i, process_count=count) for i in range(count)]
    for step in (0, 5, 50):
        assert [n for part in parts for n in numbers(part[step])] == numbers(whole[step])


def test_batches_that_cannot_be():
    with pytest.raises(InputError, match=r"batch size 14.*13 images"):
        of(14, seed=0)
    with pytest.raises(InputError, match=r"batch size 4.*3 processes"):
        of(4, seed=0, process_count=3)
    assert sorted(numbers(of(13, seed=0)[2])) == list(range(13))


def test_what_is_made_ahead_is_the_steps_and_ends_its_threads():
    steps = of(4, seed=1)
    before = threading.active_count()
    iterator = feed.ahead(steps, 17)
    for step in range(17, 40):
        np.testing.assert_array_equal(next(iterator)["image"], steps[step]["image"])
    iterator.close()
    deadline = threading.Event()
    for _ in range(100):
        if threading.active_count() <= before:
            break
        deadline.wait(0.05)
    assert threading.active_count() <= before


@pytest.mark.parametrize("masks", [False, True])
def test_images_that_are_kept_are_the_same_and_decoded_once(masks):
    source = Numbered()
    rows = feed.rows(len(source), 4, seed=1)
    always, kept = (feed.batches(s, rows, masks=masks) for s in (SOURCE, feed.Kept(source, masks)))
    source.decoded.clear()
    for step in range(20):
        wanted, found = always[step], kept[step]
        assert found.keys() == wanted.keys()
        for name in wanted:
            assert found[name].dtype == wanted[name].dtype == np.uint8
            np.testing.assert_array_equal(found[name], wanted[name])
    assert sorted(source.decoded) == list(range(13))
    everything = feed.Kept(source, masks).all()
    assert everything.keys() == ({"image", "mask"} if masks else {"image"})
    np.testing.assert_array_equal(everything["image"], [SOURCE.image(i) for i in range(13)])
    if masks:
        np.testing.assert_array_equal(everything["mask"], [SOURCE[i]["mask"] for i in range(13)])
    assert all(values.dtype == np.uint8 for values in everything.values())
    assert sum(values.nbytes for values in everything.values()) == feed.size(source, masks)


def test_free_memory_is_what_the_machine_or_its_group_has_left():
    assert 2**20 < feed.free_memory() < 2**50
