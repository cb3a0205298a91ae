"""The demo shop: a seeded generator of an event log, in time order, of any size.

The shop sells items in the leaves of a small category tree. Each leaf keeps its items on shelves, and every leaf goes with another one of
its branch. A visitor follows two trails: one along a shelf of a leaf they like, up or down in steps, and one along a shelf of the leaf that
goes with it; they cross over from one trail to the other again and again, and each trail goes on from where it was left. What comes next
therefore follows from the last item only where the visitor stays on its trail; otherwise it follows from an earlier item and from the
direction, which takes several clicks to tell. No table of followers of single items says all of that.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.errors import ConfigurationError
from recsys.files import whole_file
from recsys.settings.source import EVENT_TYPES, DemoSource

COLUMNS = ("timestamp", "visitor", "event", "item", "price", "quantity")
START_MS = 1_735_689_600_000
"""The log's first instant: 2025-01-01 00:00 UTC."""

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
CHUNK_EVENTS = 1_000_000

LEAF_ITEMS = 125
LEAVES_A_BRANCH = 4
SHELVES_A_LEAF = 5

LEAF_SKEW = 1.1
ITEM_SKEW = 1.0

MEAN_VIEWS = 5.3
MOST_VIEWS = 80
CART_SHARE = 0.125
PURCHASE_SHARE = 0.4
LATE_SHARE = 0.005
DUPLICATE_SHARE = 0.005
ROWS_A_BROKEN_ONE = 20_000

# At each click a visitor crosses over to the other trail, or goes on with the present one; either way they may step off the path.
CROSSING = 0.62
OFF_THE_PATH = 0.10
UPWARDS = 0.85
# How far along the shelf, 1 step to 8; nearer is likelier.
STEPS = np.repeat(np.arange(1, 9, dtype=np.int64), [16, 13, 10, 8, 6, 5, 3, 3])
TASTES = np.cumsum([0.55, 0.25, 0.12])
HOURS = np.array([3, 2, 1, 1, 1, 2, 4, 6, 8, 9, 10, 10, 11, 10, 9, 9, 10, 11, 13, 15, 16, 14, 10, 6], dtype=float)
WEEKDAYS = np.array([1.0, 0.95, 0.95, 1.0, 1.05, 1.2, 1.25])

BROKEN_ROWS = (
    "{time},{visitor},view,,{price:.2f},1",  # the item is missing
    "31.12.2024 late,{visitor},view,{item},{price:.2f},1",  # the time cannot be read
    "{time},{visitor},hover,{item},{price:.2f},1",  # an event nobody defined
    "{time},{visitor},view,{item},{price:.2f},1,0,extra",  # more fields than the header has
)


@dataclass(frozen=True)
class Shop:
    """What is fixed for a whole log; N items, sorted by leaf.

    Attributes
    ----------
    ids : int64 [N]
        The items' ids.
    price : float64 [N]
    weight : float64 [N]
        Attractiveness before drift.
    phase, period, swing : float64 [N]
        The drift: log-attractiveness swings by `swing` over `period` days.
    bounds : int64 [leaves + 1]
        Leaf l holds the items `bounds[l]:bounds[l + 1]`.
    leaf_share : float64 [leaves]
        Cumulated attractiveness of the leaves, ending in 1.
    member : int32 [N]
        The items in the order of the shelves.
    place : int32 [N]
        Where each item stands in `member`.
    companion : int64 [leaves]
        The leaf that goes with each leaf.
    """

    ids: np.ndarray
    price: np.ndarray
    weight: np.ndarray
    phase: np.ndarray
    period: np.ndarray
    swing: np.ndarray
    bounds: np.ndarray
    leaf_share: np.ndarray
    member: np.ndarray
    place: np.ndarray
    companion: np.ndarray


@dataclass
class _Rows:
    """Rows in the order they are written in."""

    written: np.ndarray
    time: np.ndarray
    visitor: np.ndarray
    item: np.ndarray
    event: np.ndarray
    quantity: np.ndarray

    def take(self, which: np.ndarray | slice) -> "_Rows":
        return _Rows(*(column[which] for column in vars(self).values()))

    @staticmethod
    def join(several: list["_Rows"]) -> "_Rows":
        return _Rows(*(np.concatenate(columns) for columns in zip(*(vars(rows).values() for rows in several), strict=True)))


def build_shop(settings: DemoSource) -> Shop:
    """The shop's items, prices, category tree and shelves."""
    rng = np.random.default_rng([settings.seed, 0])
    n = settings.items
    leaves = max(1, round(n / LEAF_ITEMS))
    bounds = np.arange(leaves + 1, dtype=np.int64) * n // leaves
    size = np.diff(bounds)
    leaf = np.repeat(np.arange(leaves), size)

    leaf_weight = rng.permutation(1.0 / (np.arange(leaves) + 2.0) ** LEAF_SKEW)
    ranks = np.empty(n, dtype=np.int64)
    ranks[np.lexsort((rng.random(n), leaf))] = np.arange(n) - bounds[leaf]
    weight = 1.0 / (ranks + 2.0) ** ITEM_SKEW
    branch, twig = np.divmod(np.arange(leaves), LEAVES_A_BRANCH)
    companion = np.minimum(branch * LEAVES_A_BRANCH + (twig + 1) % LEAVES_A_BRANCH, leaves - 1)
    leaf_price = rng.lognormal(3.0, 0.8, leaves)
    price = np.round(np.maximum(leaf_price[leaf] * rng.lognormal(0.0, 0.4, n), 0.5), 2)

    member = np.lexsort((rng.random(n), leaf)).astype(np.int32)
    place = np.empty(n, dtype=np.int32)
    place[member] = np.arange(n, dtype=np.int32)
    return Shop(
        ids=10_000 + rng.permutation(n).astype(np.int64) * 31 + rng.integers(0, 31, n),
        price=price,
        weight=weight,
        phase=rng.random(n),
        period=rng.uniform(20, 60, n),
        swing=np.abs(rng.normal(0.0, 0.7, n)),
        bounds=bounds,
        leaf_share=np.cumsum(leaf_weight) / leaf_weight.sum(),
        member=member,
        place=place,
        companion=companion,
    )


def _scramble(values: np.ndarray, key: int) -> np.ndarray:
    """A fixed, uniform-looking number in [0, 1) for each value (SplitMix64's finaliser)."""
    with np.errstate(over="ignore"):
        x = values.astype(np.uint64) + np.uint64((key * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


class _Attraction:
    """Draws items of a leaf by their attractiveness on a day."""

    def __init__(self, shop: Shop, day: float):
        self.shop = shop
        self.weight = shop.weight * np.exp(shop.swing * np.sin(2 * np.pi * (day / shop.period + shop.phase)))
        self.cumulated = np.concatenate([[0.0], np.cumsum(self.weight)])

    def draw(self, leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        first, end = self.shop.bounds[leaf], self.shop.bounds[leaf + 1]
        low, high = self.cumulated[first], self.cumulated[end]
        found = np.searchsorted(self.cumulated, low + rng.random(len(leaf)) * (high - low), side="right") - 1
        return np.clip(found, first, end - 1)


def _shelf(shop: Shop, leaf: np.ndarray, shelf: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a shelf of a leaf begins, and how many items stand on it."""
    size = shop.bounds[leaf + 1] - shop.bounds[leaf]
    first = -(-shelf * size // SHELVES_A_LEAF)
    end = -(-(shelf + 1) * size // SHELVES_A_LEAF)
    return shop.bounds[leaf] + first, end - first


def _along_the_shelf(
    shop: Shop, attraction: _Attraction, item: np.ndarray, leaf: np.ndarray, up: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The next item on the shelf, which is a ring; of two that are looked at, the more attractive one."""
    place = shop.place[item].astype(np.int64)
    size = shop.bounds[leaf + 1] - shop.bounds[leaf]
    first, length = _shelf(shop, leaf, (place - shop.bounds[leaf]) * SHELVES_A_LEAF // size)
    direction = np.where(up, 1, -1)
    looked_at = []
    for _ in range(2):
        step = direction * (1 + (STEPS[rng.integers(0, len(STEPS), len(item))] - 1) % (length - 1))
        looked_at.append(shop.member[first + (place - first + step) % length].astype(np.int64))
    one, other = looked_at
    return np.where(attraction.weight[one] >= attraction.weight[other], one, other)


def _browse(
    shop: Shop, attraction: _Attraction, visitor: np.ndarray, views: np.ndarray, rng: np.random.Generator, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The items viewed, visit after visit, and where each visit begins. The visits come with the longest first."""
    visits = len(visitor)
    leaves = len(shop.bounds) - 1
    offsets = np.concatenate([[0], np.cumsum(views)])
    viewed = np.empty(offsets[-1], dtype=np.int64)
    taste = np.searchsorted(TASTES, rng.random(visits), side="right")
    wish = np.where(taste < len(TASTES), _scramble(visitor * 4 + taste, seed), rng.random(visits))
    leaf = np.minimum(np.searchsorted(shop.leaf_share, wish, side="right"), leaves - 1)
    item = attraction.draw(leaf, rng)
    # The trail that is not being followed: an item of the leaf that goes with the first one, not yet looked at.
    other_leaf = shop.companion[leaf]
    other = np.full(visits, -1)
    up = rng.random(visits) < UPWARDS
    viewed[offsets[:-1]] = item
    # The longest visits stand first, so that those still going on are always the first `active`.
    active_at = visits - np.searchsorted(np.sort(views), np.arange(1, views[0]), side="right") if visits else []
    for number, active in enumerate(active_at, start=1):
        crossing = rng.random(active) < CROSSING
        item, other = np.where(crossing, other[:active], item[:active]), np.where(crossing, item[:active], other[:active])
        leaf, other_leaf = np.where(crossing, other_leaf[:active], leaf[:active]), np.where(crossing, leaf[:active], other_leaf[:active])
        up = up[:active]
        anywhere = (item < 0) | (rng.random(active) < OFF_THE_PATH)
        following = np.empty(active, dtype=np.int64)
        here = np.flatnonzero(~anywhere)
        following[here] = _along_the_shelf(shop, attraction, item[here], leaf[here], up[here], rng)
        following[anywhere] = attraction.draw(leaf[anywhere], rng)
        item = following
        viewed[offsets[:active] + number] = item
    return viewed, offsets


def _visits(settings: DemoSource, shop: Shop, starts: np.ndarray, rng: np.random.Generator, day: float) -> _Rows:
    """All rows of the visits that start at `starts` (milliseconds since 1970-01-01 UTC)."""
    attraction = _Attraction(shop, day)
    visitors = settings.visitors
    # Few visitors come often, most of them rarely.
    visitor = np.minimum((visitors * rng.random(len(starts)) ** 1.5).astype(np.int64), visitors - 1)
    views = np.minimum(rng.geometric(1 / MEAN_VIEWS, len(starts)), MOST_VIEWS)
    longest_first = np.argsort(-views, kind="stable")
    views, visitor, starts = views[longest_first], visitor[longest_first], starts[longest_first]
    item, offsets = _browse(shop, attraction, visitor, views, rng, settings.seed)

    pause = np.clip(rng.lognormal(np.log(40_000), 1.0, len(item)), 3_000, 20 * 60_000).astype(np.int64)
    before = np.cumsum(pause) - pause
    time = np.repeat(starts - before[offsets[:-1]], views) + before
    who = np.repeat(visitor, views)
    cart = np.flatnonzero(rng.random(len(item)) < CART_SHARE)
    purchase = cart[rng.random(len(cart)) < PURCHASE_SHARE]
    # Carts and purchases happen before the next view, so that they follow what was viewed.
    cart_time = time[cart] + (pause[cart] * rng.uniform(0.2, 0.5, len(cart))).astype(np.int64)
    purchase_time = time[purchase] + (pause[purchase] * rng.uniform(0.6, 0.9, len(purchase))).astype(np.int64)
    which = np.concatenate([np.arange(len(item)), cart, purchase])
    time = np.concatenate([time, cart_time, purchase_time])
    pieces = np.ones(len(which), dtype=np.int64)
    pieces[len(item) :] += rng.random(len(which) - len(item)) < 0.15

    written = time.copy()
    late = np.flatnonzero(rng.random(len(time)) < LATE_SHARE)
    written[late] += 60_000 + rng.exponential(HOUR_MS, len(late)).astype(np.int64)
    rows = _Rows(
        written=written,
        time=time,
        visitor=who[which],
        item=item[which],
        event=np.repeat(np.array([0, 1, 2], dtype=np.uint8), [len(item), len(cart), len(purchase)]),
        quantity=pieces,
    )
    twice = rows.take(np.flatnonzero(rng.random(len(time)) < DUPLICATE_SHARE))
    twice.written = twice.written + rng.integers(0, 5_000, len(twice.written))
    rows = _Rows.join([rows, twice])
    return rows.take(rows.time < START_MS + settings.days * DAY_MS)


def _intensity(days: int) -> np.ndarray:
    """Share of the visits that start before each full hour of the log."""
    hours = np.arange(days * 24)
    rate = HOURS[hours % 24] * WEEKDAYS[(hours // 24 + 2) % 7]
    return np.concatenate([[0.0], np.cumsum(rate) / rate.sum()])


def visitor_ids(settings: DemoSource, visitor: np.ndarray) -> np.ndarray:
    """The ids of visitors 0 to V - 1: spread, and in no order."""
    stride = int(settings.visitors * 0.6180339887) | 1
    while np.gcd(stride, settings.visitors) != 1:
        stride += 2
    return 500_000 + (visitor * stride % settings.visitors) * 13 + visitor % 13


def generate(settings: DemoSource) -> Iterator[tuple[int, pl.DataFrame]]:
    """The log in the order it is written, chunk by chunk.

    Parameters
    ----------
    settings : DemoSource

    Yields
    ------
    part : int
        The raw file that the rows belong to; never falling.
    rows : pl.DataFrame
        `timestamp` (ms), `visitor`, `event`, `item`, `price`, `quantity`; at most about a million rows.
    """
    shop = build_shop(settings)
    events_a_visit = MEAN_VIEWS * (1 + CART_SHARE * (1 + PURCHASE_SHARE)) * (1 + DUPLICATE_SHARE)
    visits = max(1, round(settings.events / events_a_visit))
    share = _intensity(settings.days)
    span = settings.days * DAY_MS
    hour_starts = np.arange(len(share)) * float(HOUR_MS)
    names = pl.Series(EVENT_TYPES, dtype=pl.Enum(EVENT_TYPES))

    def table(rows: _Rows) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "timestamp": rows.time,
                "visitor": visitor_ids(settings, rows.visitor),
                "event": names.gather(rows.event),
                "item": shop.ids[rows.item],
                "price": shop.price[rows.item],
                "quantity": rows.quantity,
            }
        )

    waiting: _Rows | None = None
    number = 0
    for part in range(settings.parts):
        first, end = part * span // settings.parts, (part + 1) * span // settings.parts
        slots = max(-(-(end - first) // DAY_MS), -(-settings.events // settings.parts // CHUNK_EVENTS), 1)
        for slot in range(slots):
            number += 1
            begin, stop = first + (end - first) * slot // slots, first + (end - first) * (slot + 1) // slots
            low, high = np.interp([begin, stop], hour_starts, share)
            rng = np.random.default_rng([settings.seed, number])
            count = round(visits * high) - round(visits * low)
            starts = START_MS + np.interp(low + (high - low) * rng.random(count), share, hour_starts).astype(np.int64)
            rows = _visits(settings, shop, starts, rng, (begin + stop) / 2 / DAY_MS)
            if waiting is not None:
                rows = _Rows.join([waiting, rows])
            rows = rows.take(np.argsort(rows.written, kind="stable"))
            last = part == settings.parts - 1 and slot == slots - 1
            done = len(rows.written) if last else int(np.searchsorted(rows.written, START_MS + stop))
            waiting = rows.take(slice(done, None))
            yield part, table(rows.take(slice(0, done)))


def _broken_lines(chunk: pl.DataFrame, rng: np.random.Generator) -> list[tuple[int, str]]:
    """Lines that cannot be read, each with the row it stands before."""
    if not chunk.height:
        return []
    count = len(BROKEN_ROWS) + chunk.height // ROWS_A_BROKEN_ONE
    lines = []
    for kind, position in enumerate(np.sort(rng.integers(0, chunk.height, count)).tolist()):
        time, visitor, _, item, price, _ = chunk.row(position)
        lines.append((position, BROKEN_ROWS[kind % len(BROKEN_ROWS)].format(time=time, visitor=visitor, item=item, price=price)))
    return lines


def write_demo(settings: DemoSource, paths: list[Path]) -> None:
    """Write the demo shop's raw files, one a part, in time order.

    Parameters
    ----------
    settings : DemoSource
    paths : list of Path
        As many as `settings.parts`; `.parquet` files are written as Parquet, all others as CSV. Only CSV gets rows that cannot be read.

    Raises
    ------
    ConfigurationError
        If there are more or fewer paths than parts.
    """
    if len(paths) != settings.parts:
        raise ConfigurationError(f"source.parts is {settings.parts}, but {len(paths)} files are to be written; name one file a part")
    chunks = generate(settings)
    ahead = next(chunks, None)
    for part, path in enumerate(paths):
        with ExitStack() as stack:
            partial = stack.enter_context(whole_file(path))
            write = _parquet_writer(partial, stack) if path.suffix == ".parquet" else _csv_writer(partial, stack, settings.seed, part)
            while ahead is not None and ahead[0] == part:
                write(ahead[1])
                ahead = next(chunks, None)


def _csv_writer(path: Path, stack: ExitStack, seed: int, part: int):
    file = stack.enter_context(path.open("wb"))
    file.write((",".join(COLUMNS) + "\n").encode())
    rng = np.random.default_rng([seed, 1, part])
    broken = False

    def write(chunk: pl.DataFrame) -> None:
        nonlocal broken
        done = 0
        # A few a part are enough; long parts get more.
        lines = _broken_lines(chunk, rng) if not broken or chunk.height >= ROWS_A_BROKEN_ONE else []
        broken = broken or bool(lines)
        for position, line in lines:
            chunk[done:position].write_csv(file, include_header=False, float_precision=2)
            file.write(line.encode() + b"\n")
            done = position
        chunk[done:].write_csv(file, include_header=False, float_precision=2)

    return write


def _parquet_writer(path: Path, stack: ExitStack):
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole = pa.int64()
    types = {"timestamp": whole, "visitor": whole, "event": pa.large_string(), "item": whole, "price": pa.float64(), "quantity": whole}
    writer = stack.enter_context(pq.ParquetWriter(path, pa.schema(list(types.items())), compression="zstd"))

    def write(chunk: pl.DataFrame) -> None:
        if chunk.height:
            writer.write_table(chunk.with_columns(pl.col("event").cast(pl.String)).to_arrow().cast(writer.schema))

    return write
