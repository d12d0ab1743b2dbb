"""Runs ringfield and llama.cpp in turn, and prints the table; scripts/compare-llama.sh calls it."""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
CONTEXT = 512
MODELS = ["models/SmolLM2-135M-Instruct.Q4_1.gguf", "models/gemma-3-270m-q4_k_m.gguf"]
PROMPT = "The history of the lighthouse begins with"
# What ringfield gets beside --dram, --kv and what its plan counts: the program, its stacks, a token's activations.
PROGRAM_BYTES = 8 * MIB
# A run that hangs is an error.
TIMEOUT_S = 600


class Failed(Exception):
    pass


class Group:
    """A memory control group (cgroups(7), either version), or a watch without a limit."""

    def __init__(self, name, limit):
        for parent, limit_file, peak_file in (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes"),
            ("/sys/fs/cgroup", "memory.max", "memory.peak"),
        ):
            self.at = os.path.join(parent, name)
            if os.path.isdir(parent) and os.access(parent, os.W_OK):
                with contextlib.suppress(OSError):
                    os.mkdir(self.at)
                if os.path.exists(os.path.join(self.at, limit_file)):
                    break
                with contextlib.suppress(OSError):
                    os.rmdir(self.at)
        else:
            raise Failed("no memory control group can be made")
        self.peak_file = peak_file
        if limit is not None:
            try:
                self.write(limit_file, limit)
            except OSError:
                self.remove()
                raise

    def write(self, name, value):
        with open(os.path.join(self.at, name), "w") as file:
            file.write(str(value))

    def peak(self):
        with open(os.path.join(self.at, self.peak_file)) as file:
            return int(file.read())

    def enter(self):
        self.write("cgroup.procs", os.getpid())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        for _ in range(100):
            try:
                return os.rmdir(self.at)
            except OSError:
                time.sleep(0.02)
        print(f"compare-llama: {self.at} could not be removed", file=sys.stderr)


def anonymous_bytes(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            found = re.search(r"RssAnon:\s+(\d+) kB", file.read())
        return 1024 * int(found[1]) if found else 0
    except OSError:
        return 0


def forget(path):
    """Takes a file out of the page cache, where a limit would not count it."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(command, limit=None, cold=None):
    """Output, error output, the peak of the control group, and the most anonymous memory seen."""
    if cold:
        forget(cold)
    with Group(f"ringfield-compare-{os.getpid()}", limit) as group, tempfile.TemporaryFile() as out, \
            tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=group.enter, start_new_session=True
        )
        anonymous, started = 0, time.monotonic()
        try:
            while process.poll() is None:
                anonymous = max(anonymous, anonymous_bytes(process.pid))
                if time.monotonic() - started > TIMEOUT_S:
                    raise Failed(f"{command[0]} did not end within {TIMEOUT_S} s")
                time.sleep(0.05)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        out.seek(0)
        err.seek(0)
        out, err = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        if process.returncode != 0:
            how = f"exit {process.returncode}" + (f" under {limit / 1e6:.0f} MB" if limit else "")
            raise Failed(f"{' '.join(command)}: {how}: {err.strip().splitlines()[-1:]}")
        return out, err, group.peak(), anonymous


def rate(text, what):
    """Tokens a second of one of llama.cpp's lines about its times."""
    found = re.search(rf"{what} time = *[0-9.]+ ms / +\d+ .*?([0-9.]+) tokens per second", text)
    if not found:
        raise Failed(f"llama-completion said nothing of its {what} time")
    return float(found[1])


class Llama:
    def __init__(self, model, threads):
        self.model, self.threads = model, threads

    def run(self, tokens, prompt, context=CONTEXT, limit=None):
        command = ["target/llama.cpp/bin/llama-completion", "-m", self.model, "-t", str(self.threads), "-c", str(context),
                   "-n", str(tokens), "--temp", "0", "-no-cnv", "--ignore-eos", *prompt]
        _, err, peak, anonymous = run(command, limit, cold=self.model if limit else None)
        return {"tok_per_s": rate(err, r"(?<!prompt) eval"), "prompt_tok_per_s": rate(err, "prompt eval"), "peak": peak,
                "anonymous": anonymous}


class Ringfield:
    def __init__(self, model, threads, arithmetic):
        self.options = [model, "--threads", str(threads), "--arithmetic", arithmetic, "--json"]

    def plan(self, dram=None):
        options = [] if dram is None else ["--dram", str(dram)]
        out, *_ = run(["target/release/ringfield", "plan", *self.options, *options])
        return json.loads(out)

    def run(self, tokens, prompt, context=CONTEXT, dram=None, limit=None):
        kv = context * self.plan_once["kv_bytes_per_token"]
        command = ["target/release/ringfield", "run", *self.options, "--warm-up", "-n", str(tokens), "--ctx", str(context), "--kv",
                   str(kv), *([] if dram is None else ["--dram", str(dram)]), *prompt]
        out, _, peak, _ = run(command, limit)
        return json.loads(out.splitlines()[-1]) | {"peak": peak}


def fio_bytes_per_s(path):
    """fio's best at random places, as `cargo bench --bench model` asks for it."""
    best = 0
    for size, depth in ((256 << 10, 24), (1 << 20, 8)):
        for extra in ([], ["--iomem=mmaphuge"]):
            with huge_pages(16 if extra else 0):
                out, *_ = run(["fio", "--name=peer", "--rw=randread", "--ioengine=io_uring", "--direct=1",
                               "--fixedbufs=1", "--registerfiles=1", "--norandommap", "--randrepeat=0", "--time_based",
                               "--runtime=1", "--output-format=json", f"--filename={path}", f"--bs={size}",
                               f"--iodepth={depth}", *extra])
            best = max(best, json.loads(out[out.index("{"):])["jobs"][0]["read"]["bw_bytes"])
    return best


@contextlib.contextmanager
def huge_pages(count):
    """At least so many huge pages are reserved meanwhile."""
    path = "/proc/sys/vm/nr_hugepages"
    with open(path) as file:
        before = int(file.read())
    def reserve(pages):
        with open(path, "w") as file:
            file.write(str(pages))

    if before >= count:
        yield
        return
    try:
        reserve(count)
        yield
    finally:
        reserve(before)


def rounds_of(model, options, say):
    """The rounds of a model, as a list of dictionaries, after what is measured once."""
    llama = Llama(model, options.threads)
    ours = Ringfield(model, options.threads, options.arithmetic)
    ours.plan_once = ours.plan()
    short, size = ["-p", PROMPT], os.path.getsize(model)
    beside = llama.run(32, short)["anonymous"]
    limits = {}
    for name, share in () if options.only == "memory" else (("1/2", 0.5), ("1/4", 0.25)):
        limit = int(beside + share * size)
        kv = CONTEXT * ours.plan_once["kv_bytes_per_token"]
        dram = (limit - kv - ours.plan_once["beside_bytes"] - PROGRAM_BYTES) // MIB * MIB
        if dram < 16 * MIB:
            raise Failed(f"{model}: {name} of the file leaves {dram} bytes for --dram: too small a model for a limit")
        limits[name] = (limit, dram, ours.plan(dram))
    say({"model": model, "bytes": size, "llama_anonymous": beside,
         "limits": {name: {"limit": limit, "dram": dram, "streamed": plan["streamed_bytes"]}
                    for name, (limit, dram, plan) in limits.items()}})
    rounds = []
    for _ in range(options.rounds):
        row = {}
        memory = ours.run(128, short)
        row["compute"] = memory["tok_per_s"]
        row["report"] = {name: memory[name] for name in ("backend", "isa", "threads")}
        if options.only != "limit":
            row["llama"] = llama.run(128, short)["tok_per_s"]
            long = ["-f", options.text]
            row["prompt"] = ours.run(2, long, context=1024)["prompt_tok_per_s"]
            row["llama_prompt"] = llama.run(2, long, context=1024)["prompt_tok_per_s"]
        if limits:
            row["fio"] = fio_bytes_per_s(model)
            for name, (limit, dram, plan) in limits.items():
                got = ours.run(200, short, dram=dram, limit=limit)
                peer = llama.run(24, short, limit=limit)
                row[name] = {
                    "got": got["tok_per_s"], "llama": peer["tok_per_s"],
                    "bound": min(row["compute"], row["fio"] / plan["streamed_bytes"]),
                    "p99_to_median": got["token_p99_ms"] / got["token_p50_ms"],
                    "peak": got["peak"], "allowed": dram + got["kv_bytes"] + 32 * MIB, "llama_peak": peer["peak"],
                }
        say(row)
        rounds.append(row)
    return rounds


def spread(values, digits=0):
    values = sorted(values)
    median = statistics.median(values)
    return f"{median:.{digits}f} ({values[0]:.{digits}f} to {values[-1]:.{digits}f})"


def table(model, rounds):
    yield f"{os.path.basename(model)}: {rounds[0]['report']}"
    yield f"{'':<28}{'ringfield':>24}{'llama.cpp':>24}{'ratio':>24}"

    def row(what, ours, theirs, unit="tokens/s"):
        pairs = [(ours(r), theirs(r)) for r in rounds]
        return (f"{what:<28}{spread([a for a, _ in pairs], 1):>24}{spread([b for _, b in pairs], 1):>24}"
                f"{spread([a / b for a, b in pairs], 2):>24}  {unit}")

    if "llama" in rounds[0]:
        yield row("all in memory, generation", lambda r: r["compute"], lambda r: r["llama"])
        yield row("all in memory, prompt", lambda r: r["prompt"], lambda r: r["llama_prompt"])
    for name in ("1/2", "1/4"):
        if name not in rounds[0]:
            continue
        yield row(f"limit: {name} of the file", lambda r: r[name]["got"], lambda r: r[name]["llama"])
        yield row("  peak memory", lambda r: r[name]["peak"] / 1e6, lambda r: r[name]["llama_peak"] / 1e6, "MB")
        of = [r[name] for r in rounds]
        yield (f"  share of min(compute, fio) {spread([r['got'] / r['bound'] for r in of], 2)}; p99 of a token to its "
               f"median {spread([r['p99_to_median'] for r in of], 2)}; peak to --dram + --kv + 32 MiB "
               f"{spread([r['peak'] / r['allowed'] for r in of], 2)}")


def main():
    parser = argparse.ArgumentParser(prog="compare-llama.sh")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", action="append")
    parser.add_argument("--arithmetic", choices=["exact", "eight-bit"], default="eight-bit")
    parser.add_argument("--only", choices=["memory", "limit"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads are at least 1")
    if not shutil.which("fio") and options.only != "memory":
        sys.exit("compare-llama: fio is not installed; --only memory goes without")

    def say(record):
        if options.json:
            print(json.dumps(record), flush=True)
        else:
            print(".", end="", file=sys.stderr, flush=True)

    options.model = [os.path.realpath(model) for model in options.model or []]
    for model in options.model:
        if not os.path.isfile(model):
            parser.error(f"{model} is not a file")
    if options.check:
        return
    os.chdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
    # Whatever of these ends it, groups and huge pages are given back.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
        # Some 500 tokens of English.
        with open("ARCHITECTURE.md", encoding="utf-8") as file:
            text.write(file.read()[:2000])
        text.flush()
        options.text = text.name
        try:
            for model in options.model or MODELS:
                rounds = rounds_of(model, options, say)
                if not options.json:
                    print(file=sys.stderr)
                    print("\n".join(table(model, rounds)))
        except (Failed, OSError) as why:
            sys.exit(f"compare-llama: {why}")
        except KeyboardInterrupt:
            sys.exit(130)


if __name__ == "__main__":
    main()
