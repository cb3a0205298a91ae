"""What the literature reports as lifting GRU4Rec and its session-parallel step cannot do, tried on whole sessions; test is never read.

    python benchmarks/variants_whole_sessions.py [--folder results/variants] [--data rsc15_100k demo …] [--only NAME ...] [--seeds 1 2]

Tried are back-propagation through the whole prefix of every click (Tan et al., DLRS 2016); the pause before a click as an input (after
Bogina & Kuflik, RecTemp 2017) and its event type; attention over the session's states (after NARM, Li et al., CIKM 2017). A step takes the
next `batch_size` sessions and predicts at all of their clicks at once; `states detached` stands for today's training. All else is as in
the published BPR-max parameters but for a quarter of the samples (and, on retailrocket_sequences, half the epochs), or as in the demo
shop's BPR-max run. What was done is kept in --folder, a JSON file a run, so that an interrupted call goes on. Prints a table: recall@20 and
MRR@20 on validation after the last epoch, the mean of the seeds, the differences from `states detached`, and what the epoch with the best
MRR@20 had.

Shapes: S sessions of a step, M predictions of a step, T clicks of its longest session, H units, C = M targets + samples, V items.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import polars as pl  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn.functional import dropout, pad  # noqa: E402

from benchmarks.conformance import RETAILROCKET, data_folder, window  # noqa: E402
from recsys.evaluation.ranking import flat_metrics  # noqa: E402
from recsys.files import write_json  # noqa: E402
from recsys.models.gru4rec_forward import initial_arrays  # noqa: E402
from recsys.models.gru4rec_network import Lanes, Saved, bpr_max, gates_backward, gates_forward  # noqa: E402
from recsys.sessions.table import Sessions  # noqa: E402
from recsys.settings.gru4rec import GRU4RecParameters  # noqa: E402
from recsys.training.hardware import use_threads  # noqa: E402
from recsys.training.optimizer import Adagrad  # noqa: E402
from rust_sessionizer.ranking import rank  # noqa: E402

DEMO = ROOT / "workflow_config.yaml"
LOGS = ("rsc15_100k", "retailrocket_sequences", "demo", "demo_with_repeats")
"""The logs. Where repeats are dropped, hardly a cart or a purchase is left of the demo shop's."""
QUICKER = {"rsc15_100k": {"n_sample": 512}, "retailrocket_sequences": {"n_sample": 512, "epochs": 5}}
"""What is less than published, so that a run takes minutes."""
TIMES_MADE_UP = ("retailrocket_sequences",)
ONE_EVENT_TYPE = ("rsc15_100k", "retailrocket_sequences")
SAVED = tuple(part.name for part in fields(Saved))
METRICS = ("recall@20", "mrr@20")
PAUSE_BUCKETS = 14
"""A session's first click, then 1 + the logarithm (base 2) of the seconds since the click before."""


@dataclass(frozen=True)
class Variant:
    """What is different from detached states.

    Attributes
    ----------
    through_time
        Gradients go back through all states of a session.
    pause, event
        A learned row of the pause since the click before, and of the click's event type, is added to the item's.
    attention
        What is added to a state from the weighted sum of the states so far, whose weights follow from the state: `added`, the sum, each
        unit times a learned weight; `joined`, a learned matrix times state and sum.
    parameters
        Instead of the log's.
    """

    through_time: bool = False
    pause: bool = False
    event: bool = False
    attention: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "states detached": Variant(),
    "through time": Variant(through_time=True),
    "pause": Variant(pause=True),
    "event type": Variant(event=True),
    "attention, added": Variant(attention="added"),
    "attention, joined": Variant(attention="joined"),
    "through time, pause": Variant(through_time=True, pause=True),
    "through time, attention, added": Variant(through_time=True, attention="added"),
    "through time, attention, joined": Variant(through_time=True, attention="joined"),
    "states detached, layers 128": Variant(parameters={"layers": [128]}),
    "through time, layers 128": Variant(through_time=True, parameters={"layers": [128]}),
}


@dataclass(frozen=True)
class Batch:
    """Every prediction of some sessions, click after click; of one click, the longest sessions first.

    Attributes
    ----------
    items, pauses, events, targets : int64 [M]
        The clicks, the pauses before them as bucket, their event types, and the clicks that follow.
    session, click : int64 [M]
        Which session of the batch, and how many of its clicks lie before.
    running : list of int, [T]
        The sessions that still have a prediction at each click.
    """

    items: Tensor
    pauses: Tensor
    events: Tensor
    targets: Tensor
    session: Tensor
    click: Tensor
    running: list[int]


def batches(sessions: Sessions, size: int) -> Iterator[Batch]:
    """`size` sessions at a time, in their order."""
    items, pauses, events = (torch.from_numpy(of.astype(np.int64)) for of in (sessions.items, pause_buckets(sessions), sessions.events))
    predictions = sessions.lengths - 1
    for begin in range(0, len(sessions), size):
        own = begin + np.argsort(-predictions[begin : begin + size], kind="stable")
        has = np.arange(predictions[own[0]])[:, None] < predictions[own]  # [T, S]
        click, session = has.nonzero()
        place = torch.from_numpy(sessions.offsets[own[session]] + click)  # [M]
        lanes = torch.from_numpy(session), torch.from_numpy(click)
        yield Batch(items[place], pauses[place], events[place], items[place + 1], *lanes, has.sum(1).tolist())


def pause_buckets(sessions: Sessions) -> np.ndarray:
    """The bucket of each click's pause, int64 [clicks]."""
    seconds = np.diff(sessions.times, prepend=sessions.times[:1]) / 1000
    seconds[sessions.offsets[:-1]] = 0  # of another session
    bucket = 1 + np.log2(1 + seconds.clip(min=0)).astype(np.int64).clip(max=PAUSE_BUCKETS - 2)
    bucket[sessions.offsets[:-1]] = 0
    return bucket


class Recurrence(torch.autograd.Function):
    """The states [M, H] that a GRU passes through, dropped out as the next step receives them.

    Its derivative is written out, with one product for the weights of all clicks. Where states are detached it ends at the state before.
    """

    @staticmethod
    def forward(
        ctx: Any, from_input: Tensor, weight: Tensor, bias: Tensor, masks: Tensor, running: list[int], through_time: bool
    ) -> Tensor:
        """Of the inputs' products [M, 3H], the states' weights [3H, H] and their bias [3H], and dropout masks [M, H]."""
        state = from_input.new_zeros(running[0], weight.shape[1])  # [S, H]
        states, kept = [], []
        for now, mask in zip(from_input.split(running), masks.split(running), strict=True):
            state = state[: len(now)]
            state, saved = gates_forward(now, torch.addmm(bias, state, weight.T), state, mask)  # [sessions still running, H]
            states.append(state)
            kept.append(saved)
        ctx.save_for_backward(weight, masks, *(torch.cat([getattr(saved, name) for saved in kept]) for name in SAVED))
        ctx.running, ctx.through_time = running, through_time
        return torch.cat(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, masks, *kept = ctx.saved_tensors
        in_bias = [gradient.new_empty(len(weight)) for _ in range(2)]
        if ctx.through_time:
            parts = list(zip(gradient.split(ctx.running), masks.split(ctx.running), *(of.split(ctx.running) for of in kept), strict=True))
            later, found = gradient.new_zeros(0, weight.shape[1]), []
            for own, mask, *saved in reversed(parts):
                total = own.clone()
                total[: len(later)] += later
                in_input, in_state = gates_backward(total, mask, Saved(*saved), *in_bias)
                later = torch.addcmul(in_state @ weight, total * mask, saved[1][:, weight.shape[1] :])  # [sessions still running, H]
                found.append((in_input, in_state))
            in_input, in_state = (torch.cat(of[::-1]) for of in zip(*found, strict=True))  # [M, 3H] each
        else:
            in_input, in_state = gates_backward(gradient, masks, Saved(*kept), *in_bias)
        return in_input, in_state.T @ kept[0], in_state.sum(0), None, None, None


class SameClick(Lanes):
    """As lanes, with a row of `absent` a prediction: its negatives are the samples and the other sessions' targets at the same click."""

    def running(self, count: int) -> Tensor:
        return torch.ones(count, dtype=torch.bool)


class Network:
    """A GRU over whole sessions, with what the variant adds.

    Parameters
    ----------
    n_items, n_events
        Items of the vocabulary, and event types.
    variant
        What is different.
    chosen
        The log's parameters with the variant's; one layer, shared table.
    seed
        Of the initial weights.

    Attributes
    ----------
    dense
        All learned arrays but the item table's and its bias, by name.
    table, bias
        [V, H] and [V].
    """

    def __init__(self, n_items: int, n_events: int, variant: Variant, chosen: GRU4RecParameters, seed: int) -> None:
        self._variant, self._chosen = variant, chosen
        self.dense = {name: torch.from_numpy(array) for name, array in initial_arrays(n_items, chosen, seed).items()}
        self.table, self.bias = self.dense.pop("item_table"), self.dense.pop("item_bias")
        units = chosen.layers[0]
        if variant.pause:
            self.dense["pause"] = torch.zeros(PAUSE_BUCKETS, units)
        if variant.event:
            self.dense["event"] = torch.zeros(n_events, units)
        if variant.attention:
            self.dense["attend"] = torch.eye(units)
            self.dense["combine"] = torch.zeros(units) if variant.attention == "added" else torch.zeros(units, 2 * units)
        for array in self.dense.values():
            array.requires_grad_()

    def outputs(self, batch: Batch, entered: Tensor, training: bool) -> Tensor:
        """What scores the items after each click: [M, H] of the items' rows [M, H]."""
        named, chosen = self.dense, self._chosen
        if self._variant.pause:
            entered = entered + named["pause"][batch.pauses]
        if self._variant.event:
            entered = entered + named["event"][batch.events]
        entered = dropout(entered, chosen.dropout_embedding, training)
        from_input = torch.addmm(named["bias_input.0"], entered, named["weight_input.0"].T)  # [M, 3H]
        masks = dropout(torch.ones_like(entered), chosen.dropout_hidden, training)  # [M, H]
        hidden = named["weight_hidden.0"], named["bias_hidden.0"]
        followed = Recurrence.apply(from_input, *hidden, masks, batch.running, self._variant.through_time)  # [M, H]
        return self._attended(batch, followed) if self._variant.attention else followed

    def _attended(self, batch: Batch, states: Tensor) -> Tensor:
        """States [M, H], each together with a weighted sum of its session's states so far."""
        units, where = states.shape[1], (batch.session, batch.click)
        together = states.new_zeros(batch.running[0], len(batch.running), units).index_put(where, states)  # [S, T, H]
        # Products over H, so that Adagrad's first steps, which are as large in every entry, do not overturn what has been learned.
        agreement = together @ self.dense["attend"] @ together.mT / units  # [S, T, T]
        later = torch.ones(agreement.shape[1:], dtype=torch.bool).triu(1)  # [T, T]
        summed = (agreement.masked_fill(later, -torch.inf).softmax(2) @ together)[where]  # [M, H]
        if self._variant.attention == "added":
            return states + summed * self.dense["combine"]
        return states + torch.cat([states, summed], 1) @ self.dense["combine"].T / units


def summed(ids: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Each id once, and the sum of its gradients."""
    rows, place = torch.unique(ids, return_inverse=True)
    return rows, gradients.new_zeros(len(rows), *gradients.shape[1:]).index_add_(0, place, gradients)


def epochs(network: Network, train: Sessions, chosen: GRU4RecParameters) -> Iterator[float]:
    """Train; the mean loss of a prediction after each epoch."""
    tables = {"table": network.table, "bias": network.bias}
    optimizer = Adagrad({name: array.detach() for name, array in (network.dense | tables).items()}, chosen.learning_rate, chosen.momentum)
    counts = np.bincount(train.items, minlength=len(network.bias)).clip(min=1)
    drawn_up_to = torch.from_numpy(np.cumsum(counts.astype(np.float64) ** chosen.sample_alpha))  # [V]
    for _ in range(chosen.epochs):
        total = 0.0
        for batch in batches(train, chosen.batch_size):
            drawn = torch.rand(chosen.n_sample, dtype=torch.float64) * drawn_up_to[-1]
            columns = torch.cat([batch.targets, torch.searchsorted(drawn_up_to, drawn, right=True)])  # [C]
            entered = network.table[batch.items].requires_grad_()  # [M, H]
            output = network.outputs(batch, entered, training=True)
            with torch.no_grad():
                vectors = network.table[columns]  # [C, H]
                absent = pad(batch.click.unsqueeze(1) != batch.click, (0, chosen.n_sample))  # [M, C]
                scores = torch.addmm(network.bias[columns], output, vectors.T)  # [M, C]
                loss, in_scores = bpr_max(scores, chosen.bpreg, chosen.elu_param, SameClick(0, absent, chosen.batch_size))
                total += loss.item() * chosen.batch_size
            output.backward(in_scores @ vectors)
            with torch.no_grad():
                for name, array in network.dense.items():
                    optimizer.update(name, array.grad)
                    array.grad = None
                in_rows = torch.cat([in_scores.T @ output, entered.grad])  # [C + M, H]
                optimizer.update_rows("table", *summed(torch.cat([columns, batch.items]), in_rows))
                optimizer.update_rows("bias", *summed(columns, in_scores.sum(0)))
        yield total / (len(train.items) - len(train))


@torch.inference_mode()
def metrics_of(network: Network, valid: Sessions, threads: int) -> dict[str, float]:
    """Validation metrics: all items ranked, conservative ties."""
    table, bias, ranks = network.table.numpy(), network.bias.numpy(), []
    for batch in batches(valid, 512):
        queries = network.outputs(batch, network.table[batch.items], training=False)
        ranks.append(rank(queries.numpy(), table, bias, batch.targets.numpy().astype(np.int32), threads=threads).ranks)
    found = flat_metrics(np.concatenate(ranks))
    return {name: found[name] for name in METRICS}


def parameters_of(data: str) -> dict[str, Any]:
    """The published BPR-max parameters, made quicker; of the demo shop, those of its BPR-max run."""
    if not data.startswith("demo"):
        return RETAILROCKET | QUICKER[data]
    configuration = yaml.safe_load(DEMO.read_text())
    return configuration["models"]["gru4rec"] | configuration["runs"]["gru4rec-bpr"]["parameters"]


def select_window(data: str, folder: Path) -> Path:
    """The select window of a log."""
    if not data.startswith("demo"):
        return window(data, folder).parent / "select"
    configuration = yaml.safe_load(DEMO.read_text())
    configuration["sessions"]["drop_repeats"] = data == "demo"
    path = folder.resolve() / f"{data}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, configuration)
    return window(data, folder, "--configfile", str(path)).parent / "select"


def run(name: str, data: str, seed: int, folder: Path, threads: int) -> dict[str, Any]:
    """Train a variant with a seed; what was done before is read."""
    done = folder / data / "whole_sessions" / f"{name.replace(' ', '_')}.seed{seed}.json"
    if done.is_file():
        return json.loads(done.read_text())
    select = select_window(data, folder / "windows")
    columns = ("items", "times", "events")
    train, valid = (Sessions.from_parquet(select / f"{part}.parquet", columns) for part in ("train", "valid"))
    n_items = pl.scan_parquet(select / "items.parquet").select(pl.len()).collect().item()
    n_events = 1 + int(max(train.events.max(), valid.events.max()))
    torch.manual_seed(seed)
    variant = VARIANTS[name]
    chosen = GRU4RecParameters.model_validate(parameters_of(data) | variant.parameters)
    network = Network(n_items, n_events, variant, chosen, seed)
    result: dict[str, Any] = {"variant": name, "data": data, "seed": seed, "seconds": 0.0, "epochs": []}
    begin = time.perf_counter()
    for loss in epochs(network, train, chosen):
        result["seconds"] += time.perf_counter() - begin
        result["epochs"].append({"loss": loss} | metrics_of(network, valid, threads))
        print(f"{data}, {name}, seed {seed}: {result['epochs'][-1]}", file=sys.stderr, flush=True)
        begin = time.perf_counter()
    done.parent.mkdir(parents=True, exist_ok=True)
    write_json(done, result)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "variants")
    parser.add_argument("--data", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="these variants only")
    given = parser.parse_args()
    os.environ.setdefault("RECSYS_DATA_DIR", str(data_folder()))
    use_threads(given.threads)
    for data in given.data:
        base: dict[str, float] = {}
        print(f"\n{data}, validation, mean of the seeds {given.seeds}\n")
        print("| variant | recall@20 | | MRR@20 | | best epoch's recall@20 | its MRR@20 | seconds |\n|---|---|---|---|---|---|---|---|")
        for name in given.only or VARIANTS:
            if (VARIANTS[name].pause and data in TIMES_MADE_UP) or (VARIANTS[name].event and data in ONE_EVENT_TYPE):
                continue
            runs = [run(name, data, seed, given.folder, given.threads) for seed in given.seeds]
            mean = {metric: statistics.fmean(one["epochs"][-1][metric] for one in runs) for metric in METRICS}
            base = base or mean
            cells = [f"{mean[metric]:.4f} | {mean[metric] - base[metric]:+.4f}" for metric in METRICS]
            best = [max(one["epochs"], key=lambda epoch: epoch["mrr@20"]) for one in runs]
            cells += [f"{statistics.fmean(epoch[metric] for epoch in best):.4f}" for metric in METRICS]
            print(f"| {name} | {' | '.join(cells)} | {statistics.fmean(one['seconds'] for one in runs):.0f} |", flush=True)


if __name__ == "__main__":
    main()
