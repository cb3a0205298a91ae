"""The choice.

Needs every run's validation metrics and ranks; gives `choice.json`: which run, and why.
"""


rule select_run:
    input:
        params=collect("results/runs/{run}/params.json", run=RUNS),
        metrics=collect("results/runs/{run}/metrics.json", run=RUNS),
        ranks=collect("results/runs/{run}/ranks.parquet", run=RUNS),
        histories=collect("results/runs/{run}/history.parquet", run=RUNS),
    output:
        choice=report(
            "results/champion/choice.json",
            caption="../report/choice.rst",
            category="Results",
            labels={"result": "the choice (JSON)"},
        ),
    log:
        "results/logs/select.log",
    benchmark:
        "results/benchmarks/select.jsonl"
    conda:
        "../envs/select_run.yaml"
    params:
        runs=collect("results/runs/{run}", run=RUNS),
        settings=settings(
            evaluation=SECTIONS["evaluation"], training=SECTIONS["training"]
        ),
        code=code_digest("select"),
    shell:
        "recsys select {params.runs:q} --choice {output.choice:q} --settings {params.settings:q} > {log:q} 2>&1"
