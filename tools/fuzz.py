"""Feeds damaged files to the extension's readers: `make fuzz FUZZ_SECONDS=10`.

Valid Parquet and CSV files, shards and states are changed at random (bytes flipped, cut, doubled, spliced; checksums mostly made right
again) and read in a process of their own. Each must be taken or refused with a named error: what kills or hangs the process, takes
more than a gigabyte, ends in another exception or leaves files behind is a finding. Findings are kept in `--folder`, and end the
program with 1.
"""

import argparse
import io
import os
import random
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import rust_sessionizer as rs

HANGS_AFTER = 20
"""Seconds of processor time for a file of some kilobytes; on a busy machine that may be long."""
STANDS_STILL_AFTER = 900
"""Seconds without an answer, whatever the processor did."""
MOST_BYTES = 1 << 30
READERS = ("parquet", "csv", "shard", "state")
COLUMNS = {"extra": ["event", "value"], "apart": ["part"], "keep": "keep"}


def _table(rows: int, texts: bool, random_: random.Random) -> pa.Table:
    ids = [random_.randrange(6) for _ in range(rows)]
    names = pa.array([f"é{number}" for number in ids], pa.string()) if texts else pa.array(ids, pa.int64())
    times = pa.array(sorted(random_.randrange(10**7) for _ in range(rows)), pa.int64())
    return pa.table(
        {
            "visitor_id": names,
            "item_id": names.take(pa.array(reversed(range(rows)), pa.int64())) if rows else names,
            "timestamp": times.cast(pa.timestamp(random_.choice(["ms", "us", "s"]), "UTC")) if texts else times,
            "event": pa.array([random_.choice(["view", "cart", None]) for _ in range(rows)], pa.string()).dictionary_encode(),
            "value": pa.array([random_.choice([1.5, None]) for _ in range(rows)], pa.float64()),
            "part": pa.array([random_.choice([1, 2, None]) for _ in range(rows)], pa.int8()),
            "keep": pa.array([random_.random() < 0.8 for _ in range(rows)], pa.bool_()),
        }
    )


def _parquet(random_: random.Random) -> bytes:
    texts = random_.random() < 0.5
    options: dict = {
        "compression": random_.choice(["none", "snappy", "zstd", "gzip", "lz4"]),
        "data_page_version": random_.choice(["1.0", "2.0"]),
        "row_group_size": random_.choice([5, 1_000]),
        "use_dictionary": random_.random() < 0.5,
        "write_statistics": random_.random() < 0.8,
        "write_page_index": random_.random() < 0.3,
    }
    if not options["use_dictionary"] and not texts:
        options["column_encoding"] = {"visitor_id": "DELTA_BINARY_PACKED", "value": "BYTE_STREAM_SPLIT"}
    if not options["use_dictionary"] and texts:
        options["column_encoding"] = {"visitor_id": random_.choice(["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])}
    out = io.BytesIO()
    pq.write_table(_table(random_.randrange(40), texts, random_), out, **options)
    return out.getvalue()


def _csv(random_: random.Random) -> bytes:
    frame = pl.from_arrow(_table(random_.randrange(1, 40), random_.random() < 0.5, random_))
    return frame.write_csv(quote_style=random_.choice(["necessary", "always"])).encode()


def _shard(random_: random.Random) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        log, shard = Path(folder, "log.parquet"), Path(folder, "shard")
        pq.write_table(_table(random_.randrange(40), random_.random() < 0.5, random_), log)
        rs.sessionize_files(log, shard, shard=(0, 1), threads=1, partitions=2, **COLUMNS)
        return shard.read_bytes()


def _state(random_: random.Random) -> bytes:
    stream = rs.Sessionizer(random_.choice([1, 10**6]), tolerance=random_.choice([0, 10**6]), keep=random_.choice([None, "keep"]))
    stream.feed(_table(random_.randrange(30), random_.random() < 0.5, random_))
    with tempfile.TemporaryDirectory() as folder:
        stream.save(Path(folder, "state"))
        return Path(folder, "state").read_bytes()


MAKERS: dict[str, Callable[[random.Random], bytes]] = {"parquet": _parquet, "csv": _csv, "shard": _shard, "state": _state}
NUMBERS = [0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
TOKENS = [
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r\n",
    b"\0",
    b"-",
    b"9" * 30,
    b"1e999",
    b"nan",
    b"\xff",
    b"2026-03-01T00:00:00Z",
    b"true",
    b"\xef\xbb\xbf",
]


def _checksum(content: bytes) -> bytes:
    """FNV-1a, 64 bits, as shards and states have it."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return struct.pack("<Q", value)


def _parts_checksum(content: bytes) -> bytes:
    """Word by word, as shards have it of their parts."""
    value, mask = 0, 2**64 - 1
    words = content + bytes(8 - len(content) % 8) + struct.pack("<Q", len(content))
    for (word,) in struct.iter_unpack("<Q", words):
        value = ((value ^ word) * 0x9E3779B97F4A7C15) & mask
        value = ((value << 29) | (value >> 35)) & mask
    return struct.pack("<Q", value)


def _repair(reader: str, content: bytes) -> bytes:
    """The content with the checksum that belongs to it, so that what lies behind it is reached."""
    if reader == "state" and len(content) > 16:
        return content[:-8] + _checksum(content[:-8])
    if reader == "shard" and len(content) > 40:
        (begin,) = struct.unpack("<Q", content[-16:-8])
        if 8 <= begin <= len(content) - 32:
            content = content[:-32] + _parts_checksum(content[8:begin]) + content[-24:]
            return content[:-24] + _checksum(content[begin:-24]) + content[-16:]
    return content


def mutate(reader: str, content: bytes, random_: random.Random) -> bytes:
    """The content, changed in one to six places; the end, where most is told of the rest, more often than other places."""
    changed = bytearray(content)
    for _ in range(random_.choice([1, 1, 1, 2, 3, 6])):
        if not changed:
            break
        place = random_.randrange(len(changed))
        if reader in ("parquet", "shard") and random_.random() < 0.6:
            place = max(0, len(changed) - 1 - int(random_.expovariate(1 / 400)))
        kind = random_.randrange(8)
        if kind == 0:
            changed[place] ^= 1 << random_.randrange(8)
        elif kind == 1:
            changed[place] = random_.randrange(256)
        elif kind == 2:
            del changed[place : place + random_.choice([1, 1, 8, 100])]
        elif kind == 3:
            begin = random_.randrange(len(changed))
            changed[place:place] = changed[begin : begin + random_.choice([1, 8, 64])]
        elif kind == 4:
            width, form = random_.choice([(1, "<B"), (2, "<H"), (4, "<I"), (8, "<Q")])
            changed[place : place + width] = struct.pack(form, random_.choice(NUMBERS) % 256**width)
        elif kind == 5:
            changed[place:place] = random_.choice(TOKENS)
        elif kind == 6:
            begin = random_.randrange(len(changed))
            changed[place : place + 16] = changed[begin : begin + 16]
        elif random_.random() < 0.2:
            del changed[place:]
    mended = bytes(changed)
    return _repair(reader, mended) if random_.random() < 0.8 else mended


def read(reader: str, path: Path, folder: Path) -> str:
    """What comes of a file: `taken`, or the name of the error; raises what is none."""
    output = folder / "out"
    try:
        if reader == "state":
            stream = rs.Sessionizer.load(path)
            stream.save(output)
            if output.read_bytes() != path.read_bytes():
                raise RuntimeError("a state that was loaded is saved as another one")
            for texts in (False, True):
                try:
                    stream.feed(_table(9, texts, random.Random(texts)))
                except rs.SessionizerError:
                    continue
            stream.close().to_pyarrow().validate(full=True)
        elif reader == "shard":
            rs.join_shards(path, output, threads=1, memory_limit="64MiB")
            pq.read_table(output)
        else:
            types = {"item_id": "string"} if reader == "csv" and path.stat().st_size % 2 else None
            rs.sessionize_files(path, output, threads=1, memory_limit="64MiB", csv_types=types, partitions=2, **COLUMNS)
            pq.read_table(output)
    except (rs.SessionizerError, OSError) as error:
        if not str(error):
            raise
        return type(error).__name__
    finally:
        left = {entry.name for entry in folder.iterdir()} - {"out"}
        output.unlink(missing_ok=True)
        if left:
            raise RuntimeError(f"left behind: {sorted(left)}")
    return "taken"


def serve() -> None:
    """Reads files by the name of their reader and their path, until the end; says what came of each, and the most memory so far."""
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    print("ready", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            reader, path = line.rstrip("\n").split("\t")
            try:
                told = read(reader, Path(path), Path(folder))
            except BaseException as error:
                told = f"!{type(error).__name__}: {error}".replace("\n", " ")[:300]
            print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}\t{told}", flush=True)


class Worker:
    """A process that reads files and may die of it."""

    def __init__(self, log: Path):
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("wb"), text=True
        )
        self.peak = 0
        self.process.stdout.readline()  # it is ready

    def _answers(self) -> bool:
        """Whether an answer comes before the process has computed for too long."""
        begin, spent = time.monotonic(), self._computed()
        while time.monotonic() - begin < STANDS_STILL_AFTER and self._computed() - spent < HANGS_AFTER:
            if select.select([self.process.stdout], [], [], 1)[0]:
                return True
        return False

    def _computed(self) -> float:
        """Seconds of processor time, or of the clock where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def read(self, reader: str, path: Path) -> str:
        """What came of a file; begins with `!` where it is a finding."""
        self.process.stdin.write(f"{reader}\t{path}\n")
        self.process.stdin.flush()
        if not self._answers():
            self.process.kill()
            return "!hangs"
        line = self.process.stdout.readline()
        if not line:
            told = self.log.read_text(errors="replace").strip().splitlines()
            return f"!died with {self.process.wait()}: {told[-1] if told else ''}"
        peak, told = line.rstrip("\n").split("\t", 1)
        before, self.peak = self.peak, int(peak)
        if before and self.peak - before > MOST_BYTES:
            return f"!took {self.peak - before:,} bytes ({told})"
        return told

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def fuzz(reader: str, seconds: float, seed: int, folder: Path) -> tuple[Counter, list[str]]:
    """What came of how many files within some seconds, and the findings."""
    random_ = random.Random(f"{seed} {reader}")
    outcomes: Counter = Counter()
    findings: list[str] = []
    seeds: list[bytes] = []
    with tempfile.TemporaryDirectory() as scratch:
        path, log = Path(scratch, "input"), Path(scratch, "log")
        worker = Worker(log)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and len(findings) < 20:
            if len(seeds) < 40 or random_.random() < 0.02:
                seeds.append(MAKERS[reader](random_))
                path.write_bytes(seeds[-1])
                told = worker.read(reader, path)
                if told != "taken" and not told.startswith("!"):
                    told = f"!a valid file is refused: {told}"
            else:
                path.write_bytes(mutate(reader, random_.choice(seeds), random_))
                told = worker.read(reader, path)
            if told.startswith("!"):
                kept = folder / f"{reader}-{seed}-{len(findings)}"
                folder.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(path.read_bytes())
                findings.append(f"{told[1:]} ({kept})")
                if worker.process.poll() is not None or told.startswith(("!hangs", "!died", "!took")):
                    worker.end()
                    worker = Worker(log)
                continue
            outcomes[told] += 1
        worker.end()
    return outcomes, findings


def main() -> int:
    """Fuzz the readers that were asked for; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="for each reader")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--reader", choices=READERS, action="append", help="all without it")
    parser.add_argument("--folder", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    failed = False
    print(f"seed {options.seed}", flush=True)
    for reader in options.reader or READERS:
        outcomes, findings = fuzz(reader, options.seconds, options.seed, options.folder)
        told = ", ".join(f"{name} {count:,}" for name, count in outcomes.most_common())
        print(f"{reader}: {outcomes.total():,} files; {told}", flush=True)
        for finding in findings:
            print(f"  FOUND {finding}", flush=True)
        failed |= bool(findings)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
