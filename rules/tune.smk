"""The search for better parameters.

Needs the select window, and never the test split; gives what came out of each trial, all of them in one table, the best one as a configuration
that a run can name, and the figures of the search. Only `snakemake tune` runs it. What trials learn from each other is state and no file of a
rule: the journal under `results/tune/`.
"""


rule run_trial:
    input:
        vocabulary="results/fit/select/items.parquet",
        train="results/fit/select/train.parquet",
        valid="results/fit/select/valid.parquet",
    output:
        "results/tune/trials/{trial}.json",
    log:
        "results/logs/tune/{trial}.log",
    benchmark:
        "results/benchmarks/tune/{trial}.jsonl"
    wildcard_constraints:
        trial="[0-9]+",
    # The first trials first, so that one job at a time gives the same search every time.
    priority: lambda wildcards: CONFIGURATION.tune.trials - int(wildcards.trial)
    conda:
        "../envs/run_trial.yaml"
    threads: 1
    params:
        store="results/tune/studies.journal",
        work="results/work/tune",
        settings=settings(
            tune=SEARCH,
            training=SECTIONS["training"],
            exclude_session_items=CONFIGURATION.evaluation.exclude_session_items,
        ),
        code=code_digest("trial", (CONFIGURATION.tune.model,)),
    shell:
        "recsys trial {input.train:q} --number {wildcards.trial} --items {input.vocabulary:q} --valid {input.valid:q}"
        " --output {output:q} --store {params.store:q} --work {params.work:q} --code {params.code:q} --threads {threads}"
        " --settings {params.settings:q} 2> >(tee {log:q} >&2)"


rule tune:
    input:
        trials=collect(
            "results/tune/trials/{trial}.json", trial=range(CONFIGURATION.tune.trials)
        ),
    output:
        table=report(
            "results/tune/trials.csv",
            caption="../report/tuning_trials.rst",
            category="Tuning",
            labels={"result": "a row a trial (CSV)"},
        ),
        best=report(
            "results/tune/best.yaml",
            caption="../report/tuning_best.rst",
            category="Tuning",
            labels={"result": "the best trial, for a run to name (YAML)"},
        ),
        history=report(
            "results/report/tuning/history.svg",
            caption="../report/tuning_history.rst",
            category="Tuning",
            labels={"result": "the value of every trial"},
        ),
        importances=report(
            "results/report/tuning/importances.svg",
            caption="../report/tuning_importances.rst",
            category="Tuning",
            labels={"result": "which parameters mattered"},
        ),
        parallel=report(
            "results/report/tuning/parallel_coordinates.svg",
            caption="../report/tuning_parallel_coordinates.rst",
            category="Tuning",
            labels={"result": "parallel coordinates"},
        ),
    log:
        "results/logs/tune.log",
    benchmark:
        "results/benchmarks/tune.jsonl"
    conda:
        "../envs/tune.yaml"
    params:
        settings=settings(tune=SEARCH),
        code=code_digest("tune"),
    shell:
        "recsys tune {input.trials:q} --table {output.table:q} --best {output.best:q} --history {output.history:q}"
        " --importances {output.importances:q} --parallel {output.parallel:q} --settings {params.settings:q}"
        " > >(tee {log:q}) 2>&1"
