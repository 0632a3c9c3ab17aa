"""The loop of a training: metrics in order however many calls are under way, saves, strides, no time of its own."""

import dataclasses
import typing

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from began_jax.run.loop import Loop, Packed, strongest


@typing.no_type_check
@flax.struct.dataclass
class Counter:
    step: jax.Array

    @property
    def done(self):
        return int(self.step)

    @property
    def score(self):
        return 0.0


def zero():
    return Counter(jnp.zeros((), jnp.int32))


def counted(loop, packed, fail_at=None):
    """A call of as many steps as the loop asks for; metric `twice` is 2 s at step s, or NaN."""

    def call(state, last):
        numbers = np.arange(int(state.step) + 1, last + 1)
        rows = [packed.pack({"twice": jnp.asarray(np.nan if n == fail_at else 2.0 * n)}) for n in numbers]
        return dataclasses.replace(state, step=jnp.asarray(last, jnp.int32)), jnp.stack(rows)

    for last in loop:
        loop.advance(*call(loop.state, last))


@pytest.mark.parametrize(("stride", "in_flight"), [(1, 0), (1, 3), (4, 0), (4, 2)])
def test_metrics_come_in_order_and_all_before_a_save(tmp_path, stride, in_flight):
    packed, seen, saved = Packed(), [], []

    def observe(number, values):
        seen.append((number, values["twice"]))
        return values

    options = dict(
        stride=stride,
        in_flight=in_flight,
        save_every=5,
        observe=observe,
        unpack=packed.steps,
        record=lambda state, values, rate: saved.append((state.done, seen[-1][0], values["twice"])),
    )
    with Loop("count", tmp_path / "run", zero(), 18, **options) as loop:
        counted(loop, packed)
    assert seen == [(n, 2.0 * n) for n in range(1, 19)]
    assert saved == [(n, n, 2.0 * n) for n in ([5, 10, 15, 18] if stride == 1 else [8, 12, 16, 18])]
    with Loop("count", tmp_path / "run", zero(), 20, **options) as loop:  # it goes on
        assert loop.start == 18
        counted(loop, packed)
    assert seen[-2:] == [(19, 38.0), (20, 40.0)]


def test_a_bad_step_is_named_and_what_it_made_is_never_saved(tmp_path):
    packed = Packed()

    def observe(number, values):
        if np.isnan(values["twice"]):
            raise FloatingPointError(f"step {number}")
        return values

    options = dict(in_flight=4, save_every=5, observe=observe, unpack=packed.steps)
    with pytest.raises(FloatingPointError, match="step 9"), Loop("count", tmp_path, zero(), 18, **options) as loop:
        counted(loop, packed, fail_at=9)
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [5]


def test_a_signal_to_any_process_reaches_all_beside_a_save_of_the_first():
    for signals, (due, signum) in {(64, 15): (1, 15), (64, 0): (1, 0), (2, 15): (0, 15), (0, 0): (0, 0)}.items():
        assert divmod(int(strongest(jnp.asarray(signals))), 64) == (due, signum)


def test_saves_wait_for_their_time_but_the_end_does_not(tmp_path):
    packed, saved = Packed(), []
    options = dict(save_every=2, save_seconds=3600.0, unpack=packed.steps)
    record = lambda state, values, rate: saved.append(state.done)  # noqa: E731
    with Loop("count", tmp_path, zero(), 9, record=record, **options) as loop:
        counted(loop, packed)
    assert saved == [9]
