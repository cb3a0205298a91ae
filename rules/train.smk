"""The grid.

Needs the select window; gives a folder a run: its parameters, model and history. Runs train in parallel and share the cores. A run that
combines others waits for them.
"""


rule train_run:
    input:
        vocabulary="results/fit/select/items.parquet",
        train="results/fit/select/train.parquet",
        valid="results/fit/select/valid.parquet",
        tuned=tuned_parameters,
        members=member_models,
        properties=item_categories,
    output:
        params="results/runs/{run}/params.json",
        model=directory("results/runs/{run}/model"),
        history="results/runs/{run}/history.parquet",
    log:
        "results/logs/train/{run}.log",
    benchmark:
        "results/benchmarks/train/{run}.jsonl"
    conda:
        "../envs/train_run.yaml"
    # One by default: runs train side by side, and small networks gain nothing from more. A profile's set-threads changes it.
    threads: 1
    params:
        work="results/work/train",
        members=options("--member", "members"),
        properties=options("--properties", "properties"),
        settings=run_settings,
        code=run_code("train"),
    shell:
        "recsys train {input.train:q} --items {input.vocabulary:q} --valid {input.valid:q} --params {output.params:q}"
        " --model {output.model:q} --history {output.history:q} --work {params.work:q} --code {params.code:q}"
        " --threads {threads} {params.members} {params.properties} --settings {params.settings:q} 2> >(tee {log:q} >&2)"
