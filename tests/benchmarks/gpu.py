"""All that wants a GPU, in one command of less than eight minutes: what fails there, how quick it is, what it holds.

    python tests/benchmarks/gpu.py --out FOLDER

writes FOLDER/gpu.json and FOLDER/gpu.md, a table, anew after every part. Weights are random and images synthetic, so
that nothing is needed but a checkout with featx[test] installed. Each part is a process of its own: what it holds at
most is its own, and one that crashes, or is stopped at its limit, takes no other along. A failure is a line too.

tests      those marked `cuda`
forward    the networks' forward passes alone, the bound of what extraction can reach
arrays     features of images in memory, into a store, and how far they are from the CPU's
jpegs      features of JPEG files, into a store, and how many images a second the threads decode at most
staging    the same pass with plain copies, and with those of `featx.extraction.staging`
softmax    50,000 x 512, and the same on the CPU
million    1,000,000 x 768, ten classes
training   steps of training, the images in memory

Rates of extraction are from the first image read to the last row in the store, after a first batch that loads the
kernels. Without a GPU it says so and writes nothing; `--device cpu --quick` runs the same code in small.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
PRELOADED = (
    *("featx.training.train", "featx.extraction.extract", "featx.extraction.staging", "featx.probes.softmax"),
    *("torchvision", "sklearn.datasets"),  # what these load where they need it
)


@dataclass(frozen=True)
class Sizes:
    """How much is computed: networks as (name, layer, px, images), and rows and columns."""

    networks: tuple[tuple[str, str, int, int], ...]
    jpegs: int
    batch: int
    train_batch: int
    train_share: float
    seconds: float
    some: tuple[int, int]
    many: tuple[int, int]


FULL = Sizes(
    networks=(("resnet18", "avgpool", 224, 8192), ("vgg16", "features.30:avg", 64, 16384)),
    jpegs=8192,
    batch=256,
    train_batch=128,
    train_share=0.5,
    seconds=2.0,
    some=(50_000, 512),
    many=(1_000_000, 768),
)
QUICK = Sizes(
    networks=(("lenet5", "conv2:avg", 32, 12),),
    jpegs=12,
    batch=4,
    train_batch=4,
    train_share=1.0,
    seconds=0.01,
    some=(200, 8),
    many=(400, 8),
)


@dataclass(frozen=True)
class Job:
    """What every part is given."""

    device: str
    sizes: Sizes
    scratch: Path


@dataclass
class Line:
    """A line of the table; `failed` says why there is no figure."""

    part: str
    what: str
    figure: float | None = None
    unit: str = ""
    note: str = ""
    failed: str = ""
    seconds: float = 0.0
    gpu_mb: float | None = None
    host_mb: float | None = None


Found = tuple[float, str, str]
"""A figure, its unit and a note."""
Measures = Iterator[tuple[str, Callable[[], Found]]]


@dataclass
class Rate:
    """Images a second between the first and the last word of progress of a stage."""

    stage: str
    seen: list[tuple[float, int]] = field(default_factory=list)

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage.startswith(self.stage):
            self.seen.append((time.perf_counter(), done))

    def __float__(self) -> float:
        (began, first), (ended, last) = self.seen[0], self.seen[-1]
        return (last - first) / (ended - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--seconds", type=float, default=455, help="of all parts; starting comes on top")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    args = parser.parse_args()
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing was measured, and nothing is written")
        return
    with tempfile.TemporaryDirectory(prefix="featx-gpu-") as scratch:
        job = Job(args.device, QUICK if args.quick else FULL, Path(scratch))
        run(job, args.only.split(","), args.seconds, args.out)


def run(job: Job, names: list[str], seconds: float, out: Path) -> None:
    """Run the parts one after the other, each in a process forked from one that has imported featx and used no GPU."""
    os.environ["FEATX_HOME"] = str(job.scratch / "home")
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # else to ask for a GPU would be to use it
    multiprocessing.set_forkserver_preload([*PRELOADED])
    began, facts, lines = time.monotonic(), machine(job.device), []
    for name in names:
        left = seconds - (time.monotonic() - began)
        found = run_part(name, job, min(PARTS[name][0], max(left, 0.0)))
        lines += found
        write(out, {**facts, "seconds": round(time.monotonic() - began, 1), "lines": [asdict(line) for line in lines]})
        print("\n".join(map(as_text, found)), flush=True)


def run_part(name: str, job: Job, limit: float) -> list[Line]:
    """Return a part's lines, those before it failed or was stopped too."""
    context = multiprocessing.get_context("forkserver")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(name, job, limit, sender))
    until, found = time.monotonic() + limit, []
    process.start()
    sender.close()
    try:
        while receiver.poll(max(0.0, until - time.monotonic())):
            found.append(receiver.recv())
    except EOFError:
        process.join()
        if process.exitcode:
            found.append(Line(name, "the rest", failed=f"its process ended with exit code {process.exitcode}"))
        return found
    process.kill()
    process.join()
    return [*found, Line(name, "the rest", failed=f"stopped after {limit:.0f} s")]


def child(name: str, job: Job, limit: float, sender: Connection) -> None:
    """Measure one part, telling each line as soon as it is there."""
    try:
        for line in measured(name, job, limit):
            sender.send(line)
    except Exception as exc:  # while the next figure was prepared
        sender.send(Line(name, "the rest", failed=one_line(exc)))
    sender.close()


def measured(name: str, job: Job, limit: float) -> Iterator[Line]:
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for what, measure in PARTS[name][1](job, limit):
            line = Line(name, what)
            try:
                line.figure, line.unit, line.note = measure()
            except Exception as exc:  # whatever it is, the next figure is tried
                line.failed = one_line(exc)
            line.note = "; ".join([line.note] * bool(line.note) + told(said))
            line.seconds, began = round(time.monotonic() - began, 1), time.monotonic()
            line.gpu_mb, line.host_mb = peaks(job.device)
            yield line


def told(said: list[warnings.WarningMessage]) -> list[str]:
    """Return what featx and scikit-learn warned of, each once, and forget it."""
    from sklearn.exceptions import ConvergenceWarning

    from featx.errors import FeatxWarning

    found = [str(w.message) for w in said if issubclass(w.category, FeatxWarning | ConvergenceWarning)]
    said.clear()
    return list(dict.fromkeys(found))


def peaks(device: str) -> tuple[float | None, float]:
    """Return the MB held at most, on the GPU since the last call, and by this process."""
    import torch

    gpu = None
    if device == "cuda" and torch.cuda.is_initialized():
        gpu = round(torch.cuda.max_memory_allocated() / 1e6)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return gpu, round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)


def one_line(exc: Exception) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:300]


def marked_tests(job: Job, limit: float) -> Measures:
    """Run the files that hold tests marked `cuda`: to look through all others would take longer than the tests."""

    def outcome() -> Found:
        files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if "pytest.mark.cuda" in path.read_text()]
        command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "--tb=no", "-rfE", *files]
        said = subprocess.run(
            command, cwd=TESTS.parent, stdout=subprocess.PIPE, text=True, check=False, timeout=limit - 15
        ).stdout
        failures.extend(re.findall(r"^(?:FAILED|ERROR) (.*)$", said, re.M))
        counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", said)}
        if not counts:
            raise RuntimeError(said[-200:])
        return counts.get("passed", 0), "tests passed", ", ".join(f"{n} {word}" for word, n in counts.items())

    def fail(message: str) -> Found:
        raise AssertionError(message)

    failures: list[str] = []
    yield "marked cuda", outcome
    for failure in failures:
        yield failure.partition(" - ")[0], partial(fail, failure.partition(" - ")[2])


def forward(job: Job, limit: float) -> Measures:
    from featx.core.specs import LayerSpec
    from featx.extraction.benchmark import bench
    from featx.extraction.benchmark_config import BenchConfig
    from featx.models.backbones import resolve

    def rate(name: str, layer: str, px: int, precision: Any) -> Found:
        config = BenchConfig((job.sizes.batch,), (precision,), job.sizes.seconds, job.device)
        (timing,) = bench(resolve(name, weights="random:0", size=px), LayerSpec.parse(layer), config)["timings"]
        if timing["images_per_second"] is None:
            raise MemoryError(f"no room for {job.sizes.batch} images")
        return timing["images_per_second"], "images/s", f"batch {job.sizes.batch}, {timing['passes']} passes"

    for name, layer, px, _ in job.sizes.networks:
        for precision in ("fp32", "bf16"):
            yield f"{name}, {px} px, {precision}", partial(rate, name, layer, px, precision)


def arrays(job: Job, limit: float) -> Measures:
    from featx.data.arrays import ArraySource
    from featx.extraction.compute import compute
    from featx.models.backbones import resolve

    def difference(config: Any) -> Found:
        few = ArraySource(source.images[: job.sizes.batch // 4])
        found, right = (compute(few, backbone, [layer], replace(config, device=d))[layer] for d in (job.device, "cpu"))
        return float(abs(found - right).max() / abs(right).max()), "of the largest value", "from the CPU's"

    for name, layer, px, count in job.sizes.networks:
        source, backbone = ArraySource(noise(count, px)), resolve(name, weights="random:0", size=px)
        for config in configs(job):
            said = f"{name}, {px} px, {config.precision}"
            yield said, partial(extraction, job, source, backbone, layer, config)
            yield f"{said}, difference", partial(difference, config)


def jpegs(job: Job, limit: float) -> Measures:
    import numpy as np

    from featx.data.batch_loader import image_shape, load_batches
    from featx.data.sources import load_source
    from featx.models.backbones import resolve

    (name, layer, px, _), batch = job.sizes.networks[0], job.sizes.batch
    source = load_source(draw_jpegs(job.scratch / "jpegs", job.sizes.jpegs, px * 8 // 7))
    backbone = resolve(name, weights="random:0", size=px)

    def decoding() -> Found:
        speed, done, preprocess = Rate("decode"), 0, backbone.preprocess
        rows, shape = (
            np.split(np.arange(len(source)), range(batch, len(source), batch)),
            image_shape(source, preprocess),
        )
        speed("decode", done, len(source))
        for loaded in load_batches(source, rows, preprocess, shape):
            done += len(loaded.rows)
            speed("decode", done, len(source))
        return float(speed), "images/s", f"{len(source)} images, {len(os.sched_getaffinity(0))} processors"

    yield f"decoding alone, {px * 8 // 7} to {px} px", decoding
    for config in configs(job):
        said = f"{name}, {px} px, {config.precision}"
        yield said, partial(extraction, job, source, backbone, layer, config)


def configs(job: Job) -> list[Any]:
    from featx.core.specs import ExtractConfig

    first = ExtractConfig(batch_size=job.sizes.batch, device=job.device)
    return [replace(first, precision="fp32"), replace(first, precision="bf16")]


def extraction(job: Job, source: Any, backbone: Any, layer: str, config: Any) -> Found:
    """Extract into a new store, once the kernels are loaded."""
    from featx.cache.store import FeatureStore
    from featx.data.arrays import ArraySource
    from featx.extraction.compute import compute
    from featx.extraction.extract import extract

    compute(ArraySource(noise(config.batch_size, backbone.preprocess.crop)), backbone, [layer], config)
    speed = Rate("extract")
    with tempfile.TemporaryDirectory(dir=job.scratch) as home:
        stages = extract({"all": source}, backbone, [layer], FeatureStore(home), config, speed).seconds
    spent = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in stages.items())
    return float(speed), "images/s", f"{len(source)} images, batch {config.batch_size}; {spent}"


def staging(job: Job, limit: float) -> Measures:
    import numpy as np
    import torch

    from featx.core.device import arithmetic, pick_device
    from featx.core.specs import LayerSpec
    from featx.extraction.forward import Network, Normalize
    from featx.extraction.staging import Pending, Staging, in_turn
    from featx.graph.placing import placed
    from featx.models.backbones import resolve
    from featx.models.parts import channels_last

    name, layer, px, count = job.sizes.networks[0]
    backbone, device, batch = resolve(name, weights="random:0", size=px), pick_device(job.device), job.sizes.batch
    channels = backbone.preprocess.channels
    network = Network(backbone, (channels, px, px))
    module: Any = channels_last(placed(network.traced.cut([LayerSpec.parse(layer)], network.nodes, ()), device))
    normalize, images = Normalize(backbone.preprocess).to(device), noise(count, px, channels)
    parts = [images[at : at + batch] for at in range(0, count, batch)]

    def rows_of(x: torch.Tensor) -> list[torch.Tensor]:
        with torch.inference_mode(), arithmetic(device, "bf16"):
            return list(module(normalize(x)))

    def plainly() -> Iterator[Any]:
        for part in parts:
            yield rows_of(torch.from_numpy(part).to(device))[0].cpu().numpy()

    def staged() -> Iterator[Any]:
        way = Staging(device)

        def begun() -> Iterator[tuple[None, Pending]]:
            for part in parts:
                with way.sent([part]) as (x,):
                    rows = rows_of(x)
                yield None, way.fetch(rows)

        for _, (rows,) in in_turn(begun(), way.ahead):
            yield rows

    def rate(loop: Callable[[], Iterator[Any]]) -> Found:
        speed = Rate("pass")
        for at, rows in enumerate(loop()):
            speed("pass", (at + 1) * batch, count)
            found.setdefault(loop, []).append(rows)
        return float(speed), "images/s", f"bf16, batch {batch}, {len(parts)} batches"

    def difference() -> Found:
        one, other = (np.concatenate(rows) for rows in found.values())
        return float(abs(one - other).max()), "at most", "0 expected: the same pass on the same images"

    found: dict[Callable[[], Iterator[Any]], list[Any]] = {}
    yield f"{name}, {px} px, plain copies", partial(rate, plainly)
    yield f"{name}, {px} px, staged", partial(rate, staged)
    yield "difference of the two", difference


def softmax(job: Job, limit: float) -> Measures:
    for C in (1e-2, 1.0):
        for device in dict.fromkeys((job.device, "cpu")):
            yield f"C = {C:g}, {device}", partial(fit, job, job.sizes.some, C, device)


def million(job: Job, limit: float) -> Measures:
    yield "C = 0.01", partial(fit, job, job.sizes.many, 1e-2, job.device)


def fit(job: Job, shape: tuple[int, int], C: float, device: str) -> Found:
    """Fit ten overlapping classes with correlated columns, drawn on the job's device."""
    import torch

    from featx import SoftmaxRegression

    n, d = shape
    chance = torch.Generator(job.device).manual_seed(0)
    draw = partial(torch.randn, generator=chance, device=job.device)
    y = torch.arange(n, device=job.device) % 10
    X = (draw(n, d) @ (torch.eye(d, device=job.device) + draw(d, d) / d**0.5)).add_(draw(10, d)[y], alpha=0.3)
    rows, labels = X.cpu().numpy(), y.cpu().numpy()
    del X, y
    peaks(job.device)  # what was drawn is none of the fit's
    began = time.perf_counter()
    model = SoftmaxRegression(C=C, device=device).fit(rows, labels)
    seconds = time.perf_counter() - began
    gap = "no bound" if model.objective_gap_ is None else f"within {model.objective_gap_ / model.objective_:.0e}"
    done = f"{model.n_iter_} steps, {'converged' if model.converged_ else 'NOT CONVERGED'}, {gap}"
    return seconds, "s", f"{n:,} x {d} x 10, {done}, objective {model.objective_:.10g}"


def training(job: Job, limit: float) -> Measures:
    import numpy as np

    from featx.data.arrays import ArraySource
    from featx.data.splits import Part, Partition
    from featx.models.backbones import resolve
    from featx.training.config import TrainConfig
    from featx.training.train import train

    def rate(name: str, px: int, count: int, precision: Any) -> Found:
        classes = tuple("abcdefghij")
        source = ArraySource(noise(count, px), np.arange(count) % len(classes), classes=classes)
        every, none = Part(source, np.arange(count)), Part(source, np.empty(0, np.int64))
        config = TrainConfig(
            mode="finetune", epochs=2, batch_size=job.sizes.train_batch, precision=precision, device=job.device
        )
        backbone = resolve(name, weights="random:0", size=px)
        last = train(Partition(every, none, none, seed=0), backbone, config).history[-1]
        said = f"batch {config.batch_size}, {count} images, the second epoch, loss {last['train_loss']:.3f}"
        return last["images_per_second"], "images/s", said

    for name, _, px, count in job.sizes.networks:
        for precision in ("fp32", "bf16"):
            yield (
                f"{name}, {px} px, {precision}",
                partial(rate, name, px, int(count * job.sizes.train_share), precision),
            )


PARTS: dict[str, tuple[float, Callable[[Job, float], Measures]]] = {
    "tests": (90, marked_tests),
    "forward": (40, forward),
    "arrays": (75, arrays),
    "jpegs": (60, jpegs),
    "staging": (25, staging),
    "softmax": (40, softmax),
    "million": (60, million),
    "training": (65, training),
}
"""By name: the seconds after which a part is stopped, and what it measures."""


def noise(count: int, px: int, channels: int = 3) -> Any:
    """Return images that are all different, uint8 (count, px, px, channels)."""
    import numpy as np

    return np.random.default_rng(0).integers(0, 256, (count, px, px, channels), np.uint8)


def draw_jpegs(folder: Path, count: int, px: int) -> Path:
    """Write smooth images, as large as photographs of that size are, in ten folders."""
    import numpy as np
    from PIL import Image

    def draw(i: int) -> None:
        coarse = np.random.default_rng(i).integers(0, 256, (px // 8, px // 8, 3), np.uint8)
        path = folder / "abcdefghij"[i % 10] / f"{i:06}.jpg"
        Image.fromarray(coarse).resize((px, px), Image.Resampling.BICUBIC).save(path, quality=85)

    for name in "abcdefghij":
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(count)))
    return folder


def machine(device: str) -> dict[str, Any]:
    import torch

    from featx.core.device import pick_device, processor_name

    return {
        "device": device,
        "name": processor_name(pick_device(device)),
        "processors": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }


def write(out: Path, document: dict[str, Any]) -> None:
    """Write both files; each is whole at any time."""
    out.mkdir(parents=True, exist_ok=True)
    facts = ", ".join(f"{name} {value}" for name, value in document.items() if name != "lines")
    head = "| part | what | figure | GPU MB | host MB | s | note |\n|---|---|---:|---:|---:|---:|---|\n"
    lines = "".join(f"{as_text(Line(**line))}\n" for line in document["lines"])
    for name, text in (("gpu.json", json.dumps(document, indent=1)), ("gpu.md", f"{facts}\n\n{head}{lines}")):
        (out / f"{name}.part").write_text(text)
        (out / f"{name}.part").replace(out / name)


def as_text(line: Line) -> str:
    """Return a line of the Markdown table."""
    figure = line.figure or 0.0
    digits = f"{figure:,.0f}" if figure >= 1000 else f"{figure:.4g}"
    said = "failed" if line.failed else f"{digits} {line.unit}"
    cells = (line.part, line.what, said, line.gpu_mb, line.host_mb, line.seconds, line.failed or line.note)
    return "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
