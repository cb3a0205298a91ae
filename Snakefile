"""From a shop's event log to a served next-item recommender.

Needs `workflow_config.yaml` (or `--configfile`); writes everything under `results/`. See docs/architecture.md.
"""

from pathlib import Path

from snakemake.utils import min_version, validate

min_version("9.27")


include: "rules/common.smk"


wildcard_constraints:
    part="|".join(map(re.escape, PARTS)),
    run="|".join(map(re.escape, RUNS)),
    baseline="|".join(map(re.escape, CONFIGURATION.baselines)),


report: "report/workflow.rst"


localrules:
    all,


rule all:
    default_target: True
    input:
        "results/leaderboard.csv",
        "results/champion/metrics.json",
        "results/champion/comparison.json",
        "results/champion/parity.json",
        "results/champion/smoke.json",
        "results/champion/registered.json",
        "results/quality/quality.json",
        "results/report/overview/overview.json",
        "results/report/training/curves.svg",
        "results/report/evaluation/evaluation.json",
        "results/report/examples.html",
        "results/report/package.html",
        "results/report/resources/resources.csv",


include: "rules/download.smk"
include: "rules/ingest.smk"
include: "rules/catalogue.smk"
include: "rules/check.smk"
include: "rules/sessionize.smk"
include: "rules/encode.smk"
include: "rules/overview.smk"
include: "rules/tune.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/select.smk"
include: "rules/refit.smk"
include: "rules/test.smk"
include: "rules/export.smk"
include: "rules/package.smk"
include: "rules/register.smk"
include: "rules/report.smk"
include: "rules/serve.smk"


onstart:
    begin()


onsuccess:
    end_well()


onerror:
    end_badly(log)
