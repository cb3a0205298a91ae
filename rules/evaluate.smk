"""What the runs are worth.

Needs each run's model and the validation sessions; gives its metrics and ranks, and, once the champion was tested, the leaderboard.
"""


rule evaluate_run:
    input:
        model="results/runs/{run}/model",
        params="results/runs/{run}/params.json",
        vocabulary="results/fit/select/items.parquet",
        valid="results/fit/select/valid.parquet",
    output:
        metrics="results/runs/{run}/metrics.json",
        ranks="results/runs/{run}/ranks.parquet",
    log:
        "results/logs/evaluate/{run}.log",
    benchmark:
        "results/benchmarks/evaluate/{run}.jsonl"
    conda:
        "../envs/evaluate_run.yaml"
    threads: 1
    params:
        settings=settings(evaluation=SECTIONS["evaluation"]),
        code=run_code("evaluate"),
    shell:
        "recsys evaluate {input.model:q} --params {input.params:q} --items {input.vocabulary:q} --held-out {input.valid:q}"
        " --metrics {output.metrics:q} --ranks {output.ranks:q} --threads {threads} --settings {params.settings:q} > {log:q} 2>&1"


rule write_leaderboard:
    input:
        metrics=collect("results/runs/{run}/metrics.json", run=RUNS),
        histories=collect("results/runs/{run}/history.parquet", run=RUNS),
        champion="results/champion/metrics.json",
        comparison="results/champion/comparison.json",
        history="results/champion/history.parquet",
    output:
        report(
            "results/leaderboard.csv",
            caption="../report/leaderboard.rst",
            category="Results",
            labels={"result": "leaderboard (CSV)"},
        ),
    log:
        "results/logs/leaderboard.log",
    benchmark:
        "results/benchmarks/leaderboard.jsonl"
    conda:
        "../envs/write_leaderboard.yaml"
    params:
        runs=collect("results/runs/{run}", run=RUNS),
        settings=settings(
            evaluation=SECTIONS["evaluation"], baselines=BASELINE_FAMILIES
        ),
        code=code_digest("leaderboard"),
    shell:
        "recsys leaderboard {params.runs:q} --champion {input.champion:q} --comparison {input.comparison:q}"
        " --history {input.history:q} --output {output:q} --settings {params.settings:q} > {log:q} 2>&1"
