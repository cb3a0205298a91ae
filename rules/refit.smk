"""The chosen run, and the baselines, on everything before the test cut.

Needs the choice and the final window; gives the champion's model and the baselines beside it.
"""


rule refit_champion:
    input:
        choice="results/champion/choice.json",
        learned=collect("results/runs/{run}/model", run=COMBINED_RUNS),
        properties=item_data("properties") if LOOK_AT_CATEGORIES else [],
        vocabulary="results/fit/final/items.parquet",
        train="results/fit/final/train.parquet",
    output:
        params="results/champion/params.json",
        model=directory("results/champion/model"),
        history="results/champion/history.parquet",
    log:
        "results/logs/refit/champion.log",
    benchmark:
        "results/benchmarks/refit/champion.jsonl"
    conda:
        "../envs/refit_champion.yaml"
    # With as many threads a fit ends with the same weights, bit for bit.
    threads: 2
    params:
        work="results/work/refit",
        learned=options("--learned", "learned"),
        properties=options("--properties", "properties"),
        settings=settings(training=SECTIONS["training"]),
        code=code_digest("refit", FAMILIES),
    shell:
        "recsys refit {input.train:q} --choice {input.choice:q} {params.learned} --items {input.vocabulary:q} --params {output.params:q}"
        " --model {output.model:q} --history {output.history:q} --work {params.work:q} --code {params.code:q}"
        " --threads {threads} {params.properties} --settings {params.settings:q} 2> >(tee {log:q} >&2)"


rule refit_baseline:
    input:
        vocabulary="results/fit/final/items.parquet",
        train="results/fit/final/train.parquet",
    output:
        params="results/champion/baselines/{baseline}/params.json",
        model=directory("results/champion/baselines/{baseline}/model"),
        history="results/champion/baselines/{baseline}/history.parquet",
    log:
        "results/logs/refit/{baseline}.log",
    benchmark:
        "results/benchmarks/refit/{baseline}.jsonl"
    conda:
        "../envs/refit_baseline.yaml"
    threads: 1
    params:
        work="results/work/refit",
        settings=baseline_settings,
        code=baseline_code("refit"),
    shell:
        "recsys refit {input.train:q} --items {input.vocabulary:q} --params {output.params:q} --model {output.model:q}"
        " --history {output.history:q} --work {params.work:q} --code {params.code:q} --threads {threads}"
        " --settings {params.settings:q} > {log:q} 2>&1"
