"""What the report shows of the models.

Needs what checks, evaluation, test, package and registration wrote; gives figures and pages on what the models are worth, what they recommend,
and what was found of the package before it was promoted.
"""


rule draw_evaluation:
    input:
        runs=collect("results/runs/{run}/metrics.json", run=RUNS),
        metrics="results/champion/metrics.json",
        comparison="results/champion/comparison.json",
        ranks="results/champion/ranks.parquet",
        exposure="results/champion/exposure.parquet",
        vocabulary="results/fit/final/items.parquet",
        test="results/fit/final/test.parquet",
    output:
        leaderboard=report(
            "results/report/evaluation/leaderboard.svg",
            caption="../report/leaderboard_figure.rst",
            category="Results",
            labels={"result": "leaderboard"},
        ),
        differences=report(
            "results/report/evaluation/differences.svg",
            caption="../report/differences.rst",
            category="Results",
            labels={"result": "leaderboard: differences"},
        ),
        session_length=report(
            "results/report/evaluation/session_length.svg",
            caption="../report/session_length.rst",
            category="Results",
            labels={"result": "test by session length"},
        ),
        position=report(
            "results/report/evaluation/position.svg",
            caption="../report/position.rst",
            category="Results",
            labels={"result": "test by position in the session"},
        ),
        popularity=report(
            "results/report/evaluation/popularity.svg",
            caption="../report/popularity.rst",
            category="Results",
            labels={"result": "test by item popularity"},
        ),
        concentration=report(
            "results/report/evaluation/concentration.svg",
            caption="../report/concentration.rst",
            category="Recommendations",
            labels={"result": "what the most popular items get"},
        ),
        diversity=report(
            "results/report/evaluation/diversity.svg",
            caption="../report/diversity.rst",
            category="Recommendations",
            labels={"result": "coverage, concentration, novelty"},
        ),
        numbers="results/report/evaluation/evaluation.json",
    log:
        "results/logs/report/evaluation.log",
    benchmark:
        "results/benchmarks/report/evaluation.jsonl"
    conda:
        "../envs/draw_evaluation.yaml"
    params:
        settings=settings(evaluation=SECTIONS["evaluation"]),
        code=code_digest("breakdown"),
    shell:
        "recsys breakdown {input.runs:q} --metrics {input.metrics:q} --comparison {input.comparison:q} --ranks {input.ranks:q}"
        " --exposure {input.exposure:q} --items {input.vocabulary:q} --held-out {input.test:q} --output {output.numbers:q}"
        " --settings {params.settings:q} > {log:q} 2>&1"


rule write_examples:
    input:
        package="results/champion/package",
        vocabulary="results/fit/final/items.parquet",
        test="results/fit/final/test.parquet",
        properties=item_data("properties"),
    output:
        report(
            "results/report/examples.html",
            caption="../report/examples.rst",
            category="Recommendations",
            labels={"result": "ten example sessions"},
        ),
    log:
        "results/logs/report/examples.log",
    benchmark:
        "results/benchmarks/report/examples.jsonl"
    conda:
        "../envs/write_examples.yaml"
    params:
        properties=options("--properties", "properties"),
        code=code_digest("examples", FAMILIES),
    shell:
        "recsys examples {input.package:q} --items {input.vocabulary:q} --held-out {input.test:q} {params.properties} --output {output:q}"
        " > {log:q} 2>&1"


rule write_verdict:
    input:
        choice="results/champion/choice.json",
        metrics="results/champion/metrics.json",
        comparison="results/champion/comparison.json",
        parity="results/champion/parity.json",
        smoke="results/champion/smoke.json",
        registered="results/champion/registered.json",
        package="results/champion/package",
        quality="results/quality/quality.json",
        log="results/sessions/summary.json",
    output:
        results=report(
            "results/report/results.html",
            caption="../report/results.rst",
            category="Results",
            labels={"result": "choice and test metrics"},
        ),
        package=report(
            "results/report/package.html",
            caption="../report/package.rst",
            category="Package",
            labels={"result": "parity, smoke test, promotion"},
        ),
        summary="results/report/summary.rst",
    log:
        "results/logs/report/verdict.log",
    benchmark:
        "results/benchmarks/report/verdict.jsonl"
    conda:
        "../envs/write_verdict.yaml"
    params:
        shop=CONFIGURATION.shop,
        code=code_digest("verdict"),
    shell:
        "recsys verdict --choice {input.choice:q} --metrics {input.metrics:q} --comparison {input.comparison:q} --parity {input.parity:q}"
        " --smoke {input.smoke:q} --registered {input.registered:q} --package {input.package:q} --quality {input.quality:q}"
        " --log {input.log:q} --shop {params.shop:q} --results-page {output.results:q} --package-page {output.package:q}"
        " --summary {output.summary:q} > {log:q} 2>&1"


rule draw_training:
    input:
        params=collect("results/runs/{run}/params.json", run=RUNS),
        histories=collect("results/runs/{run}/history.parquet", run=RUNS),
        champion_params="results/champion/params.json",
        champion_history="results/champion/history.parquet",
    output:
        curves=report(
            "results/report/training/curves.svg",
            caption="../report/curves.rst",
            category="Training",
            labels={"result": "loss and validation by epoch"},
        ),
    log:
        "results/logs/report/training.log",
    benchmark:
        "results/benchmarks/report/training.jsonl"
    conda:
        "../envs/draw_training.yaml"
    params:
        runs=collect("results/runs/{run}", run=RUNS),
        champion=lambda wildcards, input: str(Path(input.champion_params).parent),
        settings=settings(training=SECTIONS["training"]),
        code=code_digest("curves"),
    shell:
        "recsys curves {params.runs:q} --champion {params.champion:q} --figure {output.curves:q} --settings {params.settings:q}"
        " > {log:q} 2>&1"


rule draw_resources:
    input:
        benchmarks=benchmark_files,
    output:
        table=report(
            "results/report/resources/resources.csv",
            caption="../report/resources.rst",
            category="Resources",
            labels={"result": "a row a rule (CSV)"},
        ),
        figure=report(
            "results/report/resources/resources.svg",
            caption="../report/resources.rst",
            category="Resources",
            labels={"result": "wall time and memory"},
        ),
    log:
        "results/logs/report/resources.log",
    benchmark:
        "results/benchmarks/report/resources.jsonl"
    conda:
        "../envs/draw_resources.yaml"
    params:
        code=code_digest("resources"),
    shell:
        "recsys resources {input.benchmarks:q} --table {output.table:q} --figure {output.figure:q} > {log:q} 2>&1"
