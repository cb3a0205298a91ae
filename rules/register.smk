"""Tracking and the registry.

Needs the tested package and all runs; gives `registered.json`, after it has uploaded the runs, registered the package once and decided
on its promotion. The tracking store is state, never a file of a rule.
"""


rule register_champion:
    input:
        package="results/champion/package",
        smoke="results/champion/smoke.json",
        parity="results/champion/parity.json",
        choice="results/champion/choice.json",
        metrics="results/champion/metrics.json",
        select=collect(
            "results/fit/select/{part}.parquet", part=["items", "train", "valid"]
        ),
        sessions="results/sessions/sessions.parquet",
        vocabulary="results/fit/final/items.parquet",
        test="results/fit/final/test.parquet",
        run_metrics=collect("results/runs/{run}/metrics.json", run=RUNS),
        run_histories=collect("results/runs/{run}/history.parquet", run=RUNS),
        run_ranks=collect("results/runs/{run}/ranks.parquet", run=RUNS),
    output:
        registered="results/champion/registered.json",
    log:
        "results/logs/register.log",
    benchmark:
        "results/benchmarks/register.jsonl"
    conda:
        "../envs/register_champion.yaml"
    params:
        runs=collect("results/runs/{run}", run=RUNS),
        data=options("--data", "select"),
        settings=settings(
            shop=CONFIGURATION.shop,
            **{key: SECTIONS[key] for key in ("tracking", "promotion", "evaluation")},
            configuration_hash=value_digest(SECTIONS),
            split_settings_hash=split_settings_hash(),
        ),
        code=code_digest("register", FAMILIES),
    shell:
        "recsys register {params.runs:q} {params.data} --sessions {input.sessions:q} --test {input.test:q} --items {input.vocabulary:q}"
        " --package {input.package:q} --smoke {input.smoke:q} --choice {input.choice:q} --metrics {input.metrics:q}"
        " --registered {output.registered:q} --settings {params.settings:q} > {log:q} 2>&1"
