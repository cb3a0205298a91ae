"""The step's elementwise passes and row updates as Triton kernels: what plain torch does in a hundred launches, in six.

Each function does what its namesake of `recsys.models.gru4rec_network` or `recsys.training.optimizer` does, which the tests hold it
against; the products of matrices stay the library's. Sums are made in a fixed order, so that a training can be repeated bit for bit.

Shapes: as in `recsys.models.gru4rec_network`; P uses of a table's rows.
"""

import torch
import triton
import triton.language as tl

from recsys.models.gru4rec_network import LOG_FLOOR, Lanes, Operations, Saved
from recsys.training.device_random import SAMPLES, Randomness, dropout_constants
from recsys.training.optimizer import EPSILON, Adagrad, Uses

_ENTRIES = 256
"""Entries of an elementwise program."""
_UNITS = 4
"""Units of a program that holds them for all lanes."""
_WIDTH = 256
"""Entries of a row that a program updates."""

_FLOOR = tl.constexpr(LOG_FLOOR)
_EPSILON = tl.constexpr(EPSILON)


@triton.jit
def _gates_forward(from_input, from_state, state, mask, gates, new, output, lanes, units, dropped: tl.constexpr, block: tl.constexpr):
    entry = tl.program_id(0) * block + tl.arange(0, block)
    inside = entry < lanes * units
    lane, unit = entry // units, entry % units
    at = lane * 3 * units + unit  # of the reset gate in [M, 3H]; the update gate and the new state follow
    reset = tl.sigmoid(tl.load(from_input + at, inside, 0.0) + tl.load(from_state + at, inside, 0.0))
    update = tl.sigmoid(tl.load(from_input + at + units, inside, 0.0) + tl.load(from_state + at + units, inside, 0.0))
    remembered = tl.load(from_state + at + 2 * units, inside, 0.0)
    wanted = tl.load(from_input + at + 2 * units, inside, 0.0) + reset * remembered
    candidate = 2 * tl.sigmoid(2 * wanted) - 1  # tanh
    found = candidate + update * (tl.load(state + entry, inside, 0.0) - candidate)
    if dropped:
        found *= tl.load(mask + entry, inside, 0.0)
    gate = lane * 2 * units + unit  # of the reset gate in [M, 2H]
    tl.store(gates + gate, reset, inside)
    tl.store(gates + gate + units, update, inside)
    tl.store(new + entry, candidate, inside)
    tl.store(output + entry, found, inside)


def gates_forward(
    from_input: torch.Tensor, from_state: torch.Tensor, state: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, Saved]:
    """See `recsys.models.gru4rec_network.gates_forward`."""
    lanes, units = state.shape
    gates, new, output = state.new_empty(lanes, 2 * units), torch.empty_like(state), torch.empty_like(state)
    grid = (triton.cdiv(lanes * units, _ENTRIES),)
    dropped = mask is not None
    _gates_forward[grid](from_input, from_state, state, mask if dropped else state, gates, new, output, lanes, units, dropped, _ENTRIES)
    return output, Saved(state, gates, from_state, new)


@triton.jit
def _gates_backward(
    gradient,
    mask,
    state,
    gates,
    from_state,
    new,
    in_input,
    in_state,
    in_bias_input,
    in_bias_hidden,
    lanes,
    units,
    dropped: tl.constexpr,
    lane_block: tl.constexpr,
    block: tl.constexpr,
):
    lane = tl.arange(0, lane_block)[:, None]
    own = tl.program_id(0) * block + tl.arange(0, block)
    unit = own[None, :]
    inside = (lane < lanes) & (unit < units)
    entry = lane * units + unit
    gate = lane * 2 * units + unit
    at = lane * 3 * units + unit
    slope = tl.load(gradient + entry, inside, 0.0)
    if dropped:
        slope *= tl.load(mask + entry, inside, 0.0)
    before = tl.load(state + entry, inside, 0.0)
    reset, update = tl.load(gates + gate, inside, 0.0), tl.load(gates + gate + units, inside, 0.0)
    remembered = tl.load(from_state + at + 2 * units, inside, 0.0)
    candidate = tl.load(new + entry, inside, 0.0)
    in_update = slope * (before - candidate) * update * (1 - update)
    in_new = slope * (1 - update) * (1 - candidate * candidate)
    in_reset = in_new * remembered * reset * (1 - reset)
    in_remembered = in_new * reset
    tl.store(in_input + at, in_reset, inside)
    tl.store(in_input + at + units, in_update, inside)
    tl.store(in_input + at + 2 * units, in_new, inside)
    tl.store(in_state + at, in_reset, inside)
    tl.store(in_state + at + units, in_update, inside)
    tl.store(in_state + at + 2 * units, in_remembered, inside)
    of_reset, of_update = tl.sum(in_reset, 0), tl.sum(in_update, 0)
    tl.store(in_bias_input + own, of_reset, own < units)
    tl.store(in_bias_input + units + own, of_update, own < units)
    tl.store(in_bias_input + 2 * units + own, tl.sum(in_new, 0), own < units)
    tl.store(in_bias_hidden + own, of_reset, own < units)
    tl.store(in_bias_hidden + units + own, of_update, own < units)
    tl.store(in_bias_hidden + 2 * units + own, tl.sum(in_remembered, 0), own < units)


def gates_backward(
    gradient: torch.Tensor, mask: torch.Tensor | None, saved: Saved, in_bias_input: torch.Tensor, in_bias_hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `recsys.models.gru4rec_network.gates_backward`."""
    lanes, units = saved.state.shape
    in_input, in_state = (torch.empty_like(saved.from_state) for _ in range(2))
    dropped = mask is not None
    _gates_backward[(triton.cdiv(units, _UNITS),)](
        gradient,
        mask if dropped else gradient,
        *(saved.state, saved.gates, saved.from_state, saved.new),
        *(in_input, in_state, in_bias_input, in_bias_hidden),
        *(lanes, units, dropped, triton.next_power_of_2(lanes), _UNITS),
    )
    return in_input, in_state


def _warps(columns: int) -> int:
    """Warps of a program that holds a row of the scores: a few columns a thread."""
    return min(max(triton.next_power_of_2(columns) // 256, 4), 16)


@triton.jit
def _cross_entropy(scores, correction, absent, losses, first, columns, batch_size, corrected: tl.constexpr, block: tl.constexpr):
    lane = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < columns
    row = scores + lane * columns + column
    own = column == first + lane
    running = tl.load(absent + first + lane) == 0
    counts = inside & (tl.load(absent + column, inside, 1) == 0)
    score = tl.load(row, inside, 0.0)
    if corrected:
        score -= tl.load(correction + column, inside, 0.0)
    score = tl.where(counts, score, -float("inf"))
    top = tl.max(score, 0)
    power = tl.where(counts, tl.exp(score - top), 0.0)
    share = power / tl.sum(power, 0)
    of_target = tl.sum(tl.where(own, share, 0.0), 0)
    strength = of_target / (of_target + _FLOOR) / batch_size
    gradient = share * strength - tl.where(own, strength, 0.0)
    tl.store(row, tl.where(running, gradient, 0.0), inside)
    tl.store(losses + lane, tl.where(running, -tl.log(of_target + _FLOOR) / batch_size, 0.0))


def cross_entropy(scores: torch.Tensor, correction: torch.Tensor | None, lanes: Lanes) -> tuple[torch.Tensor, torch.Tensor]:
    """See `recsys.models.gru4rec_network.cross_entropy`; the gradient takes the scores' place."""
    count, columns = scores.shape
    losses = scores.new_empty(count)
    corrected = correction is not None
    _cross_entropy[(count,)](
        *(scores, correction if corrected else scores, lanes.absent, losses, lanes.first, columns, lanes.batch_size),
        *(corrected, triton.next_power_of_2(columns)),
        num_warps=_warps(columns),
    )
    return losses.sum(), scores


@triton.jit
def _bpr_max(scores, absent, losses, first, columns, bpreg, elu_param, batch_size, bent: tl.constexpr, block: tl.constexpr):
    lane = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
    inside = column < columns
    row = scores + lane * columns + column
    own = column == first + lane
    counts = inside & (tl.load(absent + column, inside, 1) == 0) & ~own
    raw = tl.load(row, inside, 0.0)
    score = raw
    if bent:
        score = tl.where(raw > 0, raw, elu_param * (tl.exp(tl.minimum(raw, 0.0)) - 1))
    target = tl.sum(tl.where(own, score, 0.0), 0)
    top = tl.max(tl.where(counts, score, -float("inf")), 0)
    power = tl.where(counts, tl.exp(score - top), 0.0)
    total = tl.sum(power, 0)
    teaching = (tl.load(absent + first + lane) == 0) & (total > 0)
    weight = tl.where(teaching, power / total, 0.0)
    better = tl.sigmoid(target - score)
    weighted = weight * better
    expected = tl.sum(weighted, 0)
    penalty = tl.sum(weight * score * score, 0)
    inverse = 1 / (expected + _FLOOR)
    slope = weighted * (1 - better)
    gradient = (slope - weighted + weight * expected) * inverse + bpreg * weight * (2 * score + score * score - penalty)
    gradient = tl.where(own, -tl.sum(slope, 0) * inverse, gradient)
    if bent:
        gradient *= tl.where(raw > 0, 1.0, score + elu_param)
    tl.store(row, gradient / batch_size, inside)
    tl.store(losses + lane, tl.where(teaching, bpreg * penalty - tl.log(expected + _FLOOR), 0.0) / batch_size)


def bpr_max(scores: torch.Tensor, bpreg: float, elu_param: float, lanes: Lanes) -> tuple[torch.Tensor, torch.Tensor]:
    """See `recsys.models.gru4rec_network.bpr_max`; the gradient takes the scores' place."""
    count, columns = scores.shape
    losses = scores.new_empty(count)
    _bpr_max[(count,)](
        *(scores, lanes.absent, losses, lanes.first, columns, bpreg, elu_param, lanes.batch_size),
        *(elu_param > 0, triton.next_power_of_2(columns)),
        num_warps=_warps(columns),
    )
    return losses.sum(), scores


@triton.jit
def _adagrad(gradient, parameters, accumulators, velocities, at, inside, rate, momentum, moving: tl.constexpr):
    accumulator = tl.load(accumulators + at, inside, 0.0) + gradient * gradient
    tl.store(accumulators + at, accumulator, inside)
    change = -rate * gradient / tl.sqrt(accumulator + _EPSILON)
    if moving:
        change += momentum * tl.load(velocities + at, inside, 0.0)
        tl.store(velocities + at, change, inside)
    tl.store(parameters + at, tl.load(parameters + at, inside, 0.0) + change, inside)


@triton.jit
def _update(gradients, parameters, accumulators, velocities, entries, rate, momentum, moving: tl.constexpr, block: tl.constexpr):
    at = tl.program_id(0) * block + tl.arange(0, block)
    inside = at < entries
    gradient = tl.load(gradients + at, inside, 0.0)
    _adagrad(gradient, parameters, accumulators, velocities, at, inside, rate, momentum, moving)


@triton.jit
def _update_uses(
    gradients,
    order,
    place,
    rows,
    parameters,
    accumulators,
    velocities,
    uses,
    width,
    spare,
    rate,
    momentum,
    moving: tl.constexpr,
    block: tl.constexpr,
):
    use = tl.program_id(0)
    own = tl.load(place + use)
    row = tl.load(rows + own)
    # The first use of a row takes the sum of all of them, which stand side by side.
    if (row != spare) & (tl.load(place + use - 1, use > 0, -1) != own):
        unit = tl.program_id(1) * block + tl.arange(0, block)
        inside = unit < width
        gradient = tl.zeros([block], tl.float32)
        while (use < uses) & (tl.load(place + use, use < uses, -1) == own):
            gradient += tl.load(gradients + tl.load(order + use) * width + unit, inside, 0.0)
            use += 1
        _adagrad(gradient, parameters, accumulators, velocities, row * width + unit, inside, rate, momentum, moving)


class FusedAdagrad(Adagrad):
    """Adagrad, a kernel an update."""

    def update(self, name: str, gradient: torch.Tensor) -> None:
        """Update a whole array with its gradient."""
        _update[(triton.cdiv(gradient.numel(), _ENTRIES),)](
            *(gradient, self.parameters[name], self.accumulators[name], self._velocities_or_gradient(name, gradient), gradient.numel()),
            *(self.learning_rate, self.momentum, self.momentum > 0, _ENTRIES),
        )

    def update_uses(self, name: str, uses: Uses, gradients: torch.Tensor) -> None:
        """Update the rows of a table that a step used, with the gradients of the uses [P, …]."""
        table = self.parameters[name]
        count, width = len(gradients), table[0].numel()
        block = min(_WIDTH, triton.next_power_of_2(width))
        _update_uses[(count, triton.cdiv(width, block))](
            *(gradients, uses.order, uses.place, uses.rows),
            *(table, self.accumulators[name], self._velocities_or_gradient(name, gradients), count, width, len(table) - 1),
            *(self.learning_rate, self.momentum, self.momentum > 0, block),
            num_warps=max(block // 128, 1),
        )

    def _velocities_or_gradient(self, name: str, gradient: torch.Tensor) -> torch.Tensor:
        """The velocities; where there are none, another array in their place, which is not looked at."""
        return self.velocities.get(name, gradient)


FUSED = Operations(gates_forward, gates_backward, cross_entropy, bpr_max)


@triton.jit
def _words(numbers, step, inside, purpose: tl.constexpr, first, second, seed):
    number = tl.load(numbers + step, inside, 0)
    high = (number >> 32) | (purpose << 16)
    return tl.philox(seed, first.to(tl.uint32), second.to(tl.uint32), number.to(tl.uint32), high.to(tl.uint32))


@triton.jit
def _dropout(found, numbers, rows, entries, lanes, width, seed, threshold, kept, purpose: tl.constexpr, block: tl.constexpr):
    quads = (width + 3) // 4
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < entries
    row, quad = at // quads, at % quads
    place = tl.load(rows + row, inside, 0)
    w0, w1, w2, w3 = _words(numbers, row // lanes, inside, purpose, place, quad, seed)
    unit = quad * 4
    begin = found + row * width + unit
    tl.store(begin, tl.where(w0.to(tl.int64) >= threshold, kept, 0.0), inside)
    tl.store(begin + 1, tl.where(w1.to(tl.int64) >= threshold, kept, 0.0), inside & (unit + 1 < width))
    tl.store(begin + 2, tl.where(w2.to(tl.int64) >= threshold, kept, 0.0), inside & (unit + 2 < width))
    tl.store(begin + 3, tl.where(w3.to(tl.int64) >= threshold, kept, 0.0), inside & (unit + 3 < width))


@triton.jit
def _drawn(found, at, inside, slot_word, share_word, kept, other, items):
    slot = (slot_word.to(tl.int64) * items) >> 32
    own = share_word.to(tl.int64) <= tl.load(kept + slot, inside, 0)
    tl.store(found + at, tl.where(own, slot, tl.load(other + slot, inside, 0)), inside)


@triton.jit
def _items(found, numbers, kept, other, entries, samples, items, seed, purpose: tl.constexpr, block: tl.constexpr):
    pairs = (samples + 1) // 2
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = at < entries
    step, pair = at // pairs, at % pairs
    w0, w1, w2, w3 = _words(numbers, step, inside, purpose, pair, pair * 0, seed)
    place = step * samples + pair * 2
    _drawn(found, place, inside, w0, w1, kept, other, items)
    _drawn(found, place + 1, inside & (pair * 2 + 1 < samples), w2, w3, kept, other, items)


class FusedRandomness(Randomness):
    """The random words of a training, a kernel a draw."""

    def dropout(self, steps: torch.Tensor, purpose: int, rows: torch.Tensor, width: int, share: float) -> torch.Tensor:
        """See `Randomness.dropout`."""
        found = torch.empty(*rows.shape, width, device=rows.device)
        entries = rows.numel() * triton.cdiv(width, 4)
        arguments = entries, rows.shape[1], width, self.seed, *dropout_constants(share)
        _dropout[(triton.cdiv(entries, _ENTRIES),)](found, steps, rows.contiguous(), *arguments, purpose, _ENTRIES)
        return found

    def items(self, steps: torch.Tensor, kept: torch.Tensor, other: torch.Tensor, samples: int) -> torch.Tensor:
        """See `Randomness.items`."""
        found = steps.new_empty(len(steps), samples)
        entries = len(steps) * triton.cdiv(samples, 2)
        if entries:
            grid = (triton.cdiv(entries, _ENTRIES),)
            _items[grid](found, steps, kept, other, entries, samples, len(kept), self.seed, SAMPLES, _ENTRIES)
        return found
