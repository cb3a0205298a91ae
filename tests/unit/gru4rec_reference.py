"""GRU4Rec once more, slowly: numpy, float64, one lane at a time, gradients by finite differences.

Written from the papers' formulas alone (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018) and only ever used to
judge the fast implementation, so every line here prefers being obvious to being quick.

Legend: B configured lanes, b lanes still running, N samples, D width of a layer's input, U units of a layer, H width of the
item table, m momentum, v velocity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

LOG_FLOOR = 1e-24
ADAGRAD_EPS = 1e-6


@dataclass
class Layer:
    """One GRU layer; the rows of each array are the gates r, z, n, one under the other, as in `torch.nn.GRUCell`."""

    input_weights: np.ndarray  # [3U, D]
    hidden_weights: np.ndarray  # [3U, U]
    input_bias: np.ndarray  # [3U]
    hidden_bias: np.ndarray  # [3U]

    @property
    def units(self) -> int:
        return self.hidden_weights.shape[1]


@dataclass
class Weights:
    """Everything that is learned."""

    item_table: np.ndarray  # [items, H]
    item_bias: np.ndarray  # [items]
    layers: list[Layer]

    def named(self) -> dict[str, np.ndarray]:
        """The arrays themselves (not copies), so that what is written into them changes the weights."""
        named = {"item_table": self.item_table, "item_bias": self.item_bias}
        for number, layer in enumerate(self.layers):
            for name in ("input_weights", "hidden_weights", "input_bias", "hidden_bias"):
                named[f"{name}.{number}"] = getattr(layer, name)
        return named

    def copy(self) -> "Weights":
        layers = [
            Layer(layer.input_weights.copy(), layer.hidden_weights.copy(), layer.input_bias.copy(), layer.hidden_bias.copy())
            for layer in self.layers
        ]
        return Weights(self.item_table.copy(), self.item_bias.copy(), layers)

    def zero_state(self, lanes: int) -> list[np.ndarray]:
        """A state [lanes, U] for each layer."""
        return [np.zeros((lanes, layer.units)) for layer in self.layers]


@dataclass
class LossSettings:
    """What the loss depends on beside the scores."""

    loss: str
    batch_size: int
    item_counts: np.ndarray
    sample_alpha: float = 0.0
    logq: float = 0.0
    bpreg: float = 0.0
    elu_param: float = 0.0


@dataclass
class Masks:
    """Dropout masks of one step, already scaled: 0 where an entry is dropped, 1/(1-p) where it is kept."""

    embedding: np.ndarray | None = None  # [b, H]
    hidden: Sequence[np.ndarray | None] | None = None  # per layer [b, U]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - np.max(x))
    return e / np.sum(e)


def elu(x: np.ndarray, parameter: float) -> np.ndarray:
    """0 stands for no ELU at all: the scores stay linear."""
    if parameter == 0:
        return x
    return np.array([value if value > 0 else parameter * (np.exp(value) - 1.0) for value in x])


def gru_cell(layer: Layer, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The next state [U] of one lane, from its input `x` [D] and its state `h` [U]."""
    w_ir, w_iz, w_in = np.split(layer.input_weights, 3)
    w_hr, w_hz, w_hn = np.split(layer.hidden_weights, 3)
    b_ir, b_iz, b_in = np.split(layer.input_bias, 3)
    b_hr, b_hz, b_hn = np.split(layer.hidden_bias, 3)
    r = sigmoid(w_ir @ x + b_ir + w_hr @ h + b_hr)
    z = sigmoid(w_iz @ x + b_iz + w_hz @ h + b_hz)
    n = np.tanh(w_in @ x + b_in + r * (w_hn @ h + b_hn))
    return (1 - z) * n + z * h


def forward(weights: Weights, inputs: np.ndarray, state: list[np.ndarray], masks: Masks | None = None) -> list[np.ndarray]:
    """The next state [b, U] of every layer; what dropout leaves of it is what the layer above and the next step see."""
    following = [np.empty_like(layer_state) for layer_state in state]
    for lane, item in enumerate(inputs):
        x = weights.item_table[item]
        if masks is not None and masks.embedding is not None:
            x = x * masks.embedding[lane]
        for number, layer in enumerate(weights.layers):
            h = gru_cell(layer, x, state[number][lane])
            if masks is not None and masks.hidden is not None and masks.hidden[number] is not None:
                h = h * masks.hidden[number][lane]
            following[number][lane] = h
            x = h
    return following


def cross_entropy(scores: np.ndarray, columns: np.ndarray, settings: LossSettings) -> float:
    """`scores` [b, b + N]: the targets of the b running lanes first, then the samples; lane i's own target is column i."""
    b = len(scores)
    log_count = np.log(settings.item_counts[columns])
    # Targets occur with p ~ count, samples with p ~ count^alpha: the split lies after the b lanes that still run.
    correction = np.concatenate([settings.logq * log_count[:b], settings.logq * settings.sample_alpha * log_count[b:]])
    total = 0.0
    for lane in range(b):
        p = softmax(scores[lane] - correction)
        total += -np.log(p[lane] + LOG_FLOOR)
    return total / settings.batch_size


def bpr_max(scores: np.ndarray, settings: LossSettings) -> float:
    """`scores` [b, b + N] as for `cross_entropy`."""
    total = 0.0
    for lane in range(len(scores)):
        s = elu(scores[lane], settings.elu_param)
        negatives = np.delete(s, lane)
        w = softmax(negatives)
        total += -np.log(np.sum(w * sigmoid(s[lane] - negatives)) + LOG_FLOOR)
        total += settings.bpreg * np.sum(w * negatives**2)
    return total / settings.batch_size


def step_loss(
    weights: Weights,
    settings: LossSettings,
    inputs: np.ndarray,
    targets: np.ndarray,
    samples: np.ndarray,
    state: list[np.ndarray],
    masks: Masks | None = None,
) -> tuple[float, list[np.ndarray]]:
    """The loss of one step, and the state it leaves behind."""
    following = forward(weights, inputs, state, masks)
    columns = np.concatenate([targets, samples]).astype(np.int64)
    scores = following[-1] @ weights.item_table[columns].T + weights.item_bias[columns]  # [b, b + N]
    if settings.loss == "cross-entropy":
        return cross_entropy(scores, columns, settings), following
    return bpr_max(scores, settings), following


def finite_differences(loss: Callable[[], float], arrays: dict[str, np.ndarray], width: float = 1e-5) -> dict[str, np.ndarray]:
    """d loss / d entry for every entry of every array, by moving that entry a little to either side."""
    gradients = {}
    for name, array in arrays.items():
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            kept = array[index]
            array[index] = kept + width
            above = loss()
            array[index] = kept - width
            below = loss()
            array[index] = kept
            gradient[index] = (above - below) / (2 * width)
        gradients[name] = gradient
    return gradients


def step_gradients(
    weights: Weights,
    settings: LossSettings,
    inputs: np.ndarray,
    targets: np.ndarray,
    samples: np.ndarray,
    state: list[np.ndarray],
    masks: Masks | None = None,
) -> dict[str, np.ndarray]:
    """Gradients by the names of `Weights.named`; `state` is a constant, so nothing flows back into earlier steps."""

    def loss() -> float:
        return step_loss(weights, settings, inputs, targets, samples, state, masks)[0]

    return finite_differences(loss, weights.named())


@dataclass
class Adagrad:
    """Adagrad (Duchi et al., 2011) with heavy-ball momentum; the accumulator and the velocity start at zero."""

    learning_rate: float
    momentum: float
    accumulator: dict[str, np.ndarray] = field(default_factory=dict)
    velocity: dict[str, np.ndarray] = field(default_factory=dict)

    def step(self, name: str, parameter: np.ndarray, gradient: np.ndarray, rows: np.ndarray | None = None) -> None:
        """Move `parameter` in place; only `rows` if given, while the others keep their momentum for their next turn."""
        accumulator = self.accumulator.setdefault(name, np.zeros_like(parameter))
        velocity = self.velocity.setdefault(name, np.zeros_like(parameter))
        for row in range(len(parameter)) if rows is None else np.unique(rows):
            accumulator[row] += gradient[row] ** 2
            velocity[row] = self.momentum * velocity[row] - self.learning_rate * gradient[row] / np.sqrt(accumulator[row] + ADAGRAD_EPS)
            parameter[row] += velocity[row]


def train_step(
    weights: Weights,
    optimizer: Adagrad,
    settings: LossSettings,
    inputs: np.ndarray,
    targets: np.ndarray,
    samples: np.ndarray,
    state: list[np.ndarray],
    masks: Masks | None = None,
) -> tuple[float, list[np.ndarray]]:
    """Loss and following state, both from the weights as they were before this step changed them."""
    loss, following = step_loss(weights, settings, inputs, targets, samples, state, masks)
    gradients = step_gradients(weights, settings, inputs, targets, samples, state, masks)
    scored = np.concatenate([targets, samples]).astype(np.int64)
    touched = {"item_table": np.concatenate([inputs, scored]).astype(np.int64), "item_bias": scored}
    for name, parameter in weights.named().items():
        optimizer.step(name, parameter, gradients[name], touched.get(name))
    return loss, following


@dataclass
class Step:
    """One step of the session-parallel schedule, lane by lane."""

    lanes: list[int]
    """Which of the B lanes still run."""
    sessions: list[int]
    inputs: list[int]
    targets: list[int]
    fresh: list[bool]
    """Whether the lane has just taken a session, so that its state is zero before this step."""


def schedule(sessions: Sequence[Sequence[int]], batch_size: int) -> list[Step]:
    """Every step of an epoch over `sessions`, which are in the order of their first click and have two clicks at least."""
    waiting = list(range(len(sessions)))
    current: dict[int, int] = {}  # lane -> session
    position: dict[int, int] = {}  # lane -> click that is fed next
    for lane in range(batch_size):
        if waiting:
            current[lane], position[lane] = waiting.pop(0), 0
    steps = []
    while current:
        lanes = sorted(current)
        steps.append(
            Step(
                lanes=lanes,
                sessions=[current[lane] for lane in lanes],
                inputs=[sessions[current[lane]][position[lane]] for lane in lanes],
                targets=[sessions[current[lane]][position[lane] + 1] for lane in lanes],
                fresh=[position[lane] == 0 for lane in lanes],
            )
        )
        for lane in lanes:
            position[lane] += 1
            if position[lane] + 1 < len(sessions[current[lane]]):
                continue
            # The last click is only ever a target, so the session is over; without another one the lane runs dry.
            if waiting:
                current[lane], position[lane] = waiting.pop(0), 0
            else:
                del current[lane], position[lane]
    return steps


def train_epoch(
    weights: Weights,
    optimizer: Adagrad,
    settings: LossSettings,
    sessions: Sequence[Sequence[int]],
    samples: Sequence[np.ndarray],
    masks: Sequence[Masks] | None = None,
) -> list[float]:
    """One epoch; `samples` and `masks` hold the sampled negatives and the dropout of each step. Returns the loss of each step."""
    lane_state = weights.zero_state(settings.batch_size)  # per layer [B, U]
    losses = []
    steps = schedule(sessions, settings.batch_size)
    for step, step_samples, step_masks in zip(steps, samples, masks or [None] * len(steps), strict=True):
        for lane, fresh in zip(step.lanes, step.fresh, strict=True):
            if fresh:
                for layer_state in lane_state:
                    layer_state[lane] = 0.0
        state = [layer_state[step.lanes] for layer_state in lane_state]  # per layer [b, U]
        loss, following = train_step(
            weights, optimizer, settings, np.array(step.inputs), np.array(step.targets), np.asarray(step_samples), state, step_masks
        )
        for layer_state, layer_following in zip(lane_state, following, strict=True):
            layer_state[step.lanes] = layer_following
        losses.append(loss)
    return losses


def session_scores(weights: Weights, items: Sequence[int]) -> np.ndarray:
    """Scores [items] of what follows `items`: from a state of zero, without dropout, ELU or log-popularity correction.

    Without any click yet, it is the bias that decides.
    """
    state = weights.zero_state(1)
    for item in items:
        state = forward(weights, np.array([item]), state)
    return weights.item_table @ state[-1][0] + weights.item_bias


def random_weights(rng: np.random.Generator, n_items: int, layers: Sequence[int], scale: float = 0.6) -> Weights:
    """Weights and biases that are all non-zero, so that no term of a gradient vanishes by chance."""

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-scale, scale, size=shape)

    width = layers[-1]
    gru = [
        Layer(draw(3 * units, below), draw(3 * units, units), draw(3 * units), draw(3 * units))
        for below, units in zip([width, *layers[:-1]], layers, strict=True)
    ]
    return Weights(draw(n_items, width), draw(n_items), gru)
