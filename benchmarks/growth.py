"""Measurements of our code alone: what makes its steps fast, how cost and memory grow, whether the input keeps up."""

import math
import tempfile

from began_jax.sharding import most_devices
from benchmarks.parts import CORES, Bench, count
from benchmarks.results import OURS
from benchmarks.workers import Worker

# What makes a step fast on a CPU (`sharding.use_cpu_devices`), and what a task without it is told.
LEVERS = {
    "train": {"Eigen's convolutions": {"eigen": False}, "one device": {"devices": None}},
    "invert": {"XLA's own convolutions": {"eigen": True}, "a device a core": {"devices": 1}},
}


def levers(bench: Bench) -> None:
    """Compare a step of the training and of the inversion with the same without one of what is done for a CPU."""
    size = bench.plan.train[0]
    for task, unit in (("train", "step"), ("invert", "image-step")):
        contenders = {OURS: Worker(f"benchmarks.our_tasks:{task}", {"size": size})}
        for lever, change in LEVERS[task].items():
            if "devices" in change and CORES == 1:
                continue  # that is the same then
            contenders[f"ours, without {lever}"] = Worker(f"benchmarks.our_tasks:{task}", {"size": size} | change)
        bench.compare("levers", f"{task}, {size}", unit, contenders)


def scaling(bench: Bench) -> None:
    """Measure training and inversion against images in a batch, resolution and devices, each in a new process."""
    plan, base = bench.plan, bench.plan.scaling
    axes = {
        "images": {batch: base._replace(batch=batch) for batch in plan.images},
        "pixels a side": {side: base._replace(height=side, width=side) for side in plan.resolutions},
    }
    # The devices that the stage uses, as far as all batches can be split over them, and another number of them.
    cores = most_devices(min(plan.images), CORES)
    for task, unit, usual, other in (("train", "step", 1, CORES), ("invert", "image-step", cores, 1)):
        points = [*((size, usual) for axis in axes.values() for size in axis.values()), (base, other)]
        took = {}  # seconds a step of the whole batch
        for size, devices in dict.fromkeys((size, most_devices(size.batch, most)) for size, most in points):
            if bench.late(0.95):
                bench.results.notes.append(f"scaling: {task} {size} was left out, since time was up.")
                continue
            name, arguments = f"ours, {count(devices, 'device')}", {"size": size, "devices": devices}
            alone = {name: Worker(f"benchmarks.our_tasks:{task}", arguments)}
            row = bench.compare("scaling", f"{task}, {size}", unit, alone)[name]
            took[size, devices] = row["seconds"] * (size.batch if unit == "image-step" else 1)
        for noun, axis in axes.items():
            times = {n: took[size, usual] for n, size in axis.items() if (size, usual) in took}
            if len(times) > 1:
                low, high = min(times), max(times)
                power = math.log(times[high] / times[low]) / math.log(high / low)
                bench.results.notes.append(f"{task}: a step's time grows as {noun}^{power:.2f} from {low} to {high}.")


def feeding(bench: Bench) -> None:
    """Measure the input alone, training with and without it, and memory against the length of the source."""
    plan, size = bench.plan, bench.plan.feeding
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        contenders = {OURS: Worker("benchmarks.our_tasks:train", {"size": size})}
        for encoding in ("png", "jpeg"):
            data = {"size": size, "folder": folder, "encoding": encoding}
            alone = {f"ours, {encoding}, input alone": Worker("benchmarks.feeding_tasks:read", data)}
            bench.compare("feeding", f"pictures read and decoded, {size}", "picture", alone)
            contenders[f"ours, fed with {encoding} pictures"] = Worker("benchmarks.feeding_tasks:fed_training", data)
        bench.compare("feeding", f"training, {size}", "step", contenders)
        for task, name, unit in (
            ("read_kept", "ours, kept in memory, input alone", "picture"),
            ("loop", "ours, the loop around a step", "step"),
        ):
            alone = {name: Worker(f"benchmarks.feeding_tasks:{task}", {"size": size, "folder": folder})}
            bench.compare("feeding", f"pictures in memory, {size}", unit, alone)
    what = f"simulated source, {size.height}x{size.width}"
    for length in plan.source_lengths:
        arguments = {"size": size, "length": length}
        alone = {f"ours, {length:,} images": Worker("benchmarks.feeding_tasks:read_simulated", arguments)}
        bench.compare("feeding", what, "picture", alone)
