"""Answers batches of requests with the model that is served now, and clicks of kept sessions one at a time."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from recsys.files import read_json
from recsys.serving.batching import Overloaded
from recsys.serving.manifest import MANIFEST, package_digest
from recsys.serving.metrics import Metrics
from recsys.serving.recommender import DEFAULT_K, POPULAR, Answer, Recommender, StepwiseScorer
from recsys.serving.requests import Click, Request
from recsys.serving.session_store import KeptSession, SessionStore
from recsys.settings.serving import ServeSettings

_logger = logging.getLogger("recsys.serving")

_TRIES = 20
"""Rounds in which a click is put behind other clicks of its session."""


@dataclass(frozen=True)
class ServedModel:
    """A package, loaded and warm.

    Attributes
    ----------
    recommender
        Answers.
    scoring_app
        MLflow's own app of the package.
    family, version, digest
        What it is: the model's family, its version in the registry (empty for a folder), and the package's digest.
    built, loaded
        When the package was built and loaded, in seconds since 1970-01-01 UTC.
    """

    recommender: Recommender
    scoring_app: Any
    family: str
    version: str
    digest: str
    built: float
    loaded: float

    @classmethod
    def load(cls, package: Path, version: str, settings: ServeSettings) -> "ServedModel":
        """Verify a package, load it, and have it answer once.

        Raises
        ------
        PackageError
            If it was altered or cannot be read.
        ConfigurationError
            If it cannot keep to the rules of the settings.
        """
        import mlflow.pyfunc
        from mlflow.pyfunc import scoring_server

        digest = package_digest(package)  # which verifies it
        manifest = read_json(package / MANIFEST)
        model = mlflow.pyfunc.load_model(str(package))
        recommender: Recommender = model.unwrap_python_model().recommender
        recommender.keep_to(settings.rules)
        clicked = recommender.ids[:3].tolist()
        for sessions in ([clicked], [clicked] * settings.batch):
            recommender.recommend(sessions, DEFAULT_K, settings.max_session_length)
        built = np.datetime64(str(model.metadata.utc_time_created).replace(" ", "T"), "ms").astype(int) / 1_000
        return cls(
            recommender,
            scoring_server.init(model),
            manifest["family"],
            version,
            digest[:16],
            float(built),
            time.time(),
        )


@dataclass(frozen=True, slots=True)
class KeptClick:
    """A click of a kept session."""

    key: str
    click: Click


class Engine:
    """Answers batches of requests.

    Parameters
    ----------
    served
        The model.
    settings
        How many clicks of a session are looked at.
    metrics
        Where it is counted.
    store
        Where sessions are kept.
    """

    def __init__(self, served: ServedModel, settings: ServeSettings, metrics: Metrics, store: SessionStore) -> None:
        self._longest = settings.max_session_length
        self._metrics, self._store = metrics, store
        self.serve(served)

    def serve(self, served: ServedModel) -> None:
        """Answer with this model from the next batch on."""
        self.served = served
        self._metrics.serves(served.family, served.version, served.digest, served.built, served.loaded, len(served.recommender))
        self._metrics.available.set(served.recommender.available)

    def answer(self, asked: list[Request | KeptClick]) -> list[bytes | Exception]:
        """The body of each answer, or the exception that a request ends with."""
        served = self.served
        answers: list[bytes | Exception | None] = [None] * len(asked)
        whole = [row for row, content in enumerate(asked) if type(content) is Request]
        for rows in _alike(whole, [asked[row] for row in whole]):
            requests = [asked[row] for row in rows]
            try:
                bodies = self._answer_requests(served, requests)
            except Exception as error:
                bodies = [error] * len(rows)
            for row, body in zip(rows, bodies, strict=True):
                answers[row] = body
        if len(whole) < len(asked):
            clicked = [row for row, content in enumerate(asked) if type(content) is KeptClick]
            for row, body in zip(clicked, self._answer_clicks(served, [asked[row] for row in clicked]), strict=True):
                answers[row] = body
        return answers

    def _answer_requests(self, served: ServedModel, requests: list[Request]) -> list[bytes]:
        """Of requests that ask for as many items by the same rules."""
        recommender = served.recommender
        sessions = [session for request in requests for session in request.sessions]
        known = [recommender.last_known(session, self._longest) for session in sessions]
        begin = time.perf_counter()
        given = recommender.answer(known, requests[0].k, requests[0].rules)
        self._metrics.inference.observe(time.perf_counter() - begin)
        self._metrics.batch.observe(len(requests))
        self._metrics.asked(sessions, known, self._longest)
        self._count(given)
        bodies, at = [], 0
        for request in requests:
            its = given[at : at + len(request.sessions)]
            at += len(its)
            bodies.append(_json({"predictions": [_content(answer) for answer in its]}))
        return bodies

    def _count(self, given: list[Answer]) -> None:
        popular = sum(answer.fallback is not None for answer in given)
        if popular:
            self._metrics.fell_back(POPULAR, popular)

    def _answer_clicks(self, served: ServedModel, clicks: list[KeptClick]) -> list[bytes | Exception]:
        answers: list[bytes | Exception] = [Overloaded("store") for _ in clicks]
        waiting = list(range(len(clicks)))
        for _ in range(_TRIES):
            # Of the clicks of a session one at a time, in the order they came.
            first: dict[str, int] = {}
            for row in waiting:
                first.setdefault(clicks[row].key, row)
            rows = list(first.values())
            try:
                done = self._step(served, [clicks[row] for row in rows])
            except Exception as error:
                done = [error] * len(rows)
            for row, body in zip(rows, done, strict=True):
                if body is not None:
                    answers[row] = body
            settled = {row for row, body in zip(rows, done, strict=True) if body is not None}
            waiting = [row for row in waiting if row not in settled]
            if not waiting:
                break
        return answers

    def _step(self, served: ServedModel, clicks: list[KeptClick]) -> list[bytes | None]:
        """Answers to clicks of different sessions; None where another click of the session came first."""
        recommender, scorer = served.recommender, served.recommender.scorer
        stepwise = isinstance(scorer, StepwiseScorer)
        kept = self._kept([click.key for click in clicks])
        befores, knowns, outcomes, unknown = [], [], [], []
        for click, its in zip(clicks, kept, strict=True):
            sent = its.items if its is not None else click.click.session or []
            before = recommender.last_known(sent, self._longest)
            after = recommender.last_known([click.click.item], 1)
            befores.append(before)
            knowns.append((before + after)[-self._longest :])
            unknown.append(not after)
            same = its is not None and its.model == served.digest and len(its.items) == len(before) and bool(its.state)
            short = len(before) + len(after) <= self._longest
            outcomes.append("new" if its is None and not before else "stepped" if stepwise and same and short else "rebuilt")
        states = self._states(scorer, kept, befores, knowns, outcomes) if stepwise else None
        begin = time.perf_counter()
        answers: list[Answer | None] = [None] * len(clicks)
        for rows in _alike(list(range(len(clicks))), [click.click for click in clicks]):
            group = [knowns[row] for row in rows]
            top = None
            if states is not None:

                def top(of: list[int], k: int, rows: list[int] = rows, group: list[list[int]] = group) -> tuple[np.ndarray, np.ndarray]:
                    return scorer.best(states[[rows[at] for at in of]], [group[at] for at in of], k)

            given = recommender.answer(group, clicks[rows[0]].click.k, clicks[rows[0]].click.rules, top)
            for row, answer in zip(rows, given, strict=True):
                answers[row] = answer
        self._metrics.inference.observe(time.perf_counter() - begin)
        self._metrics.batch.observe(len(clicks))
        following = {
            click.key: KeptSession(
                1 if its is None else its.revision + 1,
                (len(click.click.session or []) if its is None else its.clicks) + 1,
                recommender.ids[known].tolist(),
                served.digest,
                states[row].tobytes() if states is not None and known else b"",
            )
            for row, (click, its, known) in enumerate(zip(clicks, kept, knowns, strict=True))
        }
        late = self._keep(following)
        bodies: list[bytes | None] = []
        for row, (click, answer, outcome, known) in enumerate(zip(clicks, answers, outcomes, knowns, strict=True)):
            if click.key in late:
                bodies.append(None)
                answers[row], unknown[row] = None, False
                continue
            self._metrics.stepped(outcome)
            self._metrics.clicks.observe(max(len(known), 1))
            if not known:
                self._metrics.cold.inc()
            bodies.append(_json(_content(answer) | {"clicks": following[click.key].clicks}))
        self._metrics.items.inc(len(clicks) - len(late))
        self._metrics.unknown.inc(sum(unknown))
        self._count([answer for answer in answers if answer is not None])
        return bodies

    def _kept(self, keys: list[str]) -> list[KeptSession | None]:
        try:
            return self._store.get(keys)
        except Exception:
            _logger.exception("the store of sessions cannot be read; answering from the clicks that were sent")
            self._metrics.store_failures.inc()
            return [None] * len(keys)

    def _keep(self, following: dict[str, KeptSession]) -> set[str]:
        try:
            return self._store.put(following)
        except Exception:
            _logger.exception("the store of sessions cannot be written; these clicks are answered and not kept")
            self._metrics.store_failures.inc()
            return set()

    def _states(
        self,
        scorer: Any,
        kept: list[KeptSession | None],
        befores: list[list[int]],
        knowns: list[list[int]],
        outcomes: list[str],
    ) -> np.ndarray:
        """The state of every session after its click, [B, S]."""
        states = np.zeros((len(kept), scorer.state_width), np.float32)
        stepping = []
        for row, outcome in enumerate(outcomes):
            if outcome == "stepped":
                states[row] = np.frombuffer(kept[row].state, np.float32)
            if outcome != "rebuilt" and len(knowns[row]) > len(befores[row]):
                stepping.append(row)
        if stepping:
            states[stepping] = scorer.step(states[stepping], [knowns[row][-1] for row in stepping])
        rebuilt = [row for row, outcome in enumerate(outcomes) if outcome == "rebuilt" and knowns[row]]
        if rebuilt:
            states[rebuilt] = scorer.follow([knowns[row] for row in rebuilt])
        return states

    def forget(self, key: str) -> bool:
        """Drop a kept session; whether there was one."""
        return self._store.forget(key)


def _alike(rows: list[int], asked: list[Request | Click]) -> Iterable[list[int]]:
    """The rows that ask for as many items by the same rules, together."""
    groups: dict[tuple, list[int]] = {}
    for row, content in zip(rows, asked, strict=True):
        groups.setdefault((content.k, content.rules), []).append(row)
    return groups.values()


def _content(answer: Answer) -> dict[str, Any]:
    items = answer.items
    return {
        "recommendations": items if items.dtype != object else items.tolist(),
        "scores": answer.scores,
        "fallback": answer.fallback,
    }


def _json(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
