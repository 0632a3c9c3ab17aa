"""Measurements of our code alone: how cost and memory grow, and whether the input keeps up with the training."""

import tempfile

from began_jax.sharding import most_devices
from benchmarks.parts import CORES, Bench, count
from benchmarks.plan import LEVERS
from benchmarks.results import OURS
from benchmarks.workers import Worker, working


def levers(bench: Bench) -> None:
    """A step of the training and of the inversion beside the same without one of what is done for a CPU."""
    for size in bench.plan.levers:
        for task, unit in (("train", "step"), ("invert", "image-step")):
            contenders = {OURS: Worker(f"benchmarks.our_tasks:{task}", {"size": size})}
            for lever in LEVERS[task]:
                if "device" in lever and CORES == 1:
                    continue  # that is the same then
                bench.say(f"levers: {task}, {size}, without {lever}")
                arguments = {"size": size, "task": task, "lever": lever}
                contenders[f"ours, without {lever}"] = Worker("benchmarks.our_tasks:without", arguments)
            bench.compare("levers", f"{task}, {size}", unit, contenders)


def scaling(bench: Bench) -> None:
    """Training and inversion against images in a batch, resolution and devices, each point in a new process."""
    plan, base = bench.plan, bench.plan.scaling
    sizes = [base._replace(batch=batch) for batch in plan.images]
    sizes += [base._replace(height=side, width=side) for side in plan.resolutions]
    # The devices that the stage uses, as far as all batches can be split over them, and another number of them.
    cores = most_devices(min(plan.images), CORES)
    for task, unit, usual, other in (("train", "step", 1, CORES), ("invert", "image-step", cores, 1)):
        points = [*((size, usual) for size in sizes), (base, other)]
        for size, devices in dict.fromkeys((size, most_devices(size.batch, most)) for size, most in points):
            if bench.late(0.95):
                bench.results.notes.append(f"scaling: {task} {size} was left out, since time was up.")
                continue
            bench.say(f"scaling: {task} {size}, {count(devices, 'device')}")
            with working(f"benchmarks.our_tasks:{task}", size=size, devices=devices) as worker:
                turns = [worker.run(plan.turn_seconds) for _ in range(2)]
                name = f"ours, {count(worker.info['devices'], 'device')}"
                memory = {name: worker.megabytes}
                rows = bench.results.add("scaling", f"{task}, {size}", unit, {name: turns}, {name: worker.info}, memory)
            a_step = rows[name]["seconds"] * (size.batch if unit == "image-step" else 1)
            rows[name] |= {"task": task, "size": size._asdict(), "seconds_a_step": a_step}


def feeding(bench: Bench) -> None:
    """The input pipeline alone, training with and without it, and memory against the length of the source."""
    plan, size = bench.plan, bench.plan.feeding
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        data = {"size": size, "folder": folder, "pictures": plan.pictures}
        contenders = {OURS: Worker("benchmarks.our_tasks:train", {"size": size})}
        for encoding in ("png", "jpeg"):
            bench.say(f"feeding: reading {size}, {encoding}")
            with working("benchmarks.feeding_tasks:read", **data, encoding=encoding) as worker:
                turns = {f"ours, {encoding}, input alone": [worker.run(plan.turn_seconds) for _ in range(3)]}
            bench.results.add("feeding", f"pictures read and decoded, {size}", "picture", turns, {})
            name = f"ours, fed with {encoding} pictures"
            contenders[name] = Worker("benchmarks.feeding_tasks:fed_training", data | {"encoding": encoding})
        bench.compare("feeding", f"training, {size}", "step", contenders)
    for length in plan.source_lengths:
        bench.say(f"feeding: a source of {length:,} images")
        arguments = {"size": size, "length": length, "batches_a_call": plan.source_batches}
        with working("benchmarks.feeding_tasks:read_simulated", **arguments) as worker:
            name = f"ours, {length:,} images"
            turns = {name: [worker.run(0)]}
            what = f"simulated source, {size.height}x{size.width}"
            bench.results.add("feeding", what, "picture", turns, {}, {name: worker.megabytes})
