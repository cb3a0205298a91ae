"""The one look at the test split.

Needs the refitted champion and baselines; gives the champion's test metrics, the comparison with its intervals, and, for the
report, every tested model's ranks and how often it recommends an item.
"""


rule test_champion:
    input:
        choice="results/champion/choice.json",
        model="results/champion/model",
        baselines=collect(
            "results/champion/baselines/{baseline}/model",
            baseline=CONFIGURATION.baselines,
        ),
        vocabulary="results/fit/final/items.parquet",
        test="results/fit/final/test.parquet",
    output:
        metrics=report(
            "results/champion/metrics.json",
            caption="../report/metrics.rst",
            category="Results",
            labels={"result": "test metrics (JSON)"},
        ),
        comparison="results/champion/comparison.json",
        ranks="results/champion/ranks.parquet",
        exposure="results/champion/exposure.parquet",
    log:
        "results/logs/test.log",
    benchmark:
        "results/benchmarks/test.jsonl"
    conda:
        "../envs/test_champion.yaml"
    threads: 8
    params:
        baselines=options("--baseline", "baselines"),
        names=repeated("--name", CONFIGURATION.baselines),
        settings=settings(evaluation=SECTIONS["evaluation"]),
        code=code_digest("test", FAMILIES),
    shell:
        "recsys test {input.model:q} {params.baselines} {params.names} --choice {input.choice:q} --items {input.vocabulary:q}"
        " --held-out {input.test:q} --metrics {output.metrics:q} --comparison {output.comparison:q} --ranks {output.ranks:q}"
        " --exposure {output.exposure:q} --threads {threads} --settings {params.settings:q} > {log:q} 2>&1"
