"""What all tests share: four virtual CPU devices, strict JAX settings, tiny networks and tiny data sets."""

import atexit
import dataclasses
import os
import tempfile

import hypothesis
import jax
import pytest

from began_jax import sharding
from began_jax.configs import TrainConfig
from began_jax.data.synthetic.dataset import write_synthetic

# Flags of XLA, and the first version of JAX that was not tried with them: one that XLA does not know ends the process.
FLAGS = {
    # Tiny networks: compiling is what takes the time, and so it takes half as long.
    "--xla_cpu_use_fusion_emitters=false": (0, 11),
    # Virtual devices wait for each other, which takes long where they are more than the cores; XLA aborts after 40 s.
    "--xla_cpu_collective_call_terminate_timeout_seconds=300": (0, 13),
}
known = [flag for flag, until in FLAGS.items() if jax.__version_info__ < until]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *known]).strip()
sharding.use_cpu_devices(4, 4, kernel_gradients=True)  # the convolutions of the processes that tests start
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests compile the same tiny stages again and again: what this process has compiled it finds here.
compiled = tempfile.TemporaryDirectory(prefix="began_jax_compiled_")
atexit.register(compiled.cleanup)
jax.config.update("jax_compilation_cache_dir", compiled.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_disable_most_optimizations", True)
jax.devices()  # now they are made, and an entry point that a test runs in this process makes no others

# A new shape compiles, which takes longer than hypothesis' deadline. The same examples every time: a failure
# is then one of the change under test.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")

pytest.register_assert_rewrite("ways")


# The longest first, or one worker would end late.
LONGEST = (
    "test_entries",
    "test_few_labels",
    "test_began",
    "test_hosts",
    "test_platforms",
    "test_train_entry",
    "test_benchmarks",
)
# Whole runs, processes of their own, and trainings: `make quick` leaves them out.
SLOW = {"test_entries", "test_hosts", "test_platforms", "test_train_entry", "test_benchmarks", "test_inversion_slots"}
SLOW |= {"test_few_labels", "test_labels", "test_precision", "test_kinds", "test_encoder", "test_raw", "test_examples"}


def pytest_collection_modifyitems(items):
    """The longest files first; a file's tests go to one worker, which makes what they share once."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)


TINY = TrainConfig(
    height=16, width=24, filters=4, encoder_filters=(4, 6), latent_size=8, batch_size=4, learning_rate=1e-3
)


@pytest.fixture(scope="session")
def tiny_config():
    """Returns a function that makes a TrainConfig of tiny networks, with the changes given."""
    return lambda **changes: dataclasses.replace(TINY, **changes)


@pytest.fixture(scope="session")
def scripts(tmp_path_factory, worker_id):
    """Scripts as processes of their own; all workers share what they compile."""
    from ways import Scripts

    base = tmp_path_factory.getbasetemp()
    found = Scripts((base if worker_id == "master" else base.parent) / "compiled")
    yield found
    found.close()


@pytest.fixture(scope="session")
def tiny_faces(tmp_path_factory):
    """24 synthetic faces of 16x16, RGB with landmarks: 20 in train, 4 in test."""
    out = tmp_path_factory.mktemp("faces") / "data"
    write_synthetic("synthetic-faces", out, 24, 4 / 24, 16, 16, 0)
    return out


@pytest.fixture(scope="session")
def tiny_irises(tmp_path_factory):
    """24 synthetic irises of 16x24, grey with masks: 20 in train, 4 in test."""
    out = tmp_path_factory.mktemp("irises") / "data"
    write_synthetic("synthetic-irises", out, 24, 4 / 24, 16, 24, 0)
    return out
