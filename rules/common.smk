"""Helpers of the rules; no rule.

Needs `workflow_config.yaml` (or the files of `--configfile`); gives the typed CONFIGURATION, PARTS and RUNS, the shell command `recsys`, and the functions that rules call.
"""

import json
import os
import re
import shlex
import sys
import time

sys.path.insert(0, workflow.basedir)

from snakemake.io import strip_wildcard_constraints

from recsys.config import load_configuration
from recsys.configuration_file import read_configuration
from recsys.errors import RecsysError
from recsys.files import value_digest
from recsys.processes import (
    END_WITH_PARENT,
    announce_checkout,
    forget_owner,
    record_owner,
)
from recsys.provenance import code_digest
from recsys.settings.raw_files import RAW_FOLDER, Generated
from recsys.storage import require_writable
from recsys.workflow_failures import (
    failed_jobs,
    rules_of,
    stop,
    tell_at_the_end,
)

announce_checkout(workflow.basedir)

OWN_CONFIGURATION = Path(workflow.basedir) / "workflow_config.yaml"
GIVEN = workflow.config_settings.configfiles
try:
    require_writable(Path.cwd())
    for file in GIVEN or [OWN_CONFIGURATION]:
        read_configuration(Path(file))
except RecsysError as error:
    stop(error)

if not GIVEN:

    configfile: OWN_CONFIGURATION


try:
    CONFIGURATION = load_configuration(config)
    PARTS = CONFIGURATION.parts
except RecsysError as error:
    stop(error)
validate(
    config,
    Path(workflow.basedir) / "schemas" / "configuration.schema.json",
    set_default=False,
)

STARTED = time.strftime("%Y-%m-%dT%H%M%S", time.gmtime())
RUNS = CONFIGURATION.grid
SECTIONS = CONFIGURATION.model_dump(mode="json")
# Without the number of trials, so that a higher one adds trials and reruns none.
SEARCH = CONFIGURATION.search.model_dump(mode="json", exclude={"trials"})
FETCHING = json.dumps(SECTIONS["source"], sort_keys=True)
FAMILIES = tuple(sorted({run.model for run in RUNS.values()}))
COMBINED_RUNS = [name for name, run in RUNS.items() if run.members]
LOOK_AT_CATEGORIES = any(run.model == "reranker" for run in RUNS.values())
BASELINE_FAMILIES = {
    name: CONFIGURATION.runs[name].model for name in CONFIGURATION.baselines
}


def python_command():
    """The interpreter of a rule: the environment's own under conda, else the one that runs Snakemake."""
    methods = {
        str(method).split(".")[-1].lower()
        for method in workflow.deployment_settings.deployment_method
    }
    return "python" if "conda" in methods else shlex.quote(sys.executable)


# Every shell line calls `recsys STAGE`, which runs this checkout; `exec` makes the stage a child of Snakemake itself, so that it can
# end with it. A job's threads, which Snakemake puts into OMP_NUM_THREADS, hold for polars and the extension too. The braces are doubled
# because Snakemake formats the prefix.
shell.prefix(
    "set -euo pipefail; recsys() {{ "
    f"PYTHONPATH={shlex.quote(str(workflow.basedir))} PYTHONUNBUFFERED=1 MLFLOW_DISABLE_TELEMETRY=true {END_WITH_PARENT}=$PPID"
    " POLARS_MAX_THREADS=${{OMP_NUM_THREADS:-1}} RAYON_NUM_THREADS=${{OMP_NUM_THREADS:-1}}"
    f' exec {python_command()} -m recsys "$@"; }}}}; '
)


def settings(**sections):
    """What a stage is told, as JSON with sorted keys; a function, so that braces in a value are no wildcards."""
    return lambda wildcards: json.dumps(sections, sort_keys=True)


def checks(*names):
    """The settings of some checks; not of all, so that another one's threshold reruns nothing."""
    return {name: SECTIONS["checks"][name] for name in names}


def ingest_settings(wildcards):
    """How a part's raw file is read, and what it must be; not which files there are, so that a new one reruns none of the others."""
    told = PARTS[wildcards.part].described
    return settings(
        source=told["layout"],
        checks=checks("quarantined", "unknown_events", "future_times"),
        **{key: told[key] for key in ("expected", "page", "dated")},
    )(wildcards)


def parts(held_out=False):
    """Names of the log's parts, or of a separate test log's."""
    return [name for name, part in PARTS.items() if part.held_out == held_out]


def fetched_files(generated):
    """Raw files that are not there by themselves: those that are generated, or those that are fetched."""
    origins = {file.path: file.origin for file in CONFIGURATION.raw_files}
    return [
        path
        for path, origin in origins.items()
        if origin and isinstance(origin, Generated) == generated
    ]


def item_files(*roles):
    """The source's raw files that describe its items or its category tree."""
    return [file for file in CONFIGURATION.raw_files if file.role in roles]


def catalogue_settings(wildcards):
    """How item files and the category tree are read, and what they must be."""
    tree = [file.described for file in item_files("categories")]
    return settings(
        items=[file.described for file in item_files("items", "properties")],
        **({"tree": tree[0]} if tree else {}),
    )(wildcards)


def raw_file(wildcards):
    """The raw file of a part."""
    return PARTS[wildcards.part].path


def run_settings(wildcards):
    """The settings of one run of the grid."""
    run = RUNS[wildcards.run].settings
    exclude = CONFIGURATION.evaluation.exclude_session_items
    return settings(
        run=run, training=SECTIONS["training"], exclude_session_items=exclude
    )(wildcards)


def tuned_parameters(wildcards):
    """No file; but where a run's parameters have yet to be found, the workflow ends with the sentence that says how."""
    try:
        _ = RUNS[wildcards.run].settings
    except RecsysError as error:
        stop(error)
    return []


def run_code(stage):
    """A function of the wildcards: the digest of a stage's code with the families of the run and of its members."""

    def digest(wildcards):
        run = RUNS[wildcards.run]
        families = {run.model, *(member.model for member in run.members)}
        return code_digest(stage, tuple(sorted(families)))

    return digest


def member_models(wildcards):
    """The model folders of the runs that a run combines."""
    return [f"results/runs/{member.id}/model" for member in RUNS[wildcards.run].members]


def baseline_settings(wildcards):
    """The settings of a baseline's refit."""
    return settings(
        run=RUNS[wildcards.baseline].settings, training=SECTIONS["training"]
    )(wildcards)


def baseline_code(stage):
    """A function of the wildcards: the digest of a stage's code with the baseline's family."""
    return lambda wildcards: code_digest(
        stage, (BASELINE_FAMILIES[wildcards.baseline],)
    )


def repeated(option, values):
    """An option given once a value, quoted for the shell."""
    return " ".join(f"{option} {shlex.quote(str(value))}" for value in values)


def options(option, name):
    """A function of a job's inputs: `option` once for each file of the input `name`."""
    return lambda wildcards, input: repeated(option, input.get(name, []))


def item_data(name):
    """A function of the wildcards: a table of the shop's catalogue, or nothing where the source knows nothing of its items."""
    return lambda wildcards: (
        [f"results/catalogue/{name}.parquet"]
        if workflow.is_rule("build_catalogue")
        else []
    )


def item_categories(wildcards):
    """The items' properties, for a run whose family looks at categories."""
    asks = RUNS[wildcards.run].model == "reranker"
    return item_data("properties")(wildcards) if asks else []


def benchmark_files(wildcards):
    """The benchmark files of all jobs but the server's, a search's and the gathering one's own, in the order of the rules."""
    known = {"part": PARTS, "run": RUNS, "baseline": CONFIGURATION.baselines}
    # Jobs that fetch raw files, which have a wildcard of their own, are left out, since a file that a person put there has no benchmark.
    measured = [
        strip_wildcard_constraints(each.benchmark)
        for each in workflow.rules
        if each.benchmark
        and each.name not in ("serve", "tune", "draw_resources")
        and each.benchmark.get_wildcard_names() <= set(known)
    ]
    return collect(measured, **known)


def package_serve_settings(*more):
    """What of the serving settings is part of a package, and the ones named; the address is not."""
    return {key: SECTIONS["serve"][key] for key in ("max_session_length", *more)}


def split_settings_hash():
    """Digest of every setting that decides which events are training, validation and test."""
    chosen = {key: SECTIONS[key] for key in ("sessions", "split", "filter")}
    return value_digest(chosen | {"source": CONFIGURATION.source.of_the_events()})


def begin():
    """Make sure that the results can be written, and note who runs the workflow."""
    try:
        require_writable(Path("results"))
    except RecsysError as error:
        stop(error)
    record_owner()


def end_well():
    """Forget who runs the workflow, and say how to see what came out; under make, what came out is told anyway."""
    forget_owner()
    finished = Path("results/champion/registered.json").exists()
    if finished and "MAKELEVEL" not in os.environ:
        command = ["recsys", "summary", str(Path("results").absolute())]
        for path in workflow.config_settings.configfiles:
            command += ["--configuration", str(path)]
        print(f"What came out: {shlex.join(command)}", file=sys.stderr)


def end_badly(log):
    """Forget who runs the workflow, and have each failed stage's sentence told last, or that the workflow was interrupted."""
    forget_owner()
    running = rules_of(workflow.scheduler.running)
    tell_at_the_end(failed_jobs(workflow.scheduler.failed), log, running)


def champion_if_needed(wildcards):
    """Nothing where a model can be served as it is; else the registration, which the pipeline then makes."""
    from recsys.tracking import resolve_champion

    shop, tracking = CONFIGURATION.shop, CONFIGURATION.tracking
    try:
        there = CONFIGURATION.serve.model or resolve_champion(tracking.uri, shop)
    except RecsysError:
        return []  # the server will say what is wrong with the store
    return [] if there else "results/champion/registered.json"
